/* The small entries of the store's index databases, as bytes. Each ends with a CRC-32C over its key
 * and its other bytes, so that a flipped bit in either is noticed. Little-endian. Any thread.
 *
 *   pages, frontiers: identity -> where it is
 *   sessions: session id -> what the caller knows of it
 *   meta: "store" -> what the file as a whole is */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/kv_store.h"

/* value 8, position 4, owner 4, kind 1, index 1, count 1, tail 1, parent 32, CRC 4 */
#define KV_PLACE_BYTES 56

struct kv_place {
        uint64_t value;
        uint32_t position; /* page: of its first token; frontier: tokens before it */
        uint32_t owner;
        uint8_t kind;          /* enum kv_kind */
        uint8_t index;         /* page of the extent */
        uint8_t count;         /* pages of the extent; frontier: 1 */
        uint8_t n_tail;        /* frontier: position % PAGE_TOKENS */
        struct page_id parent; /* page before this one, or root */
};

void kv_place_encode(const struct page_id *id, const struct kv_place *place,
                     uint8_t to[KV_PLACE_BYTES]);
bool kv_place_decode(const struct page_id *id, const uint8_t *from, size_t bytes,
                     struct kv_place *ret);

/* owner 4, flags 4, created 8, used 8, tokens 8, chain 32, frontier 32, subject 256, CRC 4 */
#define KV_SESSION_BYTES 356

void kv_session_encode(const struct kv_session *session, uint8_t to[KV_SESSION_BYTES]);
bool kv_session_decode(const uint8_t id[KV_SESSION_ID_BYTES], const uint8_t *from, size_t bytes,
                       struct kv_session *ret);

/* version 4, page bytes 4, frontier bytes 4, zero 4, next value 8, day 8, its bytes 8, fingerprint
 * 32, CRC 4. Later versions may be longer; version comes first and the CRC last in all. */
#define KV_META_BYTES   76
#define KV_META_VERSION 1U
#define KV_META_KEY     "store"

struct kv_meta {
        uint32_t version;
        uint32_t page_bytes, frontier_bytes_max;
        uint64_t next_value;
        uint64_t day;       /* since 1970 */
        uint64_t day_bytes; /* of values written on that day */
        struct page_id fingerprint;
};

void kv_meta_encode(const struct kv_meta *meta, uint8_t to[KV_META_BYTES]);
/* Fills `version` alone when that is a later one. */
bool kv_meta_decode(const uint8_t *from, size_t bytes, struct kv_meta *ret);
