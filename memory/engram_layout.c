#include "memory/engram_layout.h"

#include <string.h>

#include "base/crc32c.h"

#define EXTENT_PAGES_MAX (1U << 20)

bool engram_layout_init(struct engram_layout *layout, uint32_t extent_pages) {
        layout->row_bytes = layout->code_bytes + layout->scale_bytes;
        if (layout->code_bytes > ENGRAM_ROW_BYTES_MAX ||
            layout->scale_bytes > ENGRAM_ROW_BYTES_MAX || layout->row_bytes == 0 ||
            layout->row_bytes > ENGRAM_ROW_BYTES_MAX || layout->n_tables > ENGRAM_TABLES_MAX)
                return false;
        if (extent_pages == 0 || extent_pages > EXTENT_PAGES_MAX ||
            (extent_pages & (extent_pages - 1)) != 0)
                return false;
        for (unsigned t = 0; t < layout->n_tables; t++)
                if (layout->n_rows[t] == 0 || layout->n_rows[t] > ENGRAM_ROWS_MAX)
                        return false;
        layout->rows_per_page =
                (ENGRAM_PAGE_BYTES - ENGRAM_PAGE_HEADER_BYTES) / engram_stride(layout);
        layout->extent_pages_log2 = (uint32_t)__builtin_ctz(extent_pages);
        layout->reciprocal = UINT64_MAX / layout->rows_per_page + 1;
        return true;
}

static uint64_t rows_per_extent(const struct engram_layout *layout) {
        return (uint64_t)layout->rows_per_page << layout->extent_pages_log2;
}

uint64_t engram_layout_extents(const struct engram_layout *layout, unsigned table) {
        return (layout->n_rows[table] - 1) / rows_per_extent(layout) + 1;
}

uint64_t engram_layout_extent_rows(const struct engram_layout *layout, unsigned table,
                                   uint64_t extent) {
        uint64_t left = layout->n_rows[table] - extent * rows_per_extent(layout);
        return left < rows_per_extent(layout) ? left : rows_per_extent(layout);
}

size_t engram_layout_value_bytes(const struct engram_layout *layout, unsigned table,
                                 uint64_t extent) {
        uint64_t rows = engram_layout_extent_rows(layout, table, extent);
        uint64_t pages = (rows - 1) / layout->rows_per_page + 1;
        return (size_t)(pages * ENGRAM_PAGE_BYTES - ENGRAM_PAGE_HEADER_BYTES);
}

static uint32_t checksum(const struct engram_layout *layout, unsigned table, uint64_t row,
                         const uint8_t *bytes) {
        uint64_t name = (uint64_t)table << 40 | row;
        return crc32c(crc32c(0, &name, sizeof(name)), bytes, layout->row_bytes);
}

void engram_row_seal(const struct engram_layout *layout, unsigned table, uint64_t row,
                     uint8_t *bytes) {
        uint32_t crc = checksum(layout, table, row, bytes);
        memcpy(bytes + layout->row_bytes, &crc, sizeof(crc));
}

bool engram_row_intact(const struct engram_layout *layout, unsigned table, uint64_t row,
                       const uint8_t *bytes) {
        uint32_t crc;
        memcpy(&crc, bytes + layout->row_bytes, sizeof(crc));
        return crc == checksum(layout, table, row, bytes);
}
