/* Prefix tree over tokens' bytes: the longest token that a text starts with.
 *
 * Siblings lie side by side, so that a step reads one or two cache lines. Immutable once built; any
 * thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct trie_token {
        const char *bytes; /* not copied; needed while building only */
        uint32_t n, id;    /* n >= 1 */
};

struct trie_node {
        uint32_t first_child, n_children;
        uint32_t token; /* that ends here, or TOKEN_NONE */
};

/* Node 0 is the root. */
struct token_trie {
        struct trie_node *nodes;
        uint8_t *labels; /* [n_nodes]: the byte that leads to a node; ascending among siblings */
        size_t n_nodes;
        uint32_t children_of_root[256]; /* 0: none */
};

/* Sorts `tokens`, whose bytes all differ. 0 or -ENOMEM. */
int token_trie_build(struct token_trie *ret, struct trie_token *tokens, size_t n);
void token_trie_deinit(struct token_trie *trie);

/* The longest token that the n bytes of `text` start with, TOKEN_NONE if there is none. */
uint32_t token_trie_longest(const struct token_trie *trie, const char *text, size_t n);
