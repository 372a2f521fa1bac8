#include "engine/attention_window.h"

#include <string.h>

void window_buffers(struct workspace *ws, const struct engine *engine, size_t rows) {
        ws->window_rows = ROOM(ws, rows * engine->frontier_layout.window_row_bytes, uint8_t);
        ws->window_start = ROOM(ws, rows, size_t);
}

void window_pack(struct step *step, uint32_t layer, uint32_t r, float *x) {
        const struct engine *e = step->engine;
        const struct frontier_layout *f = &e->frontier_layout;
        struct workspace *ws = step->ws;
        offer_values(e, CHOICE_WINDOW, layer, ws->position[r], 0, f->window_values, x);
        if (!row_pack(f->window_format, x, f->window_values,
                      ws->window_rows + (size_t)r * f->window_row_bytes))
                step->bad_row = r;
}

/* Old rows of the window that the part's first position sees. */
static uint32_t n_old_rows(const struct model_config *c, uint64_t position) {
        return position < c->window - 1 ? (uint32_t)position : c->window - 1;
}

/* Per part, the old window rows and this step's, ascending: row i of the part sees a slice that
 * ends with it. */
void window_unpack(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        const struct frontier_layout *f = &e->frontier_layout;
        size_t row_size = f->window_row_bytes, dim = f->window_values, at = 0;

        for (size_t p = 0; p < step->n_parts; p++) {
                const struct batch_part *part = &step->parts[p];
                uint64_t position = sequence_header(part->sequence)->position;
                const uint8_t *ring = sequence_window(part->sequence, layer);
                uint32_t n_old = n_old_rows(c, position);
                ws->window_start[p] = at;
                for (uint32_t done = 0; done < n_old;) {
                        uint32_t slot = (uint32_t)((position - n_old + done) % c->window);
                        uint32_t run =
                                c->window - slot < n_old - done ? c->window - slot : n_old - done;
                        e->backend->row_unpack(f->window_format, ring + slot * row_size, run,
                                               f->window_values,
                                               ws->window_keys + (at + done) * dim);
                        done += run;
                }
                at += n_old;
                e->backend->row_unpack(f->window_format,
                                       ws->window_rows + step->first_row[p] * row_size, part->n,
                                       f->window_values, ws->window_keys + at * dim);
                at += part->n;
        }
}

const float *window_of_row(const struct step *step, uint32_t r, uint32_t *ret_n) {
        const struct workspace *ws = step->ws;
        const struct model_config *c = &step->engine->config;
        uint32_t p = ws->part[r];
        uint32_t n_before = n_old_rows(
                c, sequence_header(step->parts[p].sequence)->position); /* of the start */
        size_t end = ws->window_start[p] + n_before + (r - step->first_row[p]) + 1;
        *ret_n = n_old_rows(c, ws->position[r]) + 1;
        return ws->window_keys + (end - *ret_n) * step->engine->frontier_layout.window_values;
}

void window_store(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        const struct model_config *c = &e->config;
        size_t row_size = e->frontier_layout.window_row_bytes;

        for (size_t p = 0; p < step->n_parts; p++) {
                const struct batch_part *part = &step->parts[p];
                uint64_t position = sequence_header(part->sequence)->position;
                uint8_t *ring = sequence_window(part->sequence, layer);
                for (uint32_t i = part->n > c->window ? part->n - c->window : 0; i < part->n; i++)
                        memcpy(ring + (size_t)((position + i) % c->window) * row_size,
                               step->ws->window_rows + (step->first_row[p] + i) * row_size,
                               row_size);
        }
}
