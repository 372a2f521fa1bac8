/* A stored value: a header that says what it is, then one part (a frontier) or several (KV pages).
 *
 *   0 magic "seekd kv"   8 version          12 kind            16 fingerprint [32]
 *  48 parent [32]       80 position         84 owner           88 token ids, how many
 *  92 parts             96 bytes of a part  100 zero
 * 104 token ids [n], CRC-32C of each part [parts], CRC-32C of all before it
 *     parts, then zeros up to k LMDB pages less the 16 bytes that LMDB puts in front
 *
 * Little-endian. Whether the identity is the right one is the reader's business: it follows from
 * key, parent and token ids. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "memory/kv_store.h"

#define KV_VALUE_TOKENS_MAX (KV_EXTENT_PAGES_MAX * PAGE_TOKENS)
#define KV_VALUE_FIXED      104
#define KV_VALUE_HEADER_MAX (KV_VALUE_FIXED + 4 * (KV_VALUE_TOKENS_MAX + KV_EXTENT_PAGES_MAX + 1))

struct kv_value_header {
        enum kv_kind kind;
        struct page_id fingerprint;
        struct page_id parent; /* page before the first one, or root */
        uint32_t position;
        uint32_t owner;
        uint32_t n_tokens; /* extent: of all pages; frontier: of the tail */
        uint32_t n_parts;
        uint32_t part_bytes;
        uint32_t tokens[KV_VALUE_TOKENS_MAX];
        uint32_t part_crc[KV_EXTENT_PAGES_MAX];
};

size_t kv_value_header_bytes(uint32_t n_tokens, uint32_t n_parts);

/* The least k * 4096 - 16 that holds so many bytes: what wastes nothing in LMDB. */
uint64_t kv_value_round(uint64_t bytes);

/* Writes kv_value_header_bytes() bytes. */
void kv_value_encode(const struct kv_value_header *header, uint8_t *to);

/* Reads and checks a header in `bytes` bytes. NULL, or what is wrong with it in a few words. */
const char *kv_value_decode(const uint8_t *from, size_t bytes, struct kv_value_header *ret);
