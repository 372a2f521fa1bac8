#include "engine/grammar/mask_trie.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/grammar/program.h"
#include "engine/grammar/text_state.h"
#include "engine/tokenizer.h"

struct token {
        const char *bytes;
        uint32_t n, id;
};

static void set(uint64_t *mask, uint32_t id) {
        mask[id / 64] |= UINT64_C(1) << id % 64;
}

/* -------- which tokens -------- */

static bool is_added(const struct tokenizer *tokenizer, const struct token *token) {
        char text[TRIE_TOKEN_BYTES_MAX + 1];
        memcpy(text, token->bytes, token->n);
        text[token->n] = 0;
        return tokenizer_added(tokenizer, text) == token->id;
}

static bool in_utf8(const struct token *token) {
        for (uint32_t i = 0; i < token->n; i++) {
                uint8_t byte = (uint8_t)token->bytes[i];
                if (byte >= SYMBOL_FIRST || byte == 0xc0 || byte == 0xc1 || byte == 0)
                        return false;
        }
        return true;
}

static size_t collect(const struct mask_trie *trie, struct token *tokens) {
        size_t n = 0;
        uint32_t n_ids = tokenizer_n_ids(trie->tokenizer);
        for (uint32_t id = 0; id < n_ids && id < trie->n_ids; id++) {
                size_t n_bytes;
                const char *bytes = tokenizer_bytes(trie->tokenizer, id, &n_bytes);
                if (!bytes || n_bytes == 0 || n_bytes > TRIE_TOKEN_BYTES_MAX)
                        continue;
                struct token token = { bytes, (uint32_t)n_bytes, id };
                if (id != trie->end_id && in_utf8(&token) && !is_added(trie->tokenizer, &token))
                        tokens[n++] = token;
        }
        return n;
}

static int compare(const void *a, const void *b) {
        const struct token *x = a, *y = b;
        int order = memcmp(x->bytes, y->bytes, x->n < y->n ? x->n : y->n);
        if (order != 0)
                return order;
        if (x->n != y->n)
                return x->n < y->n ? -1 : 1;
        return x->id < y->id ? -1 : x->id > y->id;
}

/* -------- trees -------- */

/* Nodes of sorted tokens that are not shared with the token before. Of equal tokens each has a last
 * node of its own. */
static uint32_t first_new_byte(const struct token *tokens, size_t i) {
        uint32_t at = 0;
        while (i > 0 && at < tokens[i].n && at < tokens[i - 1].n &&
               tokens[i].bytes[at] == tokens[i - 1].bytes[at])
                at++;
        return at < tokens[i].n ? at : tokens[i].n - 1;
}

static int build(const struct token *tokens, size_t n, struct trie *ret) {
        size_t n_nodes = 0;
        for (size_t i = 0; i < n; i++)
                n_nodes += tokens[i].n - first_new_byte(tokens, i);
        ret->nodes = malloc((n_nodes + 1) * sizeof(*ret->nodes));
        if (!ret->nodes)
                return -ENOMEM;
        uint32_t open[TRIE_TOKEN_BYTES_MAX]; /* the last node of each depth */
        uint32_t n_open = 0;
        for (size_t i = 0; i < n; i++) {
                uint32_t from = first_new_byte(tokens, i);
                while (n_open > from)
                        ret->nodes[open[--n_open]].skip = ret->n;
                for (uint32_t at = from; at < tokens[i].n; at++) {
                        bool last = at + 1 == tokens[i].n;
                        open[n_open++] = ret->n;
                        ret->nodes[ret->n++] = (struct trie_node){
                                .id = last ? tokens[i].id : TRIE_NO_TOKEN,
                                .depth = (uint16_t)at,
                                .byte = (uint8_t)tokens[i].bytes[at],
                        };
                }
        }
        while (n_open > 0)
                ret->nodes[open[--n_open]].skip = ret->n;
        return 0;
}

/* The tree of the tokens that have a quote, or of those that have none. */
static int build_part(const struct token *tokens, size_t n, bool quoted, struct trie *ret) {
        struct token *part = malloc((n + 1) * sizeof(*part));
        if (!part)
                return -ENOMEM;
        size_t n_part = 0;
        for (size_t i = 0; i < n; i++)
                if ((memchr(tokens[i].bytes, '"', tokens[i].n) != NULL) == quoted)
                        part[n_part++] = tokens[i];
        int r = build(part, n_part, ret);
        free(part);
        return r;
}

/* -------- masks -------- */

