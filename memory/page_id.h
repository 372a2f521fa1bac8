/* The identity of stored KV: keyed hashes that chain from a root over pages of tokens.
 *
 *   fingerprint  hash of everything that changes the bytes: weights, format, numerics, backend
 *   root         keyed hash of (fingerprint, uid, subject): the parent of a conversation's first
 * page page         keyed hash of (parent, the page's 128 token ids) frontier     keyed hash of
 * (last full page or root, position, the ids after that page)
 *
 * The key is the daemon's secret (memory/secret.h), so that nobody can make or predict an identity,
 * and users with equal prompts have nothing in common. Equal identities mean equal bytes; readers
 * compare the token ids all the same, so that not even a collision gives wrong KV.
 *
 * BLAKE2b with 32-byte output, by libsodium; the four kinds differ in BLAKE2b's personal string.
 * Numbers are hashed little-endian, texts with their length before them. Any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* One unit for all layers: a multiple of every compression ratio of the supported families. */
#define PAGE_TOKENS 128

#define PAGE_ID_BYTES 32

struct page_id {
        uint8_t bytes[PAGE_ID_BYTES];
};

struct page_key {
        uint8_t bytes[32];
};

/* What the bytes depend on besides the tokens. Texts are plain names, at most 255 bytes each. */
struct page_format {
        const char *architecture;
        uint8_t weights[32];       /* fingerprint of the checkpoint */
        const char *kv_format;     /* layout and precision of rows and frontier */
        uint32_t numerics_version; /* changes whenever logits may */
        const char *backend;       /* class that gives equal bits: "cpu", "cuda sm_90" */
};

void page_format_fingerprint(const struct page_format *format, struct page_id *ret);

/* `subject` separates caches inside one uid; NULL equals "". At most 255 bytes count. */
void page_id_root(const struct page_key *key, const struct page_id *fingerprint, uint32_t uid,
                  const char *subject, struct page_id *ret);

void page_id_next(const struct page_key *key, const struct page_id *parent,
                  const uint32_t tokens[PAGE_TOKENS], struct page_id *ret);

/* n_tail < PAGE_TOKENS tokens after the chain's last full page; position counts all tokens. */
void page_id_frontier(const struct page_key *key, const struct page_id *chain, uint32_t position,
                      const uint32_t *tail, uint32_t n_tail, struct page_id *ret);

bool page_id_equal(const struct page_id *a, const struct page_id *b);
