#include "engine/token_trie.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "engine/tokenizer.h"

static int compare(const void *a, const void *b) {
        const struct trie_token *x = a, *y = b;
        int order = memcmp(x->bytes, y->bytes, x->n < y->n ? x->n : y->n);
        return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* Bytes that two tokens begin with alike. */
static size_t n_common(const struct trie_token *x, const struct trie_token *y) {
        size_t n = x->n < y->n ? x->n : y->n, i = 0;
        while (i < n && x->bytes[i] == y->bytes[i])
                i++;
        return i;
}

/* The tokens below a node: those that share its `depth` bytes. */
struct range {
        uint32_t from, to;
        uint32_t depth;
};

/* Children of `node`, one for each next byte among its tokens. */
static void add_children(struct token_trie *trie, struct range *ranges, size_t node,
                         const struct trie_token *tokens) {
        struct range range = ranges[node];
        struct trie_node *parent = &trie->nodes[node];
        *parent = (struct trie_node){ (uint32_t)trie->n_nodes, 0, TOKEN_NONE };
        uint32_t at = range.from;
        if (at < range.to && tokens[at].n == range.depth)
                parent->token = tokens[at++].id;
        while (at < range.to) {
                uint8_t label = (uint8_t)tokens[at].bytes[range.depth];
                uint32_t from = at;
                while (at < range.to && (uint8_t)tokens[at].bytes[range.depth] == label)
                        at++;
                trie->labels[trie->n_nodes] = label;
                ranges[trie->n_nodes++] = (struct range){ from, at, range.depth + 1 };
                parent->n_children++;
        }
}

int token_trie_build(struct token_trie *ret, struct trie_token *tokens, size_t n) {
        struct token_trie trie = { 0 };
        qsort(tokens, n, sizeof(*tokens), compare);
        size_t n_nodes = 1;
        for (size_t i = 0; i < n; i++)
                n_nodes += tokens[i].n - (i > 0 ? n_common(&tokens[i - 1], &tokens[i]) : 0);
        CLEANUP_FREE struct range *ranges = malloc(n_nodes * sizeof(*ranges));
        trie.nodes = malloc(n_nodes * sizeof(*trie.nodes));
        trie.labels = malloc(n_nodes);
        if (!ranges || !trie.nodes || !trie.labels) {
                token_trie_deinit(&trie);
                return -ENOMEM;
        }
        /* Breadth first: the nodes that most walks pass through come first. */
        ranges[trie.n_nodes++] = (struct range){ 0, (uint32_t)n, 0 };
        for (size_t node = 0; node < n_nodes; node++)
                add_children(&trie, ranges, node, tokens);
        for (uint32_t i = 0; i < trie.nodes[0].n_children; i++) {
                uint32_t child = trie.nodes[0].first_child + i;
                trie.children_of_root[trie.labels[child]] = child;
        }
        *ret = trie;
        return 0;
}

void token_trie_deinit(struct token_trie *trie) {
        free(trie->nodes);
        free(trie->labels);
        *trie = (struct token_trie){ 0 };
}

uint32_t token_trie_longest(const struct token_trie *trie, const char *text, size_t n) {
        uint32_t node = n > 0 ? trie->children_of_root[(uint8_t)text[0]] : 0;
        if (node == 0)
                return TOKEN_NONE;
        uint32_t longest = trie->nodes[node].token;
        for (size_t i = 1; i < n; i++) {
                const struct trie_node *parent = &trie->nodes[node];
                const uint8_t *labels = trie->labels + parent->first_child;
                const uint8_t *found =
                        parent->n_children ? memchr(labels, text[i], parent->n_children) : NULL;
                if (!found)
                        break;
                node = parent->first_child + (uint32_t)(found - labels);
                if (trie->nodes[node].token != TOKEN_NONE)
                        longest = trie->nodes[node].token;
        }
        return longest;
}
