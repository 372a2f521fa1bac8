/* seekd-bench kv: what kept KV saves, of device memory and of time, and what it costs. */
#include "bench/kv.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "bench/bench.h"
#include "bench/options.h"
#include "bench/workplace.h"
#include "engine/philox.h"

/* As many as the engine's default. */
#define HOT_ROWS 2048

#define LONG_TOKENS (128U << 10)

#define ROWS_MAX 24

struct arguments {
        struct kv_bench bench;
        const char *folder, *tokenizer;
        unsigned n_tokens, parts;
        bool large;
};

static const char *const part_names[] = {
        [KV_PART_DEVICE] = "device", [KV_PART_RESUME] = "resume", NULL
};

uint32_t kv_bench_token(uint32_t seed, uint32_t i, uint32_t bos_id, uint32_t vocab_size) {
        uint32_t random[4];
        philox4x32((const uint32_t[]){ i, 0, 0, 0 }, (const uint32_t[]){ seed, 0 }, random);
        return i == 0 ? bos_id : random[0] % vocab_size;
}

void kv_bench_progress(const char *what, uint64_t done, uint64_t total) {
        if (isatty(STDERR_FILENO))
                fprintf(stderr, "\r%s: %llu of %llu   %s", what, (unsigned long long)done,
                        (unsigned long long)total, done == total ? "\n" : "");
}

/* -------- what is printed -------- */

struct table {
        struct measurement rows[ROWS_MAX];
        char names[ROWS_MAX][40];
        size_t n;
};

static void add(struct table *t, const char *name, const char *unit, struct beside *beside,
                const char *reference) {
        if (beside->value.n == 0 || beside->printed)
                return;
        beside->printed = true;
        snprintf(t->names[t->n], sizeof(t->names[0]), "%s", name);
        t->rows[t->n] = (struct measurement){ t->names[t->n], unit, &beside->value, reference,
                                              &beside->reference };
        t->n++;
}

/* "kv.device_bytes.16k" */
static void add_bytes(struct table *t, struct kv_bench *b) {
        for (unsigned i = 0; i < b->n_lengths; i++) {
                char name[40];
                bool thousands = b->lengths[i] % 1024 == 0;
                snprintf(name, sizeof(name), "kv.device_bytes.%u%s",
                         thousands ? b->lengths[i] / 1024 : b->lengths[i], thousands ? "k" : "");
                add(t, name, "bytes", &b->bytes[i], "fully resident");
        }
        add(t, "kv.device_bytes.idle", "bytes", &b->idle, "the same session fully resident");
}

void kv_bench_print(struct kv_bench *b) {
        static const char *const sources[] = { "cold", "device", "host", "lmdb" };
        struct table t = { .n = 0 };
        char name[40];
        add_bytes(&t, b);
        add(&t, "kv.decode_ratio", "of 1", &b->decode_ratio, "the same tokens fully resident");
        add(&t, "kv.decode", "tokens/s", &b->decode, "the same tokens fully resident");
        add(&t, "kv.prefill_ratio", "of 1", &b->prefill_ratio, "the same chunk fully resident");
        add(&t, "kv.differing_logits", "logits", &b->differing, "all that were compared");
        add(&t, "kv.hot.hit_rate", "of 1", &b->hit_rate, "share of all rows that fit");
        add(&t, "kv.hot.rows", "rows/token", &b->moved_rows, "all rows that were selected");
        add(&t, "kv.hot.bytes", "bytes/token", &b->moved_bytes, "all rows that were selected");
        for (unsigned i = 0; i < KV_N_SOURCES; i++) {
                snprintf(name, sizeof(name), "kv.ttft.%s", sources[i]);
                add(&t, name, "ms", &b->ttft[i],
                    i == KV_SOURCE_COLD ? "the engine alone" : "kv.ttft.cold");
        }
        for (unsigned i = KV_SOURCE_DEVICE; i < KV_N_SOURCES; i++) {
                snprintf(name, sizeof(name), "kv.restore.%s", sources[i]);
                add(&t, name, "ms", &b->restore[i], "kv.ttft.cold");
        }
        add(&t, "kv.restore.lmdb_disk", "ms", &b->restore_disk,
            "direct reads of its pages and state");
        add(&t, "kv.restore.rate", "MB/s", &b->restore_rate, "direct reads of its pages and state");
        add(&t, "kv.restore.bytes", "bytes", &b->restore_bytes, "its pages and state");
        add(&t, "kv.restore.cached", "bytes", &b->still_cached, "all of kv.mdb");
        report_print(t.rows, t.n, report_cpu(), b->json);
}

static void deinit(struct beside *beside, size_t n) {
        for (size_t i = 0; i < n; i++) {
                series_deinit(&beside[i].value);
                series_deinit(&beside[i].reference);
        }
}

