#include "memory/kv_record.h"

#include <string.h>

#include "base/crc32c.h"
#include "memory/little_endian.h"

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

void kv_session_encode(const struct kv_session *session, uint8_t to[KV_SESSION_BYTES]) {
        put_le32(to, session->owner);
        put_le32(to + 4, session->flags);
        put_le64(to + 8, session->created_s);
        put_le64(to + 16, session->used_s);
        put_le64(to + 24, session->n_tokens);
        memcpy(to + 32, session->chain.bytes, PAGE_ID_BYTES);
        memcpy(to + 64, session->frontier.bytes, PAGE_ID_BYTES);
        memset(to + 96, 0, KV_SUBJECT_BYTES);
        memcpy(to + 96, session->subject, strnlen(session->subject, KV_SUBJECT_BYTES - 1));
        seal(session->id, KV_SESSION_ID_BYTES, to, KV_SESSION_BYTES);
}

bool kv_session_decode(const uint8_t id[KV_SESSION_ID_BYTES], const uint8_t *from, size_t bytes,
                       struct kv_session *ret) {
        if (bytes != KV_SESSION_BYTES || !intact(id, KV_SESSION_ID_BYTES, from, bytes))
                return false;
        memcpy(ret->id, id, KV_SESSION_ID_BYTES);
        ret->owner = get_le32(from);
        ret->flags = get_le32(from + 4);
        ret->created_s = get_le64(from + 8);
        ret->used_s = get_le64(from + 16);
        ret->n_tokens = get_le64(from + 24);
        memcpy(ret->chain.bytes, from + 32, PAGE_ID_BYTES);
        memcpy(ret->frontier.bytes, from + 64, PAGE_ID_BYTES);
        memcpy(ret->subject, from + 96, KV_SUBJECT_BYTES);
        ret->subject[KV_SUBJECT_BYTES - 1] = '\0';
        return true;
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
        if (ret->version != KV_META_VERSION || bytes != KV_META_BYTES)
                return false;
        ret->page_bytes = get_le32(from + 4);
        ret->frontier_bytes_max = get_le32(from + 8);
        ret->next_value = get_le64(from + 16);
        ret->day = get_le64(from + 24);
        ret->day_bytes = get_le64(from + 32);
        memcpy(ret->fingerprint.bytes, from + 40, PAGE_ID_BYTES);
        return true;
}
