#include <string.h>

#include "engine/pool.h"
#include "engine/step.h"

/* Multiply-adds below which handing work to another thread costs more than it saves (about 100 us
 * of one core). */
#define PARALLEL_WORK_MIN (1ULL << 21)

/* Pieces for each thread, so that those that are held up by something else have done less when the
 * others are done. Each piece arranges its inputs anew, which takes rows * k steps. */
#define PIECES_PER_WORKER 4

/* Into how many pieces a product of so many multiply-adds is cut: none is smaller than what is
 * worth a hand-over, unless there are threads without one. */
static uint32_t n_pieces(const struct pool *pool, uint64_t work) {
        uint32_t workers = pool_n_workers(pool), most = PIECES_PER_WORKER * workers;
        if (work < PARALLEL_WORK_MIN || workers == 1)
                return 1;
        uint64_t n = work / PARALLEL_WORK_MIN;
        return n < workers ? workers : n > most ? most : (uint32_t)n;
}

struct linear_job {
        const struct backend *backend;
        const struct worker_scratch *worker;
        struct matmul m;
};

static void run(void *context, uint32_t first, uint32_t last, unsigned worker) {
        struct linear_job *job = context;
        struct matmul m = job->m;
        m.scratch = job->worker[worker].matmul;
        job->backend->matmul(&m, first, last);
}

/* Rows per piece when quantising is split over threads: some 100 us of one core at the widest. */
#define QUANTISE_ROWS 16

struct quantise_job {
        const struct step *step;
        const struct matrix *w;
        const float *x;
        float *y;
};

static void quantise(void *context, uint32_t first, uint32_t last, unsigned worker) {
        (void)worker;
        struct quantise_job *job = context;
        for (uint32_t r = first; r < last; r++) {
                size_t at = (size_t)r * job->w->k;
                const float *x = job->x + at;
                float *y = job->y + at;
                if (job->step->engine->choices) {
                        x = memmove(y, x, job->w->k * sizeof(float));
                        choices_linear_input(job->step, job->w, r, y);
                }
                job->step->engine->backend->fp8_round(x, job->w->k, job->w->input_block, y);
        }
}

const float *linear_input(struct step *step, const struct matrix *w, const float *x,
                          uint32_t n_rows, float *room) {
        if (w->input_block == 0)
                return x;
        struct quantise_job job = { step, w, x, room };
        pool_run(step->engine->pool, n_rows, QUANTISE_ROWS, quantise, &job);
        return room;
}

static void linear_strided(struct step *step, const struct matrix *w, const float *x,
                           size_t x_stride, uint32_t n_rows, float *y, size_t y_stride,
                           bool round) {
        struct linear_job job = {
                .backend = step->engine->backend,
                .worker = step->ws->worker,
                .m = { x, x_stride, n_rows, *w, y, y_stride, round, NULL },
        };
        uint32_t pieces = n_pieces(step->engine->pool, (uint64_t)n_rows * w->n * w->k);
        /* Whole tiles of outputs, so that no piece begins inside a tile of weights. */
        uint32_t grain = (w->n + pieces - 1) / pieces;
        uint32_t whole = w->format == WEIGHT_FP8 ? w->tile : WEIGHT_BLOCK;
        grain = (grain + whole - 1) / whole * whole;
        pool_run(step->engine->pool, w->n, grain, run, &job);
}

void linear(struct step *step, const struct matrix *w, const float *x, uint32_t n_rows, float *y,
            bool round) {
        linear_strided(step, w, x, w->k, n_rows, y, w->n, round);
}

void linear_grouped(struct step *step, const struct matrix *w, uint32_t n_groups, const float *x,
                    uint32_t n_rows, float *y, bool round) {
        uint32_t n = w->n / n_groups;
        for (uint32_t g = 0; g < n_groups; g++) {
                struct matrix group = matrix_rows(w, g * n, n);
                linear_strided(step, &group, x + (size_t)g * w->k, (size_t)n_groups * w->k, n_rows,
                               y + (size_t)g * n, w->n, round);
        }
}
