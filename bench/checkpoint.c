/* seekd-bench make-checkpoint: a random checkpoint of any geometry, in the released formats.
 *
 * Loading, memory, disks and devices can be measured with one before anybody has the real weights,
 * and at sizes that no release has. What it computes is noise, but finite noise. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "bench/bench.h"
#include "bench/checkpoint_make.h"

#define SETS_MAX 256

struct arguments {
        struct checkpoint_order order;
        const char *sets[SETS_MAX];
        bool dry_run, json;
};

static const char usage[] =
        "usage: seekd-bench make-checkpoint --out DIR [options]\n"
        "\n"
        "Writes a checkpoint of random weights, as released: sharded safetensors files with their\n"
        "index, config.json and tokenizer.json. The same options give the same bytes.\n"
        "\n"
        "  --out DIR          must not exist\n"
        "  --like BASE        v4.1-flash, v4.1-mini (default), v4.1-kv, seed-coder, a config.json "
        "or\n"
        "                     a model's folder\n"
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
                case 'o': a->order.out = optarg; break;
                case 'l': a->order.config.like = optarg; break;
                case 't': a->order.tokenizer = optarg; break;
                case 'd': a->order.config.drafts = true; break;
                case 'v': a->order.config.vision = true; break;
                case 'n': a->dry_run = true; break;
                case 'j': a->json = true; break;
                case 'f': r = parse_format(optarg, &a->order.config.format); break;
                case 'S': r = parse_number(optarg, 0, UINT64_MAX, &a->order.seed); break;
                case 'T':
                        r = parse_number(optarg, 1, CHECKPOINT_THREADS_MAX, &n);
                        a->order.n_threads = r == 0 ? (unsigned)n : 0;
                        break;
                case 's':
                        if (a->order.config.n_sets == SETS_MAX)
                                return -E2BIG;
                        a->sets[a->order.config.n_sets++] = optarg;
                        break;
                case 'h': fputs(usage, stdout); exit(0);
                default: r = -EINVAL;
                }
        a->order.config.sets = a->sets;
        return r == 0 && (a->order.out || a->dry_run) && optind == argc ? 0 : -EINVAL;
}

static void report(const struct arguments *a, const struct checkpoint_made *made) {
        if (a->json) {
                json_auto_t *object = json_pack(
                        "{s:s?, s:I, s:I, s:I, s:I, s:I, s:b, s:f}", "out", a->order.out, "files",
                        (json_int_t)made->n_files, "tensors", (json_int_t)made->n_tensors,
                        "parameters", (json_int_t)made->n_parameters, "data_bytes",
                        (json_int_t)made->data_bytes, "file_bytes", (json_int_t)made->file_bytes,
                        "written", !a->dry_run, "seconds", made->seconds);
                json_dumpf(object, stdout, JSON_REAL_PRECISION(6));
                putchar('\n');
                return;
        }
        printf("%s%s%zu files, %" PRIu64 " tensors, %" PRIu64 " parameters, %" PRIu64 " bytes",
               a->dry_run ? "" : a->order.out, a->dry_run ? "" : ": ", made->n_files,
               made->n_tensors, made->n_parameters, made->file_bytes);
        if (!a->dry_run && made->seconds > 0)
                printf(", %.1f s, %.0f MB/s", made->seconds,
                       (double)made->file_bytes / made->seconds / 1e6);
        putchar('\n');
}

int bench_make_checkpoint(int argc, char **argv) {
        struct arguments a = { .order = { .config = { .like = "v4.1-mini" } } };
        struct checkpoint_made made;
        struct error err = { 0 };
        if (parse(argc, argv, &a) < 0) {
                fputs(usage, stderr);
                return 2;
        }
        a.order.progress = isatty(STDERR_FILENO);
        if (a.dry_run)
                a.order.out = NULL;
        if (checkpoint_make(&a.order, &made, &err) < 0) {
                fprintf(stderr, "seekd-bench make-checkpoint: %s\n", err.text);
                return 1;
        }
        report(&a, &made);
        return 0;
}
