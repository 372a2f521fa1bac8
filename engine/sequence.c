/* A sequence's life, and what it remembers as bytes.
 *
 * Saved is what the model reads later: rows of the streams, windows, open groups, n-gram history.
 * All of it lies in memory in the form in which it is saved, so saving and restoring copy. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/kv_room.h"
#include "engine/model.h"

_Static_assert(ENGINE_PAGE_TOKENS == KV_PAGE_TOKENS, "one unit for all");

int sequence_new(struct engine *engine, struct sequence **ret) {
        int r = kv_room_make(engine, engine->frontier_layout.bytes, NULL);
        if (r < 0)
                return r;
        struct sequence *s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->engine = engine;
        s->frontier = calloc(1, engine->frontier_layout.bytes);
        if (!s->frontier || engine->kv->create(&engine->kv_layout, &engine->kv_pool, &s->kv) < 0) {
                free(s->frontier);
                free(s);
                return -ENOMEM;
        }
        for (uint32_t i = 0; i < NGRAM_MAX - 1; i++)
                sequence_header(s)->history[i] = engine->hash.pad;
        kv_pool_take(&engine->kv_pool, engine->frontier_layout.bytes);
        LIST_INSERT_HEAD(&engine->sequences, s, of_engine);
        *ret = s;
        return 0;
}

struct sequence *sequence_free(struct sequence *sequence) {
        if (!sequence)
                return NULL;
        struct engine *engine = sequence->engine;
        LIST_REMOVE(sequence, of_engine);
        kv_pool_give(&engine->kv_pool, engine->frontier_layout.bytes);
        engine->kv->destroy(sequence->kv);
        free(sequence->frontier);
        free(sequence);
        return NULL;
}

uint64_t sequence_position(const struct sequence *sequence) {
        return sequence_header(sequence)->position;
}

uint64_t sequence_bytes(const struct sequence *sequence) {
        return sequence->engine->frontier_layout.bytes + sequence->engine->kv->bytes(sequence->kv);
}

size_t engine_page_bytes(const struct engine *engine) {
        return engine->kv_layout.page_bytes;
}

size_t engine_state_bytes(const struct engine *engine) {
        return engine->frontier_layout.bytes + engine->kv_layout.page_bytes;
}

/* Rows of a page that n_tokens tokens (of this page) have closed. */
static uint32_t closed_rows(const struct kv_stream *stream, uint64_t n_tokens) {
        uint64_t n = n_tokens < KV_PAGE_TOKENS ? n_tokens : KV_PAGE_TOKENS;
        return (uint32_t)(n / stream->tokens_per_row);
}

static void save_rows(const struct sequence *s, uint64_t page, uint8_t *ret_slab) {
        const struct kv_layout *layout = &s->engine->kv_layout;
        uint64_t n_tokens = sequence_position(s) - page * KV_PAGE_TOKENS;
        for (unsigned i = 0; i < layout->n_streams; i++) {
                const struct kv_stream *stream = &layout->stream[i];
                uint32_t per_page = KV_PAGE_TOKENS / stream->tokens_per_row,
                         n = closed_rows(stream, n_tokens);
                uint8_t *rows = ret_slab + stream->slab_offset;
                if (n > 0)
                        s->engine->kv->read(s->kv, i, page * per_page, n, rows);
                memset(rows + (size_t)n * stream->row_bytes, 0,
                       (size_t)(per_page - n) * stream->row_bytes);
        }
}

/* The rows of the unfinished page. */
static void restore_tail(struct sequence *s, uint64_t position, const uint8_t *slab) {
        const struct kv_layout *layout = &s->engine->kv_layout;
        uint64_t page = position / KV_PAGE_TOKENS;
        for (unsigned i = 0; i < layout->n_streams; i++) {
                const struct kv_stream *stream = &layout->stream[i];
                uint32_t per_page = KV_PAGE_TOKENS / stream->tokens_per_row,
                         n = closed_rows(stream, position % KV_PAGE_TOKENS);
                if (n > 0)
                        s->engine->kv->append(s->kv, i, page * per_page, n,
                                              slab + stream->slab_offset);
        }
}

