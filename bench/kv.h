/* The parts of seekd-bench kv. One thread, besides the engine's own and the daemon that is
 * measured.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bench/report.h"

struct error;

#define KV_BENCH_LENGTHS_MAX 3

/* As --parts has them, in this order. */
enum kv_part { KV_PART_DEVICE, KV_PART_RESUME };
#define KV_PARTS_ALL 0x3U

/* Where a prompt goes on from. */
enum kv_source { KV_SOURCE_COLD, KV_SOURCE_DEVICE, KV_SOURCE_HOST, KV_SOURCE_DISK, KV_N_SOURCES };

/* A thing and what the same run measured beside it. */
struct beside {
        struct series value, reference;
        bool printed;
};

struct kv_bench {
        const char *model, *seekd;
        const char *folder;                     /* for what is made and removed again */
        uint32_t lengths[KV_BENCH_LENGTHS_MAX]; /* tokens, ascending; prompts have the first */
        unsigned n_lengths;
        unsigned n_pairs, n_pair_tokens, n_threads, n_runs;
        unsigned hot_rows; /* as engine_options */
        bool json;

        /* kv_device.c: one session with its device pool limited, beside one without a limit */
        struct beside bytes[KV_BENCH_LENGTHS_MAX]; /* of the device */
        struct beside idle;                        /* the same of an idle session */
        struct beside decode;                      /* tokens/s */
        struct beside decode_ratio, prefill_ratio; /* of each pair, 1 */
        struct beside differing;                   /* logits, logits compared */
        struct beside hit_rate;                /* of the hot pools; share of the rows that fit */
        struct beside moved_rows, moved_bytes; /* a decoded token; of all rows selected */

        /* kv_resume.c: through a daemon */
        struct beside ttft[KV_N_SOURCES];    /* ms; the engine alone, or cold */
        struct beside restore[KV_N_SOURCES]; /* ms; cold */
        struct beside restore_disk;          /* ms; what the disk alone takes for pages and state */
        struct beside restore_bytes;         /* read from the disk; of pages and state */
        struct beside restore_rate;          /* MB/s of pages and state; the disk alone */
        struct beside still_cached;          /* bytes of kv.mdb in memory before; all of it */

        /* Of the first length, from kv_device.c for kv_resume.c. */
        double prefill_ms; /* by the engine alone */
        double kept_bytes; /* pages and state */
};

int kv_bench_device(struct kv_bench *bench, struct error *err);

/* Without the rest of it: what kv_bench_resume() compares with. */
int kv_bench_alone(struct kv_bench *bench, struct error *err);
int kv_bench_resume(struct kv_bench *bench, struct error *err);

/* Token `i` of text number `seed`: noise behind the first token, so that no two texts have more in
 * common than that. */
uint32_t kv_bench_token(uint32_t seed, uint32_t i, uint32_t bos_id, uint32_t vocab_size);

/* Whatever has values and is not printed yet. */
void kv_bench_print(struct kv_bench *bench);

/* A line on a terminal, written over by the next. */
void kv_bench_progress(const char *what, uint64_t done, uint64_t total);
