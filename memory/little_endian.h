/* Numbers in stored bytes: little-endian, at any alignment. Any thread. */
#pragma once

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void put_le32(uint8_t *to, uint32_t value) {
        value = htole32(value);
        memcpy(to, &value, sizeof(value));
}

static inline void put_le64(uint8_t *to, uint64_t value) {
        value = htole64(value);
        memcpy(to, &value, sizeof(value));
}

static inline uint32_t get_le32(const uint8_t *from) {
        uint32_t value;
        memcpy(&value, from, sizeof(value));
        return le32toh(value);
}

static inline uint64_t get_le64(const uint8_t *from) {
        uint64_t value;
        memcpy(&value, from, sizeof(value));
        return le64toh(value);
}
