/* seekd-bench make-checkpoint: a random checkpoint of any geometry, in the released formats.
 *
 * Loading, memory, disks and devices can be measured with one before anybody has the real weights,
 * and at sizes that no release has. What it computes is noise, but finite noise. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "bench/bench.h"
#include "bench/checkpoint_config.h"
#include "bench/checkpoint_write.h"
#include "engine/tokenizer.h"

#define SETS_MAX    256
#define THREADS_MAX 64

struct arguments {
        const char *out, *tokenizer;
        struct config_request config;
        const char *sets[SETS_MAX];
        uint64_t seed;
        unsigned n_threads;
        bool dry_run, json;
};

static const char usage[] =
        "usage: seekd-bench make-checkpoint --out DIR [options]\n"
        "\n"
        "Writes a checkpoint of random weights, as released: sharded safetensors files with their\n"
        "index, config.json and tokenizer.json. The same options give the same bytes.\n"
        "\n"
        "  --out DIR          must not exist\n"
        "  --like BASE        v4.1-flash, v4.1-mini (default), seed-coder, a config.json or a "
        "model's folder\n"
        "  --set FIELD=VALUE  change a field of text_config; as often as wanted\n"
        "  --format FORMAT    released (default: FP8 matrices, FP4 experts), fp8 (experts too) or\n"
        "                     bf16\n"
        "  --tokenizer FILE   tokenizer.json to copy; default: the base folder's, or seed-coder's\n"
        "  --seed N           default 0\n"
        "  --with-drafts      also the draft layers (mtp.*)\n"
        "  --with-vision      also the vision tensors\n"
        "  --threads N        default: one per CPU\n"
        "  --dry-run          say how large it would be, write nothing\n"
        "  --json             one JSON object on standard output\n";

static const struct option options[] = {
        { "out", required_argument, NULL, 'o' },
        { "like", required_argument, NULL, 'l' },
        { "set", required_argument, NULL, 's' },
        { "format", required_argument, NULL, 'f' },
        { "tokenizer", required_argument, NULL, 't' },
        { "seed", required_argument, NULL, 'S' },
        { "with-drafts", no_argument, NULL, 'd' },
        { "with-vision", no_argument, NULL, 'v' },
        { "threads", required_argument, NULL, 'T' },
        { "dry-run", no_argument, NULL, 'n' },
        { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
};

static int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret) {
        char *end;
        errno = 0;
        unsigned long long v = strtoull(text, &end, 10);
        if (errno || end == text || *end || text[0] == '-' || v < min || v > max) {
                fprintf(stderr,
                        "seekd-bench make-checkpoint: '%s' is not a number from %" PRIu64
                        " to %" PRIu64 "\n",
                        text, min, max);
                return -EINVAL;
        }
        *ret = v;
        return 0;
}

static int parse_format(const char *text, enum checkpoint_format *ret) {
        static const char *const names[] = { "released", "fp8", "bf16" };
        for (unsigned i = 0; i < 3; i++)
                if (strcmp(text, names[i]) == 0) {
                        *ret = (enum checkpoint_format)i;
                        return 0;
                }
        return -EINVAL;
}

static int parse(int argc, char **argv, struct arguments *a) {
        int letter, r = 0;
        uint64_t n;
        while (r == 0 && (letter = getopt_long(argc, argv, "", options, NULL)) != -1)
                switch (letter) {
                case 'o': a->out = optarg; break;
                case 'l': a->config.like = optarg; break;
                case 't': a->tokenizer = optarg; break;
                case 'd': a->config.drafts = true; break;
                case 'v': a->config.vision = true; break;
                case 'n': a->dry_run = true; break;
                case 'j': a->json = true; break;
                case 'f': r = parse_format(optarg, &a->config.format); break;
                case 'S': r = parse_number(optarg, 0, UINT64_MAX, &a->seed); break;
                case 'T':
                        r = parse_number(optarg, 1, THREADS_MAX, &n);
                        a->n_threads = r == 0 ? (unsigned)n : 0;
                        break;
                case 's':
                        if (a->config.n_sets == SETS_MAX)
                                return -E2BIG;
                        a->sets[a->config.n_sets++] = optarg;
                        break;
                case 'h': fputs(usage, stdout); exit(0);
                default: r = -EINVAL;
                }
        a->config.sets = a->sets;
        return r == 0 && (a->out || a->dry_run) && optind == argc ? 0 : -EINVAL;
}

/* The tokenizer to copy: the one named, the base folder's, the installed default model's. */
static int find_tokenizer(const struct arguments *a, char path[PATH_MAX], struct error *err) {
        struct stat st;
        int n;
        if (a->tokenizer)
                n = snprintf(path, PATH_MAX, "%s", a->tokenizer);
        else if (stat(a->config.like, &st) == 0 && S_ISDIR(st.st_mode))
                n = snprintf(path, PATH_MAX, "%s/tokenizer.json", a->config.like);
        else
                n = snprintf(path, PATH_MAX, "%s/tokenizer.json", SEEKD_MODEL_DIR);
        if (n < 0 || n >= PATH_MAX)
                return error_set(err, -ENAMETOOLONG, "the tokenizer's path is too long");
        if (!a->tokenizer && access(path, R_OK) < 0)
                return error_set(err, -ENOENT, "%s: not there; name another with --tokenizer",
                                 path);
        return 0;
}

