/* What tables an engram.mdb holds: the record that says so, and the names inside the file.
 *
 * Three named databases: "extents" and "checksums" with keys of 64 bits (table << 32 | extent), the
 * second's values are CRC32C of the first's; "about" with the record (key "tables") and, once all
 * extents are there, their number (key "complete"). The record ends with a CRC32C of itself. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "memory/engram_layout.h"

struct error;

/* Of the layout and of this record. A file with a later number is refused: import again. */
#define ENGRAM_FORMAT 1U

#define ENGRAM_FINGERPRINT_BYTES 32

/* Bounds the record: more than the engine's 8-grams with 32 heads each need. */
#define ENGRAM_MULTIPLIERS_MAX 8
#define ENGRAM_PRIMES_MAX      256

#define ENGRAM_DB_EXTENTS   "extents"
#define ENGRAM_DB_CHECKSUMS "checksums"
#define ENGRAM_DB_ABOUT     "about"
#define ENGRAM_KEY_TABLES   "tables"
#define ENGRAM_KEY_COMPLETE "complete"

static inline uint64_t engram_extent_key(unsigned table, uint64_t extent) {
        return (uint64_t)table << 32 | extent;
}

/* The tables of a checkpoint. To the store the numbers have no meaning but to be the same. */
struct engram_about {
        uint32_t n_tables;
        uint32_t code_bytes, scale_bytes; /* of a row */
        uint32_t n_multipliers, n_primes; /* of a table */
        uint64_t n_rows[ENGRAM_TABLES_MAX];
        int64_t multiplier[ENGRAM_TABLES_MAX][ENGRAM_MULTIPLIERS_MAX];
        int64_t prime[ENGRAM_TABLES_MAX][ENGRAM_PRIMES_MAX];
        uint8_t fingerprint[ENGRAM_FINGERPRINT_BYTES]; /* of the checkpoint they come from */
};

/* The layout for these tables. -EINVAL: no page can hold such a row, or too much of something. */
int engram_about_layout(const struct engram_about *about, uint32_t extent_pages,
                        struct engram_layout *ret, struct error *err);

/* The record's bytes; the caller frees them. 0 or -ENOMEM. */
int engram_about_pack(const struct engram_about *about, uint32_t extent_pages, uint8_t **ret,
                      size_t *ret_bytes);

/* -EUCLEAN: not a whole record. -EPROTONOSUPPORT: of a later format. */
int engram_about_unpack(const uint8_t *bytes, size_t n, struct engram_about *ret,
                        uint32_t *ret_extent_pages, struct error *err);

/* 0, or -ESTALE with a message that names the first thing in which `found` differs. */
int engram_about_compare(const struct engram_about *found, const struct engram_about *wanted,
                         struct error *err);
