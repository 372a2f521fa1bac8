#include "memory/kv_value.h"

#include <string.h>

#include "base/crc32c.h"
#include "memory/little_endian.h"
#include "memory/lmdb_file.h"

#define VERSION 1U
static const char magic[8] = { 's', 'e', 'e', 'k', 'd', ' ', 'k', 'v' };

size_t kv_value_header_bytes(uint32_t n_tokens, uint32_t n_parts) {
        return KV_VALUE_FIXED + sizeof(uint32_t) * ((size_t)n_tokens + n_parts + 1);
}

uint64_t kv_value_round(uint64_t bytes) {
        return lmdb_run_pages(bytes) * LMDB_PAGE_BYTES - LMDB_PAGE_HEADER;
}

void kv_value_encode(const struct kv_value_header *header, uint8_t *to) {
        uint8_t *const start = to;
        memset(to, 0, KV_VALUE_FIXED);
        memcpy(to, magic, sizeof(magic));
        put_le32(to + 8, VERSION);
        put_le32(to + 12, header->kind);
        memcpy(to + 16, header->fingerprint.bytes, PAGE_ID_BYTES);
        memcpy(to + 48, header->parent.bytes, PAGE_ID_BYTES);
        put_le32(to + 80, header->position);
        put_le32(to + 84, header->owner);
        put_le32(to + 88, header->n_tokens);
        put_le32(to + 92, header->n_parts);
        put_le32(to + 96, header->part_bytes);
        to += KV_VALUE_FIXED;
        for (uint32_t i = 0; i < header->n_tokens; i++, to += 4)
                put_le32(to, header->tokens[i]);
        for (uint32_t i = 0; i < header->n_parts; i++, to += 4)
                put_le32(to, header->part_crc[i]);
        put_le32(to, crc32c(0, start, (size_t)(to - start)));
}

const char *kv_value_decode(const uint8_t *from, size_t bytes, struct kv_value_header *ret) {
        if (bytes < KV_VALUE_FIXED || memcmp(from, magic, sizeof(magic)) != 0)
                return "no magic";
        if (get_le32(from + 8) != VERSION)
                return "its version";
        uint32_t n_tokens = get_le32(from + 88), n_parts = get_le32(from + 92);
        if (n_tokens > KV_VALUE_TOKENS_MAX || n_parts == 0 || n_parts > KV_EXTENT_PAGES_MAX ||
            kv_value_header_bytes(n_tokens, n_parts) > bytes)
                return "its counts";
        size_t crc_at = kv_value_header_bytes(n_tokens, n_parts) - 4;
        if (crc32c(0, from, crc_at) != get_le32(from + crc_at))
                return "the header's checksum";

        ret->kind = get_le32(from + 12);
        memcpy(ret->fingerprint.bytes, from + 16, PAGE_ID_BYTES);
        memcpy(ret->parent.bytes, from + 48, PAGE_ID_BYTES);
        ret->position = get_le32(from + 80);
        ret->owner = get_le32(from + 84);
        ret->n_tokens = n_tokens;
        ret->n_parts = n_parts;
        ret->part_bytes = get_le32(from + 96);
        from += KV_VALUE_FIXED;
        for (uint32_t i = 0; i < n_tokens; i++, from += 4)
                ret->tokens[i] = get_le32(from);
        for (uint32_t i = 0; i < n_parts; i++, from += 4)
                ret->part_crc[i] = get_le32(from);
        return NULL;
}
