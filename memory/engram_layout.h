/* Where a row of an Engram table lies in engram.mdb: arithmetic only.
 *
 * A table is cut in extents of a power of two of 4 KiB pages; the last one of a table ends with its
 * last row. An extent is one LMDB value of (pages x 4096 - 16) bytes: LMDB puts 16 bytes of header
 * before a large value, so the extent as it lies in the file, header included, is whole pages.
 * Every page holds rows from byte 16 on (in the first that is behind LMDB's header, in the others
 * the 16 bytes are zero), each followed by its checksum; none crosses a page, so that a cold row
 * costs one read of one page:
 *
 *   page    | 16 bytes | row 0 | crc | row 1 | crc | ... | zeros |
 *
 * The released rows of 256 + 8 bytes make 15 a page (4,020 of 4,080 bytes), 3.4 % more than packed.
 * The checksum of a row is CRC32C over (table, row number, bytes): it is checked whenever a row
 * enters memory, and also finds a row that lies in another's place. Numbers are little-endian. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Released models have two tables; the engine allows 16. */
#define ENGRAM_TABLES_MAX 16

/* Rows of one table: what 40 bits count. A thousand times the largest released table, and small
 * enough that the multiplication in engram_locate() is exact. */
#define ENGRAM_ROWS_MAX (1ULL << 40)

#define ENGRAM_PAGE_BYTES        4096U
#define ENGRAM_PAGE_HEADER_BYTES 16U
#define ENGRAM_CRC_BYTES         4U
#define ENGRAM_ROW_BYTES_MAX     (ENGRAM_PAGE_BYTES - ENGRAM_PAGE_HEADER_BYTES - ENGRAM_CRC_BYTES)

/* 64 MiB: large enough that the index of a released model (3,125 extents) is nothing, small enough
 * that eight of them fit memory before a commit. */
#define ENGRAM_EXTENT_PAGES 16384U

struct engram_layout {
        uint32_t n_tables;
        uint32_t code_bytes, scale_bytes; /* of a row, in this order */
        uint32_t row_bytes;               /* their sum */
        uint32_t rows_per_page;
        uint32_t extent_pages_log2;
        uint64_t n_rows[ENGRAM_TABLES_MAX];
        uint64_t reciprocal; /* of rows_per_page: floor(2^64 / it) + 1 */
};

/* A row's place. */
struct engram_place {
        uint64_t extent;  /* of its table */
        uint32_t page;    /* of the extent */
        uint32_t in_page; /* byte of the page at which the row starts */
};

/* Fills in what follows from the first three and n_rows. False: no page would hold a row, too many
 * tables or rows, or extent_pages is not a power of two from 1 to 2^20 (4 GiB, LMDB's limit of a
 * value). */
bool engram_layout_init(struct engram_layout *layout, uint32_t extent_pages);

/* Extents of a table, rows of an extent, and bytes of its value. */
uint64_t engram_layout_extents(const struct engram_layout *layout, unsigned table);
uint64_t engram_layout_extent_rows(const struct engram_layout *layout, unsigned table,
                                   uint64_t extent);
size_t engram_layout_value_bytes(const struct engram_layout *layout, unsigned table,
                                 uint64_t extent);

/* What a row and its checksum take. */
static inline uint32_t engram_stride(const struct engram_layout *layout) {
        return layout->row_bytes + ENGRAM_CRC_BYTES;
}

/* row / rows_per_page by multiplication: with m = floor(2^64 / d) + 1 the error of row * m / 2^64
 * is below row * d / 2^64 / d < 1 / d for row * d < 2^64, which ENGRAM_ROWS_MAX and d < 4096
 * guarantee. A division would take as long as the memory access that it prepares. */
__extension__ typedef unsigned __int128 engram_wide;
static inline struct engram_place engram_locate(const struct engram_layout *layout, uint64_t row) {
        uint64_t page = layout->rows_per_page == 1
                ? row
                : (uint64_t)((engram_wide)row * layout->reciprocal >> 64);
        uint32_t in_page = (uint32_t)(row - page * layout->rows_per_page);
        return (struct engram_place){
                .extent = page >> layout->extent_pages_log2,
                .page = (uint32_t)(page & ((1U << layout->extent_pages_log2) - 1)),
                .in_page = ENGRAM_PAGE_HEADER_BYTES + in_page * engram_stride(layout),
        };
}

/* Writes the checksum behind a row, or compares the one that is there. */
void engram_row_seal(const struct engram_layout *layout, unsigned table, uint64_t row,
                     uint8_t *bytes);
bool engram_row_intact(const struct engram_layout *layout, unsigned table, uint64_t row,
                       const uint8_t *bytes);
