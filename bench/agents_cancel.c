/* seekd-bench agents: cancelled requests, while they write and while they are read. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "bench/agents.h"
#include "bench/report.h"

#define SUBJECT "cancel"

/* Tokens before a writing request is cancelled: the time between them is a step's. */
#define WRITTEN_TOKENS 6
#define ANSWER_TOKENS  256 /* not reached */
#define SHORT_PROMPT   8
#define N_RETRIES      3
#define TRIES          4 /* for a request that did not end by itself before */

/* How often the progress of a prompt is looked at. */
#define LOOK_MS 1

struct cancelled {
        struct agents_bench *bench;
        struct seekd_client *client;
        uint32_t n_sent; /* prompts */
        struct seekd_request *request;
        struct seekd_result result;
        uint64_t done_ns;
        unsigned n_tokens;
        bool done;
};

static int failed(const struct cancelled *c, struct error *err) {
        return error_set(err, -EIO, "the daemon: %s", seekd_last_error(c->client));
}

static int take_piece(void *userdata, const struct seekd_piece *piece) {
        struct cancelled *c = userdata;
        if (piece->has_token)
                c->n_tokens++;
        return 0;
}

static void take_result(void *userdata, struct seekd_request *request,
                        const struct seekd_result *result) {
        struct cancelled *c = userdata;
        (void)request;
        c->done_ns = clock_ns();
        c->done = true;
        c->result = *result;
        c->result.tool_calls = NULL;
}

/* `prompt`: its number. */
static int submit(struct cancelled *c, uint32_t prompt, uint32_t n, uint32_t n_answer,
                  struct error *err) {
        const struct agent_trace *trace = &c->bench->trace;
        struct seekd_params params = SEEKD_PARAMS_INIT;
        CLEANUP_FREE uint32_t *ids = malloc(n * sizeof(*ids));
        if (!ids)
                return error_set(err, -ENOMEM, "out of memory");
        for (uint32_t i = 0; i < n; i++)
                ids[i] = i == 0 ? trace->bos_id
                                : agent_trace_new(trace, TRACE_KINDS, UINT32_MAX, prompt, i);
        params.tokens = ids;
        params.n_tokens = n;
        params.max_tokens = n_answer;
        params.subject = SUBJECT;
        c->n_tokens = 0;
        c->done = false;
        if (seekd_submit(c->client, &params, take_piece, take_result, c, &c->request) < 0)
                return failed(c, err);
        return 0;
}

static int wait(struct cancelled *c, struct error *err) {
        while (!c->done)
                if (seekd_dispatch(c->client, -1) < 0)
                        return failed(c, err);
        c->request = seekd_request_free(c->request);
        return c->result.code == 0 ? 0
                                   : error_set(err, -EIO, "a request failed: %s", c->result.error);
}

/* -EAGAIN: it ended by itself. */
static int cancel_writing(struct cancelled *c, double *ret_steps, struct error *err) {
        int r = submit(c, c->n_sent++, SHORT_PROMPT, ANSWER_TOKENS, err);
        while (r == 0 && !c->done && c->n_tokens < WRITTEN_TOKENS)
                if (seekd_dispatch(c->client, -1) < 0)
                        return failed(c, err);
        if (r < 0)
                return r;
        uint64_t cancelled_ns = clock_ns();
        if (!c->done)
                seekd_cancel(c->request);
        r = wait(c, err);
        if (r < 0)
                return r;
        if (c->result.finish != SEEKD_FINISH_CANCELLED || c->result.generated_tokens < 2)
                return -EAGAIN;
        double step_ms = c->result.decode_ms / (c->result.generated_tokens - 1);
        *ret_steps = (double)(c->done_ns - cancelled_ns) / (double)NS_PER_MS / step_ms;
        return 0;
}

/* In the middle of a prompt, which is then sent again. -EAGAIN: it ended by itself. */
static int cancel_reading(struct cancelled *c, double *ret_lost_ms, struct error *err) {
        uint32_t n = agents_long_prompt(c->bench), prompt = c->n_sent++;
        struct seekd_progress progress = SEEKD_PROGRESS_INIT;
        uint64_t start_ns = clock_ns();
        int r = submit(c, prompt, n, 1, err);
        while (r == 0 && !c->done && progress.tokens_done < n / 4) {
                if (seekd_dispatch(c->client, LOOK_MS) < 0)
                        return failed(c, err);
                if (!c->done && seekd_progress(c->request, &progress) < 0)
                        return failed(c, err);
                if (progress.phase != SEEKD_PHASE_PREFILL)
                        progress.tokens_done = 0;
        }
        if (r < 0)
                return r;
        double token_ms =
                (double)(clock_ns() - start_ns) / (double)NS_PER_MS / (progress.tokens_done + 1);
        if (!c->done)
                seekd_cancel(c->request);
        r = wait(c, err);
        if (r < 0)
                return r;
        if (c->result.finish != SEEKD_FINISH_CANCELLED)
                return -EAGAIN;
        r = submit(c, prompt, n, 1, err);
        if (r == 0)
                r = wait(c, err);
        if (r < 0)
                return r;
        uint32_t kept = c->result.cached_tokens;
        *ret_lost_ms = progress.tokens_done > kept ? (progress.tokens_done - kept) * token_ms : 0;
        return 0;
}

static int measure(struct cancelled *c, unsigned n,
                   int (*cancel)(struct cancelled *c, double *ret, struct error *err),
                   struct series *ret, struct error *err) {
        for (unsigned i = 0; ret->n < n && i < n * TRIES; i++) {
                double value = 0;
                int r = cancel(c, &value, err);
                if (r == 0)
                        series_add(ret, value);
                else if (r != -EAGAIN)
                        return r;
        }
        return ret->n > 0 ? 0
                          : error_set(err, -EIO, "all requests ended before they were cancelled");
}

int agents_measure_cancel(struct agents_bench *bench, struct error *err) {
        struct cancelled *c = calloc(1, sizeof(*c));
        char why[SEEKD_ERROR_BYTES];
        struct series steps = { 0 }, lost = { 0 };
        if (!c)
                return error_set(err, -ENOMEM, "out of memory");
        c->bench = bench;
        agents_say("cancels");
        int r = seekd_connect(bench->socket, &c->client, why, sizeof(why)) < 0
                ? error_set(err, -EIO, "the daemon: %s", why)
                : 0;
        if (r == 0)
                r = measure(c, bench->n_cancels, cancel_writing, &steps, err);
        if (r == 0)
                r = measure(c, N_RETRIES, cancel_reading, &lost, err);
        if (r == 0) {
                struct agents_result *result =
                        agents_add(bench, "steps", series_quantile(&steps, 0.99), "two steps", 2);
                snprintf(result->name, sizeof(result->name), "agents.cancel.p99");
                result = agents_add(bench, "ms", series_quantile(&lost, 1), "one second", 1000);
                snprintf(result->name, sizeof(result->name), "agents.cancel.recomputed");
                agents_print(bench);
        }
        seekd_disconnect(c->client);
        series_deinit(&steps);
        series_deinit(&lost);
        free(c);
        return r;
}
