#include "memory/kv_record.h"

#include <string.h>

#include "base/crc32c.h"
#include "memory/little_endian.h"

#define KV_SESSION_FIXED 44 /* before subject and name */

static uint64_t get_be64(const uint8_t *from) {
        uint64_t value;
        memcpy(&value, from, sizeof(value));
        return be64toh(value);
}

static uint32_t checksum(const void *key, size_t key_bytes, const uint8_t *record, size_t bytes) {
        return crc32c(crc32c(0, key, key_bytes), record, bytes - 4);
}

static void seal(const void *key, size_t key_bytes, uint8_t *record, size_t bytes) {
        put_le32(record + bytes - 4, checksum(key, key_bytes, record, bytes));
}

static bool intact(const void *key, size_t key_bytes, const uint8_t *record, size_t bytes) {
        return get_le32(record + bytes - 4) == checksum(key, key_bytes, record, bytes);
}

void kv_place_encode(const struct page_id *id, const struct kv_place *place,
                     uint8_t to[KV_PLACE_BYTES]) {
        put_le64(to, place->value);
        put_le32(to + 8, place->position);
        put_le32(to + 12, place->owner);
        to[16] = place->kind;
        to[17] = place->index;
        to[18] = place->count;
        to[19] = place->n_tail;
        memcpy(to + 20, place->parent.bytes, PAGE_ID_BYTES);
        seal(id->bytes, PAGE_ID_BYTES, to, KV_PLACE_BYTES);
}

/* Also checks what the rest of the program takes for granted, should the checksum miss a change. */
static bool place_is_possible(const struct kv_place *place) {
        if (place->value == 0)
                return false;
        if (place->kind == KV_FRONTIER)
                return place->count == 1 && place->index == 0 &&
                        place->n_tail == place->position % PAGE_TOKENS;
        return place->kind == KV_EXTENT && place->count > 0 &&
                place->count <= KV_EXTENT_PAGES_MAX && place->index < place->count &&
                place->n_tail == 0 && place->position % PAGE_TOKENS == 0 &&
                place->position / PAGE_TOKENS >= place->index;
}

bool kv_place_decode(const struct page_id *id, const uint8_t *from, size_t bytes,
                     struct kv_place *ret) {
        if (bytes != KV_PLACE_BYTES || !intact(id->bytes, PAGE_ID_BYTES, from, bytes))
                return false;
        ret->value = get_le64(from);
        ret->position = get_le32(from + 8);
        ret->owner = get_le32(from + 12);
        ret->kind = from[16];
        ret->index = from[17];
        ret->count = from[18];
        ret->n_tail = from[19];
        memcpy(ret->parent.bytes, from + 20, PAGE_ID_BYTES);
        return place_is_possible(ret);
}

size_t kv_session_encode(const struct kv_session *session, uint8_t to[KV_SESSION_BYTES_MAX]) {
        struct kv_chunk_key key = kv_chunk_key(session->id, 0);
        size_t n_subject = strnlen(session->subject, KV_SUBJECT_BYTES - 1);
        size_t bytes = KV_SESSION_FIXED + n_subject + session->n_name + 4;
        put_le32(to, session->owner);
        put_le32(to + 4, session->flags);
        put_le64(to + 8, session->created_s);
        put_le64(to + 16, session->used_s);
        put_le64(to + 24, session->n_tokens);
        put_le64(to + 32, session->tied_to);
        put_le32(to + 40, (uint32_t)n_subject | session->n_name << 16);
        memcpy(to + KV_SESSION_FIXED, session->subject, n_subject);
        memcpy(to + KV_SESSION_FIXED + n_subject, session->name, session->n_name);
        seal(key.bytes, KV_SESSION_KEY_BYTES, to, bytes);
        return bytes;
}