void sequence_save_page(const struct sequence *sequence, uint64_t page, uint8_t *ret_page) {
        save_rows(sequence, page, ret_page);
}

void sequence_save_state(const struct sequence *sequence, uint8_t *ret_state) {
        size_t frontier = sequence->engine->frontier_layout.bytes;
        memcpy(ret_state, sequence->frontier, frontier);
        if (sequence->engine->kv_layout.page_bytes > 0)
                save_rows(sequence, sequence_position(sequence) / KV_PAGE_TOKENS,
                          ret_state + frontier);
}

static int check_state(const struct engine *e, const struct frontier_header *header,
                       uint64_t n_pages, struct error *err) {
        if (header->position > e->config.max_positions ||
            header->position / KV_PAGE_TOKENS != n_pages)
                return error_set(err, -EINVAL,
                                 "a saved state of position %" PRIu64 " does not follow %" PRIu64
                                 " pages of %u tokens",
                                 header->position, n_pages, KV_PAGE_TOKENS);
        for (uint32_t i = 0; e->config.n_engram_layers > 0 && i < e->hash.ngram_max - 1; i++)
                if (header->history[i] >= e->hash.n_compressed)
                        return error_set(err, -EINVAL,
                                         "a saved state holds compressed id %u, the model has %u",
                                         header->history[i], e->hash.n_compressed);
        return 0;
}

void sequence_lend_page(struct sequence *sequence, uint64_t page, const uint8_t *slab) {
        assert((page + 1) * KV_PAGE_TOKENS <= sequence_position(sequence));
        if (sequence->engine->kv_layout.page_bytes > 0)
                sequence->engine->kv->lend(sequence->kv, page, (struct kv_slab){ slab });
}

int sequence_spill(struct sequence *sequence) {
        struct engine *e = sequence->engine;
        if (e->kv->spilled(sequence->kv))
                return 0;
        if (-e->kv->gain(sequence->kv) > (int64_t)kv_pool_room(&e->kv_pool))
                return -ENOMEM;
        int r = e->kv->spill(sequence->kv);
        e->spills += r == 0;
        return r;
}

/* Room for n_pages full pages and what follows them up to `position`. When not all of their rows
 * fit, the sequence gives way itself, before it has any: that copies less than to spill another. */
static int make_room(struct sequence *sequence, uint64_t n_pages, uint64_t position,
                     struct error *err) {
        struct engine *e = sequence->engine;
        const struct kv_layout *layout = &e->kv_layout;
        uint64_t resident = kv_pages(position) * layout->page_bytes,
                 spilled = resident - n_pages * layout->block_bytes[KV_SELECTED] +
                kv_pool_hot_bytes(&e->kv_pool, layout);
        bool spill = resident > kv_pool_room(&e->kv_pool) && spilled < resident;

        int r = kv_room_make(e, spill ? spilled : resident, err);
        if (r < 0)
                return r;
        if ((spill && sequence_spill(sequence) < 0) ||
            e->kv->reserve(sequence->kv, position, n_pages) < 0)
                return error_set(err, -ENOMEM, "out of memory for the KV of %" PRIu64 " tokens",
                                 position);
        return 0;
}

int sequence_restore(struct sequence *sequence, const uint8_t *const *pages, uint64_t n_pages,
                     const uint8_t *state, struct error *err) {
        const struct engine *e = sequence->engine;
        struct frontier_header header; /* `state` need not be aligned */
        memcpy(&header, state, sizeof(header));
        if (sequence_position(sequence) != 0)
                return error_set(err, -EINVAL, "only a new sequence can be restored");
        int r = check_state(e, &header, n_pages, err);
        if (r == 0)
                r = make_room(sequence, n_pages, header.position, err);
        if (r < 0)
                return r;
        for (uint64_t i = 0; e->kv_layout.page_bytes > 0 && i < n_pages; i++)
                e->kv->restore(sequence->kv, i, (struct kv_slab){ pages[i] });
        restore_tail(sequence, header.position, state + e->frontier_layout.bytes);
        memcpy(sequence->frontier, state, e->frontier_layout.bytes);
        return 0;
}
