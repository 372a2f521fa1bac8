/* seekd-bench kv, through a daemon: time to the first token of a prompt that nothing is kept of, of
 * one that goes on where a conversation stands on the device, and of one whose KV comes from memory
 * or from the disk.
 *
 * Each prompt ends with one token that was never sent before: the daemon goes on from the prompt
 * without it and computes that token alone. What is left of the time to the first token without
 * that step, which is as long as the steps after it, is the time to restore. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "bench/direct_read.h"
#include "bench/kv.h"
#include "bench/private_daemon.h"
#include "client/seekd.h"

#define TEXTS    1000 /* numbers of the texts that are sent, from here on */
#define TEXT_MAX 3    /* as many are computed, and come back in turn */
#define N_TOKENS 9    /* generated; one of them may be the text's end */
#define TRIES    4    /* for a run in which it is not among the first */

struct resume {
        struct kv_bench *bench;
        struct private_daemon daemon;
        char store[PATH_MAX];
        uint32_t bos_id, vocab_size;
        uint32_t *ids; /* the prompt, and room behind it */
        uint32_t n_ids, n_ids_max;
        uint32_t n_sent; /* last tokens that no prompt had before */
};

/* -------- one request -------- */

static int failed(const struct resume *r, struct error *err) {
        return error_set(err, -EIO, "the daemon: %s", seekd_last_error(r->daemon.client));
}

static void set_text(struct resume *r, uint32_t text) {
        r->n_ids = r->bench->lengths[0];
        for (uint32_t i = 0; i < r->n_ids; i++)
                r->ids[i] = kv_bench_token(TEXTS + text, i, r->bos_id, r->vocab_size);
}

/* Another end than any before it. */
static void add_new_token(struct resume *r) {
        r->ids[r->n_ids++] = kv_bench_token(0, ++r->n_sent, r->bos_id, r->vocab_size);
}

static int add_piece(void *userdata, const struct seekd_piece *piece) {
        struct resume *r = userdata;
        if (piece->has_token && r->n_ids < r->n_ids_max)
                r->ids[r->n_ids++] = piece->token;
        return 0;
}

/* What is generated follows the prompt in r->ids. */
static int complete(struct resume *r, uint32_t n_tokens, struct seekd_result *ret,
                    struct error *err) {
        struct seekd_params params = SEEKD_PARAMS_INIT;
        CLEANUP_FREE uint32_t *prompt = malloc(r->n_ids * sizeof(*prompt));
        if (!prompt)
                return error_set(err, -ENOMEM, "out of memory");
        memcpy(prompt, r->ids, r->n_ids * sizeof(*prompt));
        params.tokens = prompt;
        params.n_tokens = r->n_ids;
        params.max_tokens = n_tokens;
        *ret = (struct seekd_result)SEEKD_RESULT_INIT;
        return seekd_complete(r->daemon.client, &params, add_piece, r, ret) < 0 ? failed(r, err)
                                                                                : 0;
}

/* -------- cold -------- */

static int measure_cold(struct resume *r, uint32_t text, struct error *err) {
        struct kv_bench *b = r->bench;
        struct seekd_result result;
        set_text(r, text);
        int e = complete(r, 1, &result, err);
        if (e < 0)
                return e;
        if (result.cached_tokens != 0)
                return error_set(err, -EIO, "%u tokens of a new prompt were cached",
                                 result.cached_tokens);
        series_add(&b->ttft[KV_SOURCE_COLD].value, result.first_token_ms);
        series_add(&b->ttft[KV_SOURCE_COLD].reference, b->prefill_ms);
        return 0;
}

/* -------- resumed -------- */

static const int tiers[KV_N_SOURCES] = { SEEKD_TIER_NONE, SEEKD_TIER_DEVICE, SEEKD_TIER_HOST,
                                         SEEKD_TIER_DISK };

static int check(const struct resume *r, enum kv_source source, const struct seekd_result *result,
                 struct error *err) {
        if (result->cache_tier != tiers[source])
                return error_set(err, -EIO, "a prompt came from tier %d instead of %d",
                                 result->cache_tier, tiers[source]);
        if (result->computed_tokens != 1)
                return error_set(err, -EIO, "%u of %u tokens had to be computed instead of one",
                                 result->computed_tokens, r->bench->lengths[0] + 1);
        return 0;
}

