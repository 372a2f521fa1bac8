/* The small entries of the store's index databases, as bytes. Each ends with a CRC-32C over its key
 * and its other bytes, so that a flipped bit in either is noticed. Little-endian. Any thread.
 *
 *   pages, frontiers: identity -> where it is
 *   sessions: session id -> what the caller knows of it
 *   tokens: session id and number -> 128 token ids of it, the last fewer
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

/* owner 4, flags 4, created 8, used 8, tokens 8, tied to 8, bytes of subject 2 and of name 2,
 * subject, name, CRC 4 */
#define KV_SESSION_BYTES_MAX (48 + KV_SUBJECT_BYTES - 1 + KV_SESSION_NAME_BYTES)

/* Returns the bytes written. The key is the id, big-endian as in `tokens`. */
size_t kv_session_encode(const struct kv_session *session, uint8_t to[KV_SESSION_BYTES_MAX]);
bool kv_session_decode(const uint8_t *key, size_t key_bytes, const uint8_t *from, size_t bytes,
                       struct kv_session *ret);

/* Ids of one entry: small enough for a few of them in an LMDB page, so that a turn rewrites little;
 * large enough that key and checksum do not count. */
#define KV_CHUNK_TOKENS    128
#define KV_CHUNK_BYTES_MAX (4 * KV_CHUNK_TOKENS + 4)

/* Big-endian, so that a session's chunks follow each other in the file. */
struct kv_chunk_key {
        uint8_t bytes[12]; /* session id 8, number 4 */
};

#define KV_SESSION_KEY_BYTES 8

struct kv_chunk_key kv_chunk_key(uint64_t session, uint32_t number);
void kv_chunk_key_split(const struct kv_chunk_key *key, uint64_t *ret_session,
                        uint32_t *ret_number);

/* ids [1 to KV_CHUNK_TOKENS]; returns the bytes written. */
size_t kv_chunk_encode(const struct kv_chunk_key *key, const uint32_t *ids, size_t n,
                       uint8_t to[KV_CHUNK_BYTES_MAX]);
/* Returns how many ids it holds, 0 = damaged. */
size_t kv_chunk_decode(const struct kv_chunk_key *key, const uint8_t *from, size_t bytes,
                       uint32_t ret[KV_CHUNK_TOKENS]);

/* Chunks that so many tokens take. */
static inline uint32_t kv_chunks(uint64_t n_tokens) {
        return (uint32_t)((n_tokens + KV_CHUNK_TOKENS - 1) / KV_CHUNK_TOKENS);
}

/* version 4, page bytes 4, frontier bytes 4, zero 4, next value 8, day 8, its bytes 8, fingerprint
 * 32, CRC 4. Later versions may be longer; version comes first and the CRC last in all. */
#define KV_META_BYTES   76
#define KV_META_VERSION 2U
/* 1 had no token ids of sessions, and no program that wrote sessions: it becomes 2 by being opened.
 */
#define KV_META_VERSION_OLDEST 1U
#define KV_META_KEY            "store"

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
