#include "memory/page_id.h"

#include <assert.h>
#include <endian.h>
#include <sodium.h>
#include <string.h>

#define TEXT_MAX 255

static_assert(sizeof(struct page_key) >= crypto_generichash_blake2b_KEYBYTES_MIN &&
                      sizeof(struct page_key) <= crypto_generichash_blake2b_KEYBYTES_MAX,
              "BLAKE2b takes the key as it is");

/* BLAKE2b's personal string: a hash of one kind never equals one of another. */
static const uint8_t kind_format[crypto_generichash_blake2b_PERSONALBYTES] = "seekd format 1";
static const uint8_t kind_root[crypto_generichash_blake2b_PERSONALBYTES] = "seekd root 1";
static const uint8_t kind_page[crypto_generichash_blake2b_PERSONALBYTES] = "seekd page 1";
static const uint8_t kind_frontier[crypto_generichash_blake2b_PERSONALBYTES] = "seekd frontier1";

typedef crypto_generichash_blake2b_state hash;

/* libsodium fails here for lengths out of range alone, and ours are constants. */
static void hash_begin(hash *h, const uint8_t *kind, const struct page_key *key) {
        int r = crypto_generichash_blake2b_init_salt_personal(h, key ? key->bytes : NULL,
                                                              key ? sizeof(key->bytes) : 0,
                                                              PAGE_ID_BYTES, NULL, kind);
        assert(r == 0);
        (void)r;
}

static void hash_end(hash *h, struct page_id *ret) {
        crypto_generichash_blake2b_final(h, ret->bytes, PAGE_ID_BYTES);
        sodium_memzero(h, sizeof(*h)); /* it is derived from the key */
}

static void hash_bytes(hash *h, const void *data, size_t bytes) {
        crypto_generichash_blake2b_update(h, data, bytes);
}

static void hash_u32(hash *h, uint32_t value) {
        value = htole32(value);
        hash_bytes(h, &value, sizeof(value));
}

static void hash_text(hash *h, const char *text) {
        size_t bytes = text ? strnlen(text, TEXT_MAX) : 0;
        hash_u32(h, (uint32_t)bytes);
        if (bytes > 0)
                hash_bytes(h, text, bytes);
}

static void hash_tokens(hash *h, const uint32_t *tokens, uint32_t n) {
        for (uint32_t i = 0; i < n; i++)
                hash_u32(h, tokens[i]);
}

void page_format_fingerprint(const struct page_format *format, struct page_id *ret) {
        hash h;
        hash_begin(&h, kind_format, NULL);
        hash_text(&h, format->architecture);
        hash_bytes(&h, format->weights, sizeof(format->weights));
        hash_text(&h, format->kv_format);
        hash_u32(&h, format->numerics_version);
        hash_text(&h, format->backend);
        hash_end(&h, ret);
}

void page_id_root(const struct page_key *key, const struct page_id *fingerprint, uint32_t uid,
                  const char *subject, struct page_id *ret) {
        hash h;
        hash_begin(&h, kind_root, key);
        hash_bytes(&h, fingerprint->bytes, PAGE_ID_BYTES);
        hash_u32(&h, uid);
        hash_text(&h, subject);
        hash_end(&h, ret);
}

void page_id_next(const struct page_key *key, const struct page_id *parent,
                  const uint32_t tokens[PAGE_TOKENS], struct page_id *ret) {
        hash h;
        hash_begin(&h, kind_page, key);
        hash_bytes(&h, parent->bytes, PAGE_ID_BYTES);
        hash_tokens(&h, tokens, PAGE_TOKENS);
        hash_end(&h, ret);
}

void page_id_frontier(const struct page_key *key, const struct page_id *chain, uint32_t position,
                      const uint32_t *tail, uint32_t n_tail, struct page_id *ret) {
        assert(n_tail < PAGE_TOKENS);
        hash h;
        hash_begin(&h, kind_frontier, key);
        hash_bytes(&h, chain->bytes, PAGE_ID_BYTES);
        hash_u32(&h, position);
        hash_u32(&h, n_tail);
        hash_tokens(&h, tail, n_tail);
        hash_end(&h, ret);
}

bool page_id_equal(const struct page_id *a, const struct page_id *b) {
        return memcmp(a->bytes, b->bytes, PAGE_ID_BYTES) == 0;
}