/* The text in r->ids and a new token behind it. */
static int resume_once(struct resume *r, enum kv_source source, double *ret_restore_ms,
                       struct error *err) {
        struct kv_bench *b = r->bench;
        struct seekd_result result;
        add_new_token(r);
        int e = complete(r, N_TOKENS, &result, err);
        if (e == 0)
                e = check(r, source, &result, err);
        if (e < 0)
                return e;
        if (result.generated_tokens < 2)
                return -EAGAIN;
        double step_ms = result.decode_ms / (result.generated_tokens - 1),
               cold_ms = series_median(&b->ttft[KV_SOURCE_COLD].value);
        *ret_restore_ms = result.first_token_ms > step_ms ? result.first_token_ms - step_ms : 0;
        series_add(&b->ttft[source].value, result.first_token_ms);
        series_add(&b->ttft[source].reference, cold_ms);
        series_add(&b->restore[source].value, *ret_restore_ms);
        series_add(&b->restore[source].reference, cold_ms);
        return 0;
}

/* A conversation goes on: all that it has computed, then a new token. */
static int measure_device(struct resume *r, uint32_t text, struct error *err) {
        double restore_ms;
        int e = 0;
        set_text(r, text);
        r->n_ids_max = r->n_ids + r->bench->n_runs * TRIES * (N_TOKENS + 1);
        for (unsigned i = 0, n = 0; e == 0 && n < r->bench->n_runs && i < r->bench->n_runs * TRIES;
             i++) {
                e = resume_once(r, KV_SOURCE_DEVICE, &restore_ms, err);
                n += e == 0;
                e = e == -EAGAIN ? 0 : e;
                r->n_ids--; /* the last token was drawn, not computed */
        }
        return e;
}

/* The conversation turns off where its first prompt ended: what stands on the device has gone on
 * from there and is of no use. */
static int measure_host(struct resume *r, uint32_t text, struct error *err) {
        double restore_ms;
        int e = 0;
        for (unsigned i = 0, n = 0; e == 0 && n < r->bench->n_runs && i < r->bench->n_runs * TRIES;
             i++) {
                set_text(r, text);
                e = resume_once(r, KV_SOURCE_HOST, &restore_ms, err);
                n += e == 0;
                e = e == -EAGAIN ? 0 : e;
        }
        return e;
}

/* -------- from disk -------- */

/* Leaves as little of the file in memory as the kernel lets go: what the daemon has mapped and
 * touched of its index stays. Says how much that is. */
static int drop_cache(const char *path, struct beside *ret, struct error *err) {
        CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat st;
        if (fd < 0 || fdatasync(fd) < 0 || fstat(fd, &st) < 0)
                return error_errno(err, "%s", path);
        int r = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        if (r != 0)
                return error_set(err, -r, "%s: %s", path, strerror(r));
        if (!ret)
                return 0;
        size_t size = (size_t)st.st_size, page = (size_t)sysconf(_SC_PAGESIZE),
               n = (size + page - 1) / page, n_resident = 0;
        CLEANUP_FREE unsigned char *resident = malloc(n);
        void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (!resident || map == MAP_FAILED || mincore(map, size, resident) < 0)
                r = error_errno(err, "%s: what of it is in memory", path);
        for (size_t i = 0; r == 0 && i < n; i++)
                n_resident += resident[i] & 1;
        if (map != MAP_FAILED)
                munmap(map, size);
        series_add(&ret->value, (double)(n_resident * page));
        series_add(&ret->reference, (double)size);
        return r;
}

/* A first step touches weights and workspace; that is not what restoring takes. */
static int warm_up(struct resume *r, struct error *err) {
        struct seekd_result result;
        r->ids[0] = r->bos_id;
        r->n_ids = 1;
        int e = complete(r, 2, &result, err);
        if (e == 0) /* until what it leaves is on disk: after a second it is on its way */
                nanosleep(&(struct timespec){ .tv_sec = 2 }, NULL);
        return e;
}

