#include "memory/engram_pieces.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/crc32c.h"
#include "base/error.h"

/* As many as a commit takes, so that the next commit's are ready when one has been written. */
#define AHEAD 8

struct engram_pieces {
        const struct engram_source *source;
        const struct engram_layout *layout;
        pthread_t thread;
        struct engram_cursor cursor; /* the thread's: the next one to be made */
        uint8_t *buffers;            /* [AHEAD][buffer_bytes], mapped; touched as they are used */
        size_t buffer_bytes;

        pthread_mutex_t lock; /* guards the rest */
        pthread_cond_t changed;
        struct engram_piece ready[AHEAD];
        unsigned n_ready, n_released; /* free-running; ready[i % AHEAD] */
        bool stop, finished;
        int result;
        struct error error;
};

bool engram_cursor_next(struct engram_cursor *cursor, const struct engram_layout *layout,
                        struct engram_piece *ret) {
        while (cursor->table < layout->n_tables &&
               cursor->extent == engram_layout_extents(layout, cursor->table)) {
                cursor->table++;
                cursor->extent = 0;
        }
        if (cursor->table == layout->n_tables)
                return false;
        *ret = (struct engram_piece){
                .of = *cursor,
                .n = engram_layout_value_bytes(layout, cursor->table, cursor->extent),
        };
        cursor->extent++;
        return true;
}

/* -------- the thread -------- */

static int fill(const struct engram_pieces *p, const struct engram_piece *piece, uint8_t *bytes,
                struct error *err) {
        const struct engram_layout *l = p->layout;
        unsigned table = piece->of.table;
        uint64_t row = piece->of.extent * ((uint64_t)l->rows_per_page << l->extent_pages_log2);
        uint32_t stride = engram_stride(l);
        uint8_t *end = bytes + piece->n, *at = bytes;
        for (uint64_t left = engram_layout_extent_rows(l, table, piece->of.extent); left > 0;) {
                uint32_t n = left < l->rows_per_page ? (uint32_t)left : l->rows_per_page;
                int r = p->source->read(p->source->context, table, row, n, at, stride, err);
                if (r < 0)
                        return r;
                for (uint32_t i = 0; i < n; i++)
                        engram_row_seal(l, table, row + i, at + (size_t)i * stride);
                /* The rest of this page, and the 16 bytes that start the next one. */
                uint8_t *page_end = at + ENGRAM_PAGE_BYTES < end ? at + ENGRAM_PAGE_BYTES : end;
                memset(at + (size_t)n * stride, 0, (size_t)(page_end - at) - (size_t)n * stride);
                at = page_end;
                row += n;
                left -= n;
        }
        assert(at == end);
        return 0;
}

/* A buffer that the writer has done with; NULL: no more are wanted. */
static uint8_t *wait_for_buffer(struct engram_pieces *p) {
        pthread_mutex_lock(&p->lock);
        while (p->n_ready - p->n_released == AHEAD && !p->stop)
                pthread_cond_wait(&p->changed, &p->lock);
        uint8_t *buffer = p->stop ? NULL : p->buffers + p->n_ready % AHEAD * p->buffer_bytes;
        pthread_mutex_unlock(&p->lock);
        return buffer;
}

static void *make_all(void *userdata) {
        struct engram_pieces *p = userdata;
        struct error err = { 0 };
        struct engram_piece piece;
        uint8_t *buffer;
        int r = 0;
        while ((buffer = wait_for_buffer(p)) && engram_cursor_next(&p->cursor, p->layout, &piece)) {
                r = fill(p, &piece, buffer, &err);
                if (r < 0)
                        break;
                piece.bytes = buffer;
                piece.crc = crc32c(0, buffer, piece.n);
                pthread_mutex_lock(&p->lock);
                p->ready[p->n_ready++ % AHEAD] = piece;
                pthread_cond_signal(&p->changed);
                pthread_mutex_unlock(&p->lock);
        }
        pthread_mutex_lock(&p->lock);
        p->finished = true;
        p->result = r;
        p->error = err;
        pthread_cond_signal(&p->changed);
        pthread_mutex_unlock(&p->lock);
        return NULL;
}

/* -------- the writer's side -------- */

static void destroy(struct engram_pieces *p) {
        if (p->buffers)
                munmap(p->buffers, AHEAD * p->buffer_bytes);
        pthread_cond_destroy(&p->changed);
        pthread_mutex_destroy(&p->lock);
        free(p);
}

/* In large pages: touching new small ones would take as long as filling them. */
static int map_buffers(struct engram_pieces *p) {
        p->buffer_bytes = (size_t)ENGRAM_PAGE_BYTES << p->layout->extent_pages_log2;
        void *buffers = mmap(NULL, AHEAD * p->buffer_bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (buffers == MAP_FAILED)
                return -errno;
        madvise(buffers, AHEAD * p->buffer_bytes, MADV_HUGEPAGE);
        p->buffers = buffers;
        return 0;
}

int engram_pieces_start(const struct engram_source *source, const struct engram_layout *layout,
                        struct engram_cursor from, struct engram_pieces **ret, struct error *err) {
        struct engram_pieces *p = calloc(1, sizeof(*p));
        if (!p)
                return error_set(err, -ENOMEM, "no memory for an import");
        p->source = source;
        p->layout = layout;
        p->cursor = from;
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->changed, NULL);
        int r = map_buffers(p);
        if (r == 0)
                r = -pthread_create(&p->thread, NULL, make_all, p);
        if (r < 0) {
                destroy(p);
                return error_set(err, r, "no memory or thread for an import: %s", strerror(-r));
        }
        *ret = p;
        return 0;
}

struct engram_pieces *engram_pieces_free(struct engram_pieces *pieces) {
        if (!pieces)
                return NULL;
        pthread_mutex_lock(&pieces->lock);
        pieces->stop = true;
        pthread_cond_signal(&pieces->changed);
        pthread_mutex_unlock(&pieces->lock);
        pthread_join(pieces->thread, NULL);
        destroy(pieces);
        return NULL;
}

int engram_pieces_take(struct engram_pieces *pieces, const struct engram_piece **ret,
                       struct error *err) {
        pthread_mutex_lock(&pieces->lock);
        while (pieces->n_ready == pieces->n_released && !pieces->finished)
                pthread_cond_wait(&pieces->changed, &pieces->lock);
        int r = pieces->n_ready != pieces->n_released;
        *ret = &pieces->ready[pieces->n_released % AHEAD];
        if (r == 0 && pieces->result < 0)
                r = error_set(err, pieces->result, "%s", pieces->error.text);
        pthread_mutex_unlock(&pieces->lock);
        return r;
}

void engram_pieces_release(struct engram_pieces *pieces) {
        pthread_mutex_lock(&pieces->lock);
        pieces->n_released++;
        pthread_cond_signal(&pieces->changed);
        pthread_mutex_unlock(&pieces->lock);
}
