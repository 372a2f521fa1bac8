/* seekd-bench engram: Engram tables on disk, beside what disk and memory give alone. */
#include "bench/engram.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "bench/bench.h"

static const char usage[] =
        "usage: seekd-bench engram --folder DIR [options]\n"
        "\n"
        "Import, warm and cold reads of a made-up table with the released model's rows; with "
        "--model\n"
        "also what it costs decoding, and with --text how many rows a cache has.\n"
        "\n"
        "  --folder DIR  where the table is written, and removed again; one that is there is used\n"
        "  --gb N        size of the table (default 20); N + 5 GB must be free; 0 = no table\n"
        "  --model DIR   a model with Engram tables\n"
        "  --text FILE   a text of the kind that the model sees\n"
        "  --runs N      warm and cold runs (default 5); medians are printed\n"
        "  --pairs N     pairs of decodes (default 30)\n"
        "  --json        one JSON object a line\n";

static int parse(int argc, char **argv, struct engram_bench *b) {
        static const struct option options[] = {
                { "folder", required_argument, NULL, 'f' },
                { "gb", required_argument, NULL, 'g' },
                { "model", required_argument, NULL, 'm' },
                { "text", required_argument, NULL, 't' },
                { "runs", required_argument, NULL, 'r' },
                { "pairs", required_argument, NULL, 'p' },
                { "json", no_argument, NULL, 'j' },
                { "help", no_argument, NULL, 'h' },
                { 0 },
        };
        unsigned long gb = 20;
        int letter;
        while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1)
                switch (letter) {
                case 'f': b->folder = optarg; break;
                case 'g': gb = strtoul(optarg, NULL, 10); break;
                case 'm': b->model = optarg; break;
                case 't': b->text = optarg; break;
                case 'r': b->n_runs = (unsigned)strtoul(optarg, NULL, 10); break;
                case 'p': b->n_pairs = (unsigned)strtoul(optarg, NULL, 10); break;
                case 'j': b->json = true; break;
                case 'h': fputs(usage, stdout); exit(0);
                default: return -EINVAL;
                }
        if (!b->folder || optind != argc || gb > 1000 || b->n_runs < 1 || b->n_runs > 1000 ||
            b->n_pairs < 1 || b->n_pairs > 10000)
                return -EINVAL;
        b->table_bytes = gb * 1000000000ULL;
        int n = snprintf(b->path, sizeof(b->path), "%s/engram.mdb", b->folder);
        return n > 0 && (size_t)n < sizeof(b->path) ? 0 : -EINVAL;
}

static void print(const struct engram_bench *b) {
        static const char flat[] = "the same rows packed in a mapped file";
        const struct measurement all[] = {
                { "engram.import", "MB/s", &b->import, "plain writes and one sync",
                  &b->plain_write },
                { "engram.warm", "rows/s", &b->warm, flat, &b->flat },
                { "engram.warm.token", "rows/s", &b->warm_token, flat, &b->flat_token },
                { "engram.warm.file", "rows/s", &b->warm_file, flat, &b->flat_file },
                { "engram.cold", "rows/s", &b->cold, "their pages by io_uring alone", &b->raw },
                { "engram.decode_overhead", "tokens/s", &b->decode_store, "tables in memory",
                  &b->decode_ram },
                { "engram.decode_pairs", "share", &b->pairs, "tables in memory, both times",
                  &b->equal_pairs },
                { "engram.hit_rate", "share", &b->hits, "a cache of all rows", &b->hits_of_all },
        };
        struct measurement some[sizeof(all) / sizeof(*all)];
        size_t n = 0;
        for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
                if (all[i].value->n > 0)
                        some[n++] = all[i];
        report_print(some, n, report_cpu(), b->json);
}

int bench_engram(int argc, char **argv) {
        struct engram_bench b = { .n_runs = 5, .n_pairs = 30 };
        struct error err = { 0 };
        if (parse(argc, argv, &b) < 0) {
                fputs(usage, stderr);
                return 2;
        }
        int r = b.table_bytes > 0 ? engram_bench_disk(&b, &err) : 0;
        if (r == 0)
                r = engram_bench_model(&b, &err);
        if (r == 0)
                print(&b);
        else
                fprintf(stderr, "seekd-bench engram: %s\n", err.text);
        struct series *series[] = {
                &b.import,       &b.plain_write, &b.warm,       &b.warm_token,
                &b.warm_file,    &b.flat,        &b.flat_token, &b.flat_file,
                &b.cold,         &b.raw,         &b.hits,       &b.hits_of_all,
                &b.decode_store, &b.decode_ram,  &b.pairs,      &b.equal_pairs,
        };
        for (size_t i = 0; i < sizeof(series) / sizeof(*series); i++)
                series_deinit(series[i]);
        return r < 0;
}