bool kv_session_decode(const uint8_t *key, size_t key_bytes, const uint8_t *from, size_t bytes,
                       struct kv_session *ret) {
        if (key_bytes != KV_SESSION_KEY_BYTES || bytes < KV_SESSION_FIXED + 4 ||
            !intact(key, key_bytes, from, bytes))
                return false;
        uint32_t lengths = get_le32(from + 40);
        size_t n_subject = lengths & 0xffff, n_name = lengths >> 16;
        if (n_subject >= KV_SUBJECT_BYTES || n_name > KV_SESSION_NAME_BYTES ||
            bytes != KV_SESSION_FIXED + n_subject + n_name + 4)
                return false;
        *ret = (struct kv_session){
                .id = get_be64(key),
                .owner = get_le32(from),
                .flags = get_le32(from + 4),
                .created_s = get_le64(from + 8),
                .used_s = get_le64(from + 16),
                .n_tokens = get_le64(from + 24),
                .tied_to = get_le64(from + 32),
                .n_name = (uint32_t)n_name,
        };
        memcpy(ret->subject, from + KV_SESSION_FIXED, n_subject);
        memcpy(ret->name, from + KV_SESSION_FIXED + n_subject, n_name);
        return ret->id != 0 && ret->n_tokens <= KV_SESSION_TOKENS_MAX &&
                memchr(ret->subject, 0, n_subject) == NULL;
}

struct kv_chunk_key kv_chunk_key(uint64_t session, uint32_t number) {
        struct kv_chunk_key key;
        session = htobe64(session);
        number = htobe32(number);
        memcpy(key.bytes, &session, sizeof(session));
        memcpy(key.bytes + sizeof(session), &number, sizeof(number));
        return key;
}

void kv_chunk_key_split(const struct kv_chunk_key *key, uint64_t *ret_session,
                        uint32_t *ret_number) {
        uint32_t number;
        memcpy(&number, key->bytes + KV_SESSION_KEY_BYTES, sizeof(number));
        *ret_session = get_be64(key->bytes);
        *ret_number = be32toh(number);
}

size_t kv_chunk_encode(const struct kv_chunk_key *key, const uint32_t *ids, size_t n,
                       uint8_t to[KV_CHUNK_BYTES_MAX]) {
        size_t bytes = 4 * n + 4;
        for (size_t i = 0; i < n; i++)
                put_le32(to + 4 * i, ids[i]);
        seal(key->bytes, sizeof(key->bytes), to, bytes);
        return bytes;
}

size_t kv_chunk_decode(const struct kv_chunk_key *key, const uint8_t *from, size_t bytes,
                       uint32_t ret[KV_CHUNK_TOKENS]) {
        if (bytes < 8 || bytes > KV_CHUNK_BYTES_MAX || bytes % 4 != 0 ||
            !intact(key->bytes, sizeof(key->bytes), from, bytes))
                return 0;
        size_t n = bytes / 4 - 1;
        for (size_t i = 0; i < n; i++)
                ret[i] = get_le32(from + 4 * i);
        return n;
}

void kv_meta_encode(const struct kv_meta *meta, uint8_t to[KV_META_BYTES]) {
        put_le32(to, meta->version);
        put_le32(to + 4, meta->page_bytes);
        put_le32(to + 8, meta->frontier_bytes_max);
        put_le32(to + 12, 0);
        put_le64(to + 16, meta->next_value);
        put_le64(to + 24, meta->day);
        put_le64(to + 32, meta->day_bytes);
        memcpy(to + 40, meta->fingerprint.bytes, PAGE_ID_BYTES);
        seal(KV_META_KEY, strlen(KV_META_KEY), to, KV_META_BYTES);
}

bool kv_meta_decode(const uint8_t *from, size_t bytes, struct kv_meta *ret) {
        if (bytes < 8 || !intact(KV_META_KEY, strlen(KV_META_KEY), from, bytes))
                return false;
        ret->version = get_le32(from);
        if (ret->version > KV_META_VERSION)
                return true;
        if (ret->version < KV_META_VERSION_OLDEST || bytes != KV_META_BYTES)
                return false;
        ret->page_bytes = get_le32(from + 4);
        ret->frontier_bytes_max = get_le32(from + 8);
        ret->next_value = get_le64(from + 16);
        ret->day = get_le64(from + 24);
        ret->day_bytes = get_le64(from + 32);
        memcpy(ret->fingerprint.bytes, from + 40, PAGE_ID_BYTES);
        return true;
}