static int restart(struct resume *r, struct error *err) {
        private_daemon_stop(&r->daemon);
        int e = drop_cache(r->store, NULL, err);
        if (e == 0)
                e = private_daemon_start(&r->daemon, err);
        if (e == 0)
                e = warm_up(r, err);
        if (e == 0) /* opening has read the index */
                e = drop_cache(r->store, &r->bench->still_cached, err);
        return e;
}

static int measure_disk_once(struct resume *r, uint32_t text, struct error *err) {
        struct kv_bench *b = r->bench;
        uint64_t before, after;
        double restore_ms, rate, bytes = b->kept_bytes;
        int e = restart(r, err);
        set_text(r, text);
        if (e == 0)
                e = private_daemon_read_bytes(&r->daemon, &before, err);
        if (e == 0)
                e = resume_once(r, KV_SOURCE_DISK, &restore_ms, err);
        if (e == 0)
                e = private_daemon_read_bytes(&r->daemon, &after, err);
        if (e == 0)
                e = direct_read_rate(r->store, (uint64_t)bytes, &rate, err);
        if (e < 0)
                return e;
        series_add(&b->restore_disk.value, restore_ms);
        series_add(&b->restore_disk.reference, bytes / rate * 1e3);
        if (restore_ms > 0)
                series_add(&b->restore_rate.value, bytes / restore_ms / 1e3);
        series_add(&b->restore_rate.reference, rate / 1e6);
        series_add(&b->restore_bytes.value, (double)(after - before));
        series_add(&b->restore_bytes.reference, bytes);
        return 0;
}

static int measure_disk(struct resume *r, struct error *err) {
        int e = 0;
        for (unsigned i = 0, n = 0; e == 0 && n < r->bench->n_runs && i < r->bench->n_runs * TRIES;
             i++) {
                e = measure_disk_once(r, i % TEXT_MAX, err);
                n += e == 0;
                e = e == -EAGAIN ? 0 : e;
                kv_bench_progress("restarts", n, r->bench->n_runs);
        }
        return e;
}

/* -------- all of it -------- */

static int run(struct resume *r, struct error *err) {
        struct seekd_model_info info = SEEKD_MODEL_INFO_INIT;
        int e = private_daemon_start(&r->daemon, err);
        if (e < 0)
                return e;
        if (seekd_model_info(r->daemon.client, &info) < 0)
                return failed(r, err);
        r->bos_id = info.bos_token;
        r->vocab_size = info.vocab_size;
        for (uint32_t text = 0; e == 0 && text < TEXT_MAX; text++) {
                e = measure_cold(r, text, err);
                kv_bench_progress("cold prompts", text + 1, TEXT_MAX);
        }
        if (e == 0) {
                kv_bench_print(r->bench);
                e = measure_device(r, TEXT_MAX - 1, err);
        }
        if (e == 0) {
                kv_bench_print(r->bench);
                e = measure_host(r, TEXT_MAX - 1, err);
        }
        if (e == 0) {
                kv_bench_print(r->bench);
                e = measure_disk(r, err);
        }
        if (e == 0)
                kv_bench_print(r->bench);
        return e;
}

int kv_bench_resume(struct kv_bench *b, struct error *err) {
        struct resume r = { .bench = b,
                            .daemon = { .binary = b->seekd,
                                        .model = b->model,
                                        .folder = b->folder,
                                        .n_threads = b->n_threads,
                                        .memory = "" } };
        r.n_ids_max = b->lengths[0] + b->n_runs * TRIES * (N_TOKENS + 1);
        r.ids = malloc(r.n_ids_max * sizeof(*r.ids));
        int n = snprintf(r.store, sizeof(r.store), "%s/state/kv.mdb", b->folder);
        int e = r.ids && n > 0 && (size_t)n < sizeof(r.store)
                ? run(&r, err)
                : error_set(err, -ENOMEM, "out of memory");
        private_daemon_stop(&r.daemon);
        free(r.ids);
        return e;
}
