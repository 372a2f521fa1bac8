/* A tokenizer's vocabulary arranged for masks: its tokens as a tree of bytes, and the masks that do
 * not depend on a grammar. Made once per tokenizer, then immutable: any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct tokenizer;

/* Longer tokens are never allowed under a grammar: bounds what a step walks through. The longest of
 * released vocabularies has 128 bytes. */
#define TRIE_TOKEN_BYTES_MAX 256

#define TRIE_NO_TOKEN UINT32_MAX

/* In preorder: children follow their parent. */
struct trie_node {
        uint32_t skip;  /* the next node that is not below this one */
        uint32_t id;    /* the token that ends here, TRIE_NO_TOKEN = none */
        uint16_t depth; /* 0 = first byte of a token */
        uint8_t byte;
};

struct trie {
        struct trie_node *nodes;
        uint32_t n;
};

struct mask_trie {
        const struct tokenizer *tokenizer; /* borrowed */
        uint32_t n_ids;
        size_t n_words; /* of a mask */
        /* TRIE_NO_TOKEN when the tokenizer has none. */
        uint32_t end_id, dsml_id, think_end_id;
        /* Every token but added ones and those that no UTF-8 text contains; of these, the ones with
         * a quote and the others. */
        struct trie all, quoted, unquoted;
        uint32_t depth_max; /* bytes of the longest */

        /* Masks [n_words]. */
        uint64_t *usable;        /* tokens of `all` */
        uint64_t *inside_string; /* can stand inside a JSON string, from between two characters */
        uint64_t *inside_name;   /* in a name as text_step_name() has it */
        uint64_t *inside_raw;    /* in text behind which "｜DSML｜" is not begun */

        /* Tokens of `inside_string` by the characters that they begin: those with at most k are the
         * first n_within[k]. */
        uint32_t *by_length;
        uint32_t *n_within; /* [depth_max + 1] */
};

/* `n_ids`: of the model, at least those of the tokenizer. `end_id`: ends a text. 0 or -ENOMEM. */
int mask_trie_new(const struct tokenizer *tokenizer, uint32_t n_ids, uint32_t end_id,
                  struct mask_trie **ret);
struct mask_trie *mask_trie_free(struct mask_trie *trie); /* NULL-safe, returns NULL */
