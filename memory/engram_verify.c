#include "memory/engram_verify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/background.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "memory/engram_store.h"

/* A disk reaches its sequential rate with this, and a cancelled run ends within a moment. */
#define PIECE_BYTES (4U << 20)

struct verify {
        const struct engram_store *store;
        const struct engram_verify_options *options;
        struct error *err;
        int fd;
        uint8_t *buffer; /* [PIECE_BYTES], aligned for direct reads */
        uint64_t n_damaged;
};

static bool is_cancelled(const struct verify *v) {
        return v->options->cancelled && v->options->cancelled(v->options->userdata);
}

/* Exactly n bytes. 0, -ENODATA: the file ends before, or what the disk says. */
static int read_at(const struct verify *v, size_t n, uint64_t offset) {
        for (size_t done = 0; done < n;) {
                ssize_t r = pread(v->fd, v->buffer + done, n - done, (off_t)(offset + done));
                if (r < 0 && errno == EINTR)
                        continue;
                if (r <= 0)
                        return r < 0 ? -errno : -ENODATA;
                done += (size_t)r;
        }
        return 0;
}

static void name(struct verify *v, unsigned table, uint64_t extent, uint64_t offset, int code,
                 const char *what) {
        struct error why = { 0 };
        error_set(&why, -EUCLEAN,
                  "%s: extent %" PRIu64 " of table %u, at byte %" PRIu64
                  ": %s%s; remove the file and import again (seekd --import)",
                  engram_store_path(v->store), extent, table, offset, what,
                  code == -EUCLEAN ? "" : strerror(-code));
        struct engram_damage damage = { table, extent, offset, why.text };
        if (v->options->damaged)
                v->options->damaged(v->options->userdata, &damage);
        if (v->n_damaged++ == 0)
                error_set(v->err, -EUCLEAN, "%s", why.text);
}

/* The extent's checksum is wrong: says where. The first damaged row, or none is. */
static void name_damage(struct verify *v, unsigned table, uint64_t extent,
                        const struct engram_extent *e) {
        const struct engram_layout *l = engram_store_layout(v->store);
        uint64_t row = extent * ((uint64_t)l->rows_per_page << l->extent_pages_log2);
        uint64_t end = row + engram_layout_extent_rows(l, table, extent);
        for (; row < end; row++) {
                char what[64];
                uint64_t offset = engram_store_offset(v->store, table, row),
                         page = offset / ENGRAM_PAGE_BYTES * ENGRAM_PAGE_BYTES;
                int r = read_at(v, ENGRAM_PAGE_BYTES, page);
                if (r < 0) {
                        name(v, table, extent, page, r, "");
                        return;
                }
                if (engram_row_intact(l, table, row, v->buffer + (offset - page)))
                        continue;
                snprintf(what, sizeof(what), "row %" PRIu64 " is damaged", row);
                name(v, table, extent, offset, -EUCLEAN, what);
                return;
        }
        name(v, table, extent, e->offset, -EUCLEAN,
             "its checksum is wrong, though its rows have theirs");
}

/* 0 also when it was damaged. */
static int verify_extent(struct verify *v, unsigned table, uint64_t extent) {
        struct engram_extent e = engram_store_extent(v->store, table, extent);
        uint32_t crc = 0;
        for (uint64_t done = 0; done < e.bytes;) {
                size_t n = e.bytes - done < PIECE_BYTES ? e.bytes - done : PIECE_BYTES;
                size_t skip = done == 0 ? LMDB_PAGE_HEADER : 0;
                if (is_cancelled(v))
                        return error_set(v->err, -ECANCELED, "%s: stopped",
                                         engram_store_path(v->store));
                int r = read_at(v, n, e.offset + done);
                if (r < 0) {
                        name(v, table, extent, e.offset + done, r, "");
                        return 0;
                }
                crc = crc32c(crc, v->buffer + skip, n - skip);
                done += n;
        }
        if (crc != e.crc)
                name_damage(v, table, extent, &e);
        return 0;
}

static int verify_all(struct verify *v) {
        const struct engram_layout *l = engram_store_layout(v->store);
        uint64_t done = 0, total = engram_store_bytes(v->store), started_ns = clock_ns();
        for (unsigned t = 0; t < l->n_tables; t++)
                for (uint64_t i = 0; i < engram_layout_extents(l, t); i++) {
                        int r = verify_extent(v, t, i);
                        if (r < 0)
                                return r;
                        done += engram_layout_value_bytes(l, t, i);
                        struct engram_progress p =
                                engram_progress_now("reading back", done, total, 0, started_ns);
                        if (v->options->progress)
                                v->options->progress(v->options->userdata, &p);
                }
        return v->n_damaged == 0 ? 0 : -EUCLEAN;
}

int engram_store_verify(const struct engram_store *store,
                        const struct engram_verify_options *options, struct error *err) {
        static const struct engram_verify_options defaults = { 0 };
        CLEANUP_FREE uint8_t *buffer = aligned_alloc(ENGRAM_PAGE_BYTES, PIECE_BYTES);
        if (!buffer)
                return error_set(err, -ENOMEM, "%s: no memory to read it back",
                                 engram_store_path(store));
        int direct = engram_store_direct_fd(store);
        struct verify v = {
                .store = store,
                .options = options ? options : &defaults,
                .err = err,
                .fd = direct >= 0 ? direct : engram_store_fd(store),
                .buffer = buffer,
        };
        if (v.options->background)
                background_thread();
        return verify_all(&v);
}