/* Characters that a token begins inside of a string, UINT32_MAX when it does not stay inside. */
static uint32_t characters_inside(const struct token *token,
                                  enum text_state (*step)(enum text_state, uint8_t)) {
        enum text_state state = TEXT_PLAIN;
        uint32_t n = 0;
        for (uint32_t i = 0; i < token->n; i++) {
                n += state == TEXT_PLAIN;
                state = step(state, (uint8_t)token->bytes[i]);
                if (state == TEXT_CLOSED || state == TEXT_REFUSED)
                        return UINT32_MAX;
        }
        return n;
}

static bool spells_tag(const struct token *token) {
        static const char tag[] = "｜DSML｜";
        return memmem(token->bytes, token->n, tag, sizeof(tag) - 1) != NULL;
}

static int fill_masks(struct mask_trie *trie, const struct token *tokens, size_t n) {
        uint32_t *lengths = malloc((n + 1) * sizeof(*lengths));
        if (!lengths)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                const struct token *token = &tokens[i];
                set(trie->usable, token->id);
                lengths[i] = characters_inside(token, text_step_string);
                if (lengths[i] != UINT32_MAX) {
                        set(trie->inside_string, token->id);
                        trie->n_within[lengths[i]]++;
                }
                if (characters_inside(token, text_step_name) != UINT32_MAX)
                        set(trie->inside_name, token->id);
                if (characters_inside(token, text_step_utf8) != UINT32_MAX && !spells_tag(token))
                        set(trie->inside_raw, token->id);
        }
        for (uint32_t k = 1; k <= trie->depth_max; k++)
                trie->n_within[k] += trie->n_within[k - 1];
        /* Counting sort: from the back, so that n_within[k] sinks to where k begins. */
        for (size_t i = n; i-- > 0;)
                if (lengths[i] != UINT32_MAX)
                        trie->by_length[--trie->n_within[lengths[i]]] = tokens[i].id;
        for (uint32_t k = 0; k < trie->depth_max; k++)
                trie->n_within[k] = trie->n_within[k + 1];
        trie->n_within[trie->depth_max] = 0;
        for (size_t i = 0; i < n; i++)
                trie->n_within[trie->depth_max] += lengths[i] != UINT32_MAX;
        free(lengths);
        return 0;
}

int mask_trie_new(const struct tokenizer *tokenizer, uint32_t n_ids, uint32_t end_id,
                  struct mask_trie **ret) {
        struct mask_trie *trie = calloc(1, sizeof(*trie));
        struct token *tokens = malloc((n_ids + (size_t)1) * sizeof(*tokens));
        if (!trie || !tokens) {
                free(trie);
                free(tokens);
                return -ENOMEM;
        }
        trie->tokenizer = tokenizer;
        trie->n_ids = n_ids;
        trie->n_words = (n_ids + (size_t)63) / 64;
        trie->end_id = end_id;
        trie->dsml_id = tokenizer_added(tokenizer, "｜DSML｜");
        trie->think_end_id = tokenizer_added(tokenizer, "</think>");
        size_t n = collect(trie, tokens);
        qsort(tokens, n, sizeof(*tokens), compare);
        for (size_t i = 0; i < n; i++)
                if (tokens[i].n > trie->depth_max)
                        trie->depth_max = tokens[i].n;
        trie->usable = calloc(trie->n_words, sizeof(uint64_t));
        trie->inside_string = calloc(trie->n_words, sizeof(uint64_t));
        trie->inside_name = calloc(trie->n_words, sizeof(uint64_t));
        trie->inside_raw = calloc(trie->n_words, sizeof(uint64_t));
        trie->by_length = malloc((n + 1) * sizeof(uint32_t));
        trie->n_within = calloc(trie->depth_max + (size_t)1, sizeof(uint32_t));
        int r = 0;
        if (!trie->usable || !trie->inside_string || !trie->inside_name || !trie->inside_raw ||
            !trie->by_length || !trie->n_within)
                r = -ENOMEM;
        if (r == 0)
                r = build(tokens, n, &trie->all);
        if (r == 0)
                r = build_part(tokens, n, true, &trie->quoted);
        if (r == 0)
                r = build_part(tokens, n, false, &trie->unquoted);
        if (r == 0)
                r = fill_masks(trie, tokens, n);
        free(tokens);
        if (r < 0) {
                mask_trie_free(trie);
                return r;
        }
        *ret = trie;
        return 0;
}

struct mask_trie *mask_trie_free(struct mask_trie *trie) {
        if (!trie)
                return NULL;
        free(trie->all.nodes);
        free(trie->quoted.nodes);
        free(trie->unquoted.nodes);
        free(trie->usable);
        free(trie->inside_string);
        free(trie->inside_name);
        free(trie->inside_raw);
        free(trie->by_length);
        free(trie->n_within);
        free(trie);
        return NULL;
}