static void bench_deinit(struct kv_bench *b) {
        struct beside *single[] = { &b->idle,          &b->decode,       &b->decode_ratio,
                                    &b->prefill_ratio, &b->differing,    &b->hit_rate,
                                    &b->moved_rows,    &b->moved_bytes,  &b->restore_disk,
                                    &b->restore_bytes, &b->restore_rate, &b->still_cached };
        for (size_t i = 0; i < sizeof(single) / sizeof(single[0]); i++)
                deinit(single[i], 1);
        deinit(b->bytes, KV_BENCH_LENGTHS_MAX);
        deinit(b->ttft, KV_N_SOURCES);
        deinit(b->restore, KV_N_SOURCES);
}

/* -------- what is measured -------- */

static int make_model(const struct arguments *a, char *ret_path, size_t size, struct error *err) {
        snprintf(ret_path, size, "%s/model", a->bench.folder);
        return workplace_make_model(ret_path, &(struct config_request){ .like = "v4.1-kv" },
                                    a->tokenizer, err);
}

static int run(struct arguments *a, struct error *err) {
        char model[PATH_MAX + 8], seekd[PATH_MAX];
        struct workplace place;
        struct kv_bench *b = &a->bench;
        bool device = a->parts >> KV_PART_DEVICE & 1, resume = a->parts >> KV_PART_RESUME & 1;
        int r = 0;
        if (!b->seekd)
                r = workplace_find_seekd(seekd, &b->seekd, err);
        if (r == 0)
                r = workplace_make(a->folder, "seekd-bench-kv", &place, err);
        if (r < 0)
                return r;
        b->folder = place.folder;
        if (!b->model && (r = make_model(a, model, sizeof(model), err)) == 0)
                b->model = model;
        if (r == 0)
                r = device ? kv_bench_device(b, err) : kv_bench_alone(b, err);
        if (r == 0 && resume)
                r = kv_bench_resume(b, err);
        workplace_remove(&place);
        return r;
}

static int parse(int argc, char **argv, struct arguments *a) {
        struct kv_bench *b = &a->bench;
        const struct option_rule rules[] = {
                OPTION_TEXT("model", "DIR", &b->model,
                            "model folder; default: one is made, with V4.1's KV, tiny otherwise"),
                OPTION_TEXT("tokenizer", "FILE", &a->tokenizer,
                            "tokenizer.json of the model that is made; default: the installed\n"
                            "model's"),
                OPTION_TEXT("seekd", "PATH", &b->seekd,
                            "the daemon's binary; default: the one beside this program"),
                OPTION_TEXT("folder", "DIR", &a->folder,
                            "on the disk to measure; default /var/tmp"),
                OPTION_NUMBER("tokens", &a->n_tokens, 128, 1U << 19,
                              "of a prompt (default 16384); a session twice as long follows"),
                OPTION_FLAG("long", &a->large, "and one of 131072"),
                OPTION_NUMBER("pairs", &b->n_pairs, 1, 10000,
                              "decodes, limited and resident in turn (default 40)"),
                OPTION_NUMBER("runs", &b->n_runs, 1, 1000, "of each way to resume (default 5)"),
                OPTION_NUMBER("hot-rows", &b->hot_rows, 1, 1U << 20,
                              "slots for rows of each source (default 2048)"),
                OPTION_NUMBER("threads", &b->n_threads, 1, 256, "default: one per CPU"),
                OPTION_SET("parts", &a->parts, part_names, "of device,resume (default both)"),
                OPTION_FLAG("json", &b->json, "one JSON object a line"),
        };
        const struct command_line line = {
                "kv",
                "Device memory of a session whose pool is limited and speed beside a fully\n"
                "resident one, every logit compared; time to the first token of a prompt that is\n"
                "computed, on the device, in memory and on disk.",
                rules, sizeof(rules) / sizeof(rules[0])
        };
        return options_parse(&line, argc, argv);
}

int bench_kv(int argc, char **argv) {
        struct arguments a = {
                .bench = { .n_pairs = 40, .n_pair_tokens = 8, .n_runs = 5, .hot_rows = HOT_ROWS },
                .folder = "/var/tmp",
                .n_tokens = 16U << 10,
                .parts = KV_PARTS_ALL
        };
        struct error err = { 0 };
        if (parse(argc, argv, &a) < 0)
                return 2;
        struct kv_bench *b = &a.bench;
        b->lengths[b->n_lengths++] = a.n_tokens;
        b->lengths[b->n_lengths++] = 2 * a.n_tokens;
        if (a.large && LONG_TOKENS > 2 * a.n_tokens)
                b->lengths[b->n_lengths++] = LONG_TOKENS;
        int r = run(&a, &err);
        bench_deinit(b);
        if (r < 0)
                fprintf(stderr, "seekd-bench kv: %s\n", err.text);
        return r < 0;
}