static void report(const struct arguments *a, const struct checkpoint_plan *plan, double seconds) {
        if (a->json) {
                json_auto_t *object = json_pack(
                        "{s:s?, s:I, s:I, s:I, s:I, s:I, s:b, s:f}", "out",
                        a->dry_run ? NULL : a->out, "files", (json_int_t)plan->n_shards, "tensors",
                        (json_int_t)plan->n_tensors, "parameters", (json_int_t)plan->n_parameters,
                        "data_bytes", (json_int_t)plan->data_bytes, "file_bytes",
                        (json_int_t)plan->file_bytes, "written", !a->dry_run, "seconds", seconds);
                json_dumpf(object, stdout, JSON_REAL_PRECISION(6));
                putchar('\n');
                return;
        }
        printf("%s%s%zu files, %" PRIu64 " tensors, %" PRIu64 " parameters, %" PRIu64 " bytes",
               a->dry_run ? "" : a->out, a->dry_run ? "" : ": ", plan->n_shards, plan->n_tensors,
               plan->n_parameters, plan->file_bytes);
        if (!a->dry_run && seconds > 0)
                printf(", %.1f s, %.0f MB/s", seconds, (double)plan->file_bytes / seconds / 1e6);
        putchar('\n');
}

static int write_plan(const struct arguments *a, const struct checkpoint_config *config,
                      const struct checkpoint_plan *plan, const struct file_map *tokenizer,
                      struct error *err) {
        size_t index_bytes;
        CLEANUP_FREE char *index = checkpoint_plan_index(plan, &index_bytes);
        CLEANUP_FREE char *json = json_dumps(config->json, JSON_INDENT(1));
        if (!index || !json)
                return error_set(err, -ENOMEM, "out of memory");
        const struct checkpoint_file files[] = {
                { "config.json", json, strlen(json) },
                { "tokenizer.json", (const char *)tokenizer->data, tokenizer->bytes },
                { "model.safetensors.index.json", index, index_bytes },
        };
        const struct checkpoint_write order = {
                .plan = plan,
                .target = a->out,
                .files = files,
                .n_files = sizeof(files) / sizeof(files[0]),
                .n_threads = a->n_threads,
                .progress = isatty(STDERR_FILENO),
        };
        return checkpoint_write(&order, err);
}

static int make(const struct arguments *a, struct checkpoint_config *config, struct error *err) {
        char path[PATH_MAX];
        struct file_map map CLEANUP(file_map_close) = { 0 };
        struct tokenizer *tokenizer = NULL;
        struct checkpoint_plan plan = { 0 };
        int r = find_tokenizer(a, path, err);
        if (r == 0)
                r = file_map_open(path, &map, err);
        if (r == 0)
                r = tokenizer_parse(path, map.data ? (const char *)map.data : "", map.bytes,
                                    &tokenizer, err);
        if (r == 0)
                r = checkpoint_config_make(&a->config, tokenizer, config, err);
        tokenizer_close(tokenizer);
        if (r == 0)
                r = checkpoint_plan_make(&config->table, a->seed, &plan, err);
        uint64_t start = clock_ns();
        if (r == 0 && !a->dry_run)
                r = write_plan(a, config, &plan, &map, err);
        if (r == 0)
                report(a, &plan, (double)(clock_ns() - start) / (double)NS_PER_S);
        checkpoint_plan_deinit(&plan);
        return r;
}

int bench_make_checkpoint(int argc, char **argv) {
        struct arguments a = { .config = { .like = "v4.1-mini" } };
        struct error err = { 0 };
        if (parse(argc, argv, &a) < 0) {
                fputs(usage, stderr);
                return 2;
        }
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        if (a.n_threads == 0)
                a.n_threads = online < 1       ? 1
                        : online > THREADS_MAX ? THREADS_MAX
                                               : (unsigned)online;
        struct checkpoint_config *config = calloc(1, sizeof(*config));
        if (!config) {
                fputs("seekd-bench make-checkpoint: out of memory\n", stderr);
                return 1;
        }
        int r = make(&a, config, &err);
        checkpoint_config_deinit(config);
        free(config);
        if (r < 0)
                fprintf(stderr, "seekd-bench make-checkpoint: %s\n", err.text);
        return r < 0;
}
