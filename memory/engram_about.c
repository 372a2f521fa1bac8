#include "memory/engram_about.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/error.h"

/* Start of the record; row counts, multipliers and primes of each table follow, then the CRC32C. */
struct head {
        char magic[8];
        uint32_t format;
        uint32_t n_tables, code_bytes, scale_bytes, n_multipliers, n_primes;
        uint32_t extent_pages;
        uint8_t fingerprint[ENGRAM_FINGERPRINT_BYTES];
};
static const char magic[8] = { 's', 'e', 'e', 'k', 'd', 'E', 'n', 'g' };

static size_t record_bytes(const struct head *head) {
        return sizeof(*head) +
                (size_t)head->n_tables * (1 + head->n_multipliers + head->n_primes) *
                sizeof(uint64_t) +
                ENGRAM_CRC_BYTES;
}

int engram_about_layout(const struct engram_about *about, uint32_t extent_pages,
                        struct engram_layout *ret, struct error *err) {
        struct engram_layout layout = {
                .n_tables = about->n_tables,
                .code_bytes = about->code_bytes,
                .scale_bytes = about->scale_bytes,
        };
        memcpy(layout.n_rows, about->n_rows, sizeof(layout.n_rows));
        if (about->n_multipliers > ENGRAM_MULTIPLIERS_MAX || about->n_primes > ENGRAM_PRIMES_MAX ||
            !engram_layout_init(&layout, extent_pages))
                return error_set(err, -EINVAL,
                                 "Engram tables cannot be stored: %u tables of %u + %u bytes a row "
                                 "in extents of %u pages",
                                 about->n_tables, about->code_bytes, about->scale_bytes,
                                 extent_pages);
        *ret = layout;
        return 0;
}

static uint8_t *put(uint8_t *to, const void *from, size_t n) {
        memcpy(to, from, n);
        return to + n;
}

int engram_about_pack(const struct engram_about *about, uint32_t extent_pages, uint8_t **ret,
                      size_t *ret_bytes) {
        struct head head = {
                .format = ENGRAM_FORMAT,
                .n_tables = about->n_tables,
                .code_bytes = about->code_bytes,
                .scale_bytes = about->scale_bytes,
                .n_multipliers = about->n_multipliers,
                .n_primes = about->n_primes,
                .extent_pages = extent_pages,
        };
        memcpy(head.magic, magic, sizeof(magic));
        memcpy(head.fingerprint, about->fingerprint, sizeof(head.fingerprint));
        size_t n = record_bytes(&head);
        uint8_t *bytes = malloc(n);
        if (!bytes)
                return -ENOMEM;
        uint8_t *at = put(bytes, &head, sizeof(head));
        at = put(at, about->n_rows, head.n_tables * sizeof(uint64_t));
        for (uint32_t t = 0; t < head.n_tables; t++) {
                at = put(at, about->multiplier[t], head.n_multipliers * sizeof(int64_t));
                at = put(at, about->prime[t], head.n_primes * sizeof(int64_t));
        }
        uint32_t crc = crc32c(0, bytes, n - ENGRAM_CRC_BYTES);
        memcpy(at, &crc, sizeof(crc));
        *ret = bytes;
        *ret_bytes = n;
        return 0;
}

static const uint8_t *get(void *to, const uint8_t *from, size_t n) {
        memcpy(to, from, n);
        return from + n;
}

int engram_about_unpack(const uint8_t *bytes, size_t n, struct engram_about *ret,
                        uint32_t *ret_extent_pages, struct error *err) {
        struct head head;
        if (n < sizeof(head))
                return error_set(err, -EUCLEAN, "its description has %zu bytes", n);
        const uint8_t *at = get(&head, bytes, sizeof(head));
        if (memcmp(head.magic, magic, sizeof(magic)) == 0 && head.format > ENGRAM_FORMAT)
                return error_set(err, -EPROTONOSUPPORT, "format %u, this seekd reads %u",
                                 head.format, ENGRAM_FORMAT);
        uint32_t crc;
        memcpy(&crc, bytes + n - sizeof(crc), sizeof(crc));
        if (head.n_tables > ENGRAM_TABLES_MAX || head.n_multipliers > ENGRAM_MULTIPLIERS_MAX ||
            head.n_primes > ENGRAM_PRIMES_MAX || n != record_bytes(&head) ||
            memcmp(head.magic, magic, sizeof(magic)) != 0 || head.format != ENGRAM_FORMAT ||
            crc != crc32c(0, bytes, n - sizeof(crc)))
                return error_set(err, -EUCLEAN, "its description is damaged");
        struct engram_about about = {
                .n_tables = head.n_tables,
                .code_bytes = head.code_bytes,
                .scale_bytes = head.scale_bytes,
                .n_multipliers = head.n_multipliers,
                .n_primes = head.n_primes,
        };
        memcpy(about.fingerprint, head.fingerprint, sizeof(head.fingerprint));
        at = get(about.n_rows, at, head.n_tables * sizeof(uint64_t));
        for (uint32_t t = 0; t < head.n_tables; t++) {
                at = get(about.multiplier[t], at, head.n_multipliers * sizeof(int64_t));
                at = get(about.prime[t], at, head.n_primes * sizeof(int64_t));
        }
        *ret = about;
        *ret_extent_pages = head.extent_pages;
        return 0;
}

static int differs(struct error *err, const char *what, uint64_t found, uint64_t wanted) {
        return error_set(err, -ESTALE,
                         "made for another model: %s %" PRIu64 ", this one has %" PRIu64, what,
                         found, wanted);
}

int engram_about_compare(const struct engram_about *found, const struct engram_about *wanted,
                         struct error *err) {
        if (found->n_tables != wanted->n_tables)
                return differs(err, "Engram tables:", found->n_tables, wanted->n_tables);
        if (found->code_bytes != wanted->code_bytes)
                return differs(err, "codes of a row:", found->code_bytes, wanted->code_bytes);
        if (found->scale_bytes != wanted->scale_bytes)
                return differs(err, "scales of a row:", found->scale_bytes, wanted->scale_bytes);
        if (found->n_primes != wanted->n_primes || found->n_multipliers != wanted->n_multipliers)
                return differs(err, "rows of a token:", found->n_primes, wanted->n_primes);
        for (uint32_t t = 0; t < found->n_tables; t++) {
                if (found->n_rows[t] != wanted->n_rows[t])
                        return differs(err, "rows of a table:", found->n_rows[t],
                                       wanted->n_rows[t]);
                for (uint32_t i = 0; i < found->n_primes; i++)
                        if (found->prime[t][i] != wanted->prime[t][i])
                                return differs(err, "a prime:", (uint64_t)found->prime[t][i],
                                               (uint64_t)wanted->prime[t][i]);
                for (uint32_t i = 0; i < found->n_multipliers; i++)
                        if (found->multiplier[t][i] != wanted->multiplier[t][i])
                                return differs(err,
                                               "a multiplier:", (uint64_t)found->multiplier[t][i],
                                               (uint64_t)wanted->multiplier[t][i]);
        }
        if (memcmp(found->fingerprint, wanted->fingerprint, sizeof(found->fingerprint)) != 0)
                return error_set(err, -ESTALE,
                                 "made for another checkpoint: the same shape, other weights");
        return 0;
}
