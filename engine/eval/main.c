/* seekd-eval: a model offline. See seekd-eval(1). */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/engine.h"
#include "engine/eval/choices_file.h"
#include "engine/eval/describe.h"
#include "engine/eval/golden.h"
#include "engine/eval/ids.h"
#include "engine/eval/npy.h"
#include "engine/eval/run.h"

/* Exit codes, documented in seekd-eval(1). */
enum { EXIT_OK = 0, EXIT_USAGE = 1, EXIT_INPUT = 2, EXIT_DIFFERS = 3 };

static const char usage[] =
        "usage: seekd-eval --model DIR [--tokens FILE.json | --golden PATH] [options]\n"
        "       seekd-eval --model DIR|config.json --describe [--json]\n"
        "\n"
        "Runs a model offline: likelihood and logits of given tokens, or a comparison with golden "
        "files.\n"
        "\n"
        "  --model DIR        model directory\n"
        "  --tokens FILE      JSON array of token ids, - = standard input\n"
        "  --golden PATH      golden file or directory of them; without --tokens the default is "
        "DIR/golden\n"
        "  --describe         print what the model is and needs; runs nothing\n"
        "  --generate N       continue greedily by N tokens\n"
        "  --top K            largest logits per position to print (default 5)\n"
        "  --logits FILE.npy  write all logits as float32\n"
        "  --chunk N          tokens per step (default: as many as fit); changes time, never "
        "results\n"
        "  --compute MODE     bf16 (default) or f32: no rounding of activations\n"
        "  --backend NAME     auto, cpu or reference; changes time, never results\n"
        "  --threads N        default: one per CPU; changes time, never results\n"
        "  --device-kv BYTES  bound of the device memory for KV (default: none); changes time, "
        "never results\n"
        "  --hot-rows N       rows of each source that stay there of a text that does not fit\n"
        "  --choices FILE     count where our choices differ from those in FILE (safetensors)\n"
        "  --force            and take those of FILE\n"
        "  --json             one JSON object on standard output\n"
        "  --help, --version\n";

struct arguments {
        const char *model, *tokens, *golden, *logits, *choices;
        struct engine_options engine;
        uint32_t chunk, generate, top;
        bool json, describe, force;
};

static int parse_count(const char *name, const char *text, uint32_t max, uint32_t *ret) {
        char *end;
        errno = 0;
        unsigned long v = strtoul(text, &end, 10);
        if (errno || end == text || *end || text[0] == '-' || v > max) {
                fprintf(stderr, "seekd-eval: --%s: '%s' is not a number from 0 to %u\n", name, text,
                        max);
                return -EINVAL;
        }
        *ret = (uint32_t)v;
        return 0;
}

static int parse_bytes(const char *name, const char *text, uint64_t *ret) {
        char *end;
        errno = 0;
        unsigned long long v = strtoull(text, &end, 10);
        if (errno || end == text || *end || text[0] == '-' || v == 0) {
                fprintf(stderr, "seekd-eval: --%s: '%s' is not a number of bytes\n", name, text);
                return -EINVAL;
        }
        *ret = v;
        return 0;
}

static int parse_choice(const char *name, const char *text, const char *const *choices,
                        unsigned *ret) {
        for (unsigned i = 0; choices[i]; i++)
                if (strcmp(text, choices[i]) == 0) {
                        *ret = i;
                        return 0;
                }
        fprintf(stderr, "seekd-eval: --%s: unknown value '%s'\n", name, text);
        return -EINVAL;
}

static const struct option options[] = {
        { "model", required_argument, NULL, 'm' },
        { "tokens", required_argument, NULL, 't' },
        { "golden", required_argument, NULL, 'g' },
        { "generate", required_argument, NULL, 'n' },
        { "top", required_argument, NULL, 'k' },
        { "logits", required_argument, NULL, 'l' },
        { "chunk", required_argument, NULL, 'c' },
        { "compute", required_argument, NULL, 'p' },
        { "backend", required_argument, NULL, 'b' },
        { "describe", no_argument, NULL, 'd' },
        { "choices", required_argument, NULL, 'o' },
        { "force", no_argument, NULL, 'f' },
        { "threads", required_argument, NULL, 'T' },
        { "device-kv", required_argument, NULL, 'D' },
        { "hot-rows", required_argument, NULL, 'H' },
        { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { 0 },
};

static int parse_option(int letter, struct arguments *a) {
        static const char *const computes[] = { "bf16", "f32", NULL };
        static const char *const backends[] = { "auto", "reference", "cpu", NULL };
        unsigned choice = 0;
        int r = 0;
        switch (letter) {
        case 'm': a->model = optarg; break;
        case 't': a->tokens = optarg; break;
        case 'g': a->golden = optarg; break;
        case 'l': a->logits = optarg; break;
        case 'o': a->choices = optarg; break;
        case 'n': r = parse_count("generate", optarg, 1U << 20, &a->generate); break;
        case 'k': r = parse_count("top", optarg, 1U << 20, &a->top); break;
        case 'c': r = parse_count("chunk", optarg, 1U << 16, &a->chunk); break;
        case 'T': r = parse_count("threads", optarg, 256, &a->engine.n_threads); break;
        case 'D': r = parse_bytes("device-kv", optarg, &a->engine.device_kv_bytes); break;
        case 'H': r = parse_count("hot-rows", optarg, 1U << 24, &a->engine.hot_rows); break;
        case 'j': a->json = true; break;
        case 'd': a->describe = true; break;
        case 'f': a->force = true; break;
        case 'p':
                r = parse_choice("compute", optarg, computes, &choice);
                a->engine.compute = choice == 1 ? COMPUTE_F32 : COMPUTE_BF16;
                break;
        case 'b':
                r = parse_choice("backend", optarg, backends, &choice);
                a->engine.backend = choice == 1 ? BACKEND_REFERENCE
                        : choice == 2           ? BACKEND_CPU
                                                : BACKEND_AUTO;
                break;
        default: r = -EINVAL;
        }
        return r;
}

static json_t *positions_json(const struct eval_result *result, uint32_t top) {
        json_t *positions = json_array();
        CLEANUP_FREE uint32_t *ids = calloc(top + 1, sizeof(*ids));
        for (size_t p = 0; ids && top > 0 && p < result->n_positions; p++) {
                const float *row = result->logits + p * result->vocab_size;
                json_t *list = json_array();
                eval_top(row, result->vocab_size, top, ids);
                for (uint32_t i = 0; i < top; i++)
                        json_array_append_new(
                                list, json_pack("[i, f]", (int)ids[i], (double)row[ids[i]]));
                json_array_append_new(
                        positions, json_pack("{s:I, s:o}", "position", (json_int_t)p, "top", list));
        }
        return positions;
}

static void print_json(json_t *object) {
        json_dumpf(object, stdout, JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(object);
}

/* Owned by the caller; null without a file of choices. */
static json_t *tally_json(const struct choices_file *choices) {
        struct choices_tally tally;
        if (!choices)
                return json_null();
        choices_file_tally(choices, &tally);
        return json_pack("{s:I, s:I, s:o}", "number", (json_int_t)tally.n, "differ",
                         (json_int_t)tally.n_differ, "first",
                         tally.n_differ > 0 ? json_integer((json_int_t)tally.first) : json_null());
}

static void print_tally(const struct choices_file *choices) {
        struct choices_tally tally;
        choices_file_tally(choices, &tally);
        printf("%llu choices, %llu differ", (unsigned long long)tally.n,
               (unsigned long long)tally.n_differ);
        if (tally.n_differ > 0)
                printf(", the first at position %llu", (unsigned long long)tally.first);
        putchar('\n');
}

static void print_result(const struct arguments *a, const struct engine *engine,
                         const struct choices_file *choices, const struct eval_result *result) {
        uint32_t top = a->top < result->vocab_size ? a->top : result->vocab_size;
        if (a->json) {
                json_t *generated = json_array();
                for (size_t i = 0; i < result->n_generated; i++)
                        json_array_append_new(generated, json_integer(result->generated[i]));
                print_json(json_pack("{s:I, s:f, s:o, s:o, s:s, s:o}", "tokens",
                                     (json_int_t)result->n_tokens, "nll", result->nll, "positions",
                                     positions_json(result, top), "generated", generated, "backend",
                                     engine_backend_name(engine), "choices", tally_json(choices)));
                return;
        }
        printf("%zu tokens, %.6f nats per token, %.1f tokens/s", result->n_tokens, result->nll,
               (double)result->n_tokens / result->prefill_s);
        if (result->n_generated > 1)
                printf(", decode %.1f tokens/s",
                       (double)(result->n_generated - 1) / result->decode_s);
        printf(" (%s)\n", engine_backend_name(engine));
        for (size_t i = 0; i < result->n_generated; i++)
                printf("%s%u", i ? " " : "generated: ", result->generated[i]);
        if (result->n_generated > 0)
                putchar('\n');
        if (choices)
                print_tally(choices);
}

static void show_progress(void *userdata, size_t done, size_t total) {
        (void)userdata;
        fprintf(stderr, "\r%zu / %zu tokens", done, total);
        if (done == total)
                fprintf(stderr, "\n");
}

/* One line, rewritten; gone when the model is loaded. */
static void show_loading(void *userdata, double done, const char *what) {
        (void)userdata;
        if (done < 1)
                fprintf(stderr, "\r\033[Kloading: %3.0f %% (%s)", done * 100, what);
        else
                fprintf(stderr, "\r\033[K");
}

static int evaluate(const struct arguments *a, struct engine *engine, struct choices_file *choices,
                    struct error *err) {
        CLEANUP_FREE uint32_t *ids = NULL;
        size_t n = 0;
        struct eval_result result;
        int r = ids_from_file(a->tokens, &ids, &n, err);
        if (r == 0 && choices)
                r = choices_file_prepare(choices, engine_config(engine), n, err);
        if (r < 0)
                return r;
        struct eval_options how = { .chunk = a->chunk, .generate = a->generate };
        if (isatty(STDERR_FILENO))
                how.progress = show_progress;
        r = eval_run(engine, ids, n, &how, &result, err);
        if (r < 0)
                return error_prefix(err, "%s", a->tokens);
        print_result(a, engine, choices, &result);
        if (a->logits)
                r = npy_write(a->logits, result.logits, result.n_positions, result.vocab_size, err);
        eval_result_deinit(&result);
        return r;
}

static void print_golden(const struct arguments *a, const struct golden_result *g, json_t *list) {
        if (a->json) {
                json_array_append_new(list,
                                      json_pack("{s:s, s:b, s:I, s:I, s:I, s:f, s:f, s:b}", "name",
                                                g->name, "passed", g->passed, "prompt_tokens",
                                                (json_int_t)g->n_prompt, "greedy_tokens",
                                                (json_int_t)g->n_greedy, "greedy_same",
                                                (json_int_t)g->n_greedy_same, "difference_max",
                                                g->difference_max, "tolerance", g->tolerance,
                                                "tokenizer_agrees", g->ids_from_text_agree));
                return;
        }
        printf("%-4s %-16s prompt %5zu  greedy %3zu/%zu%s  logits %4zu  max difference %.2e "
               "(tolerance %.0e)%s\n",
               g->passed ? "ok" : "FAIL", g->name, g->n_prompt, g->n_greedy_same, g->n_greedy,
               g->parted_at_near_tie ? " (near tie)" : "", g->n_logits, g->difference_max,
               g->tolerance, g->ids_from_text_agree ? "" : "  TOKENIZER DIFFERS");
}

static int is_json(const struct dirent *entry) {
        size_t n = strlen(entry->d_name);
        return n > 5 && strcmp(entry->d_name + n - 5, ".json") == 0;
}

/* One path, or every .json file of a directory in name order. Returns the number that failed. */
static int compare_golden(const struct arguments *a, struct engine *engine, const char *path,
                          struct error *err) {
        struct dirent **entries = NULL;
        int n = scandir(path, &entries, is_json, alphasort), failed = 0, r = 0;
        bool single = n < 0 && errno == ENOTDIR;
        if (n < 0 && !single)
                return error_errno(err, "%s", path);
        if (n == 0)
                r = error_set(err, -ENOENT, "%s: no .json file", path);
        json_t *list = json_array();
        for (int i = 0; r == 0 && i < (single ? 1 : n); i++) {
                CLEANUP_FREE char *file = NULL;
                struct golden_result g;
                if (asprintf(&file, "%s%s%s", path, single ? "" : "/",
                             single ? "" : entries[i]->d_name) < 0)
                        r = error_set(err, -ENOMEM, "out of memory");
                if (r == 0)
                        r = golden_compare(engine, file, a->chunk, &g, err);
                if (r < 0)
                        break;
                print_golden(a, &g, list);
                failed += !g.passed;
        }
        for (int i = 0; i < n; i++)
                free(entries[i]);
        free(entries);
        if (a->json && r == 0)
                print_json(json_pack("{s:O, s:i}", "golden", list, "failed", failed));
        json_decref(list);
        return r < 0 ? r : failed;
}

static void report_skipped(const struct engine *engine) {
        char text[256];
        for (unsigned i = 0; engine_skipped(engine, i, text, sizeof(text)); i++)
                fprintf(stderr, "seekd-eval: %s\n", text);
}

static int run(const struct arguments *a) {
        struct error err = { 0 };
        struct engine *engine = NULL;
        struct choices_file *choices = NULL;
        struct engine_options how = a->engine;
        CLEANUP_FREE char *golden = NULL;

        if (a->describe) {
                int described = eval_describe(a->model, a->json, &err);
                if (described < 0)
                        fprintf(stderr, "seekd-eval: %s\n", err.text);
                return described < 0 ? EXIT_INPUT : EXIT_OK;
        }
        how.model_dir = a->model;
        if (isatty(STDERR_FILENO))
                how.progress = show_loading;
        if (a->chunk > 0)
                how.batch_rows_max = a->chunk;
        int r = a->choices ? choices_file_open(a->choices, a->force, &choices, &err) : 0;
        how.choices = choices ? choices_file_hooks(choices) : NULL;
        if (r == 0)
                r = engine_open(&how, &engine, &err);
        if (r < 0 && how.progress)
                show_loading(NULL, 1, ""); /* the message gets a line of its own */
        if (r == 0)
                report_skipped(engine);
        if (r == 0 && a->tokens) {
                r = evaluate(a, engine, choices, &err);
        } else if (r == 0) {
                r = asprintf(&golden, "%s/golden", a->model) < 0
                        ? error_set(&err, -ENOMEM, "out of memory")
                        : 0;
                if (r == 0 && choices)
                        r = choices_file_prepare(choices, engine_config(engine),
                                                 choices_file_n_positions(choices), &err);
                if (r == 0)
                        r = compare_golden(a, engine, a->golden ? a->golden : golden, &err);
        }
        engine_close(engine);
        choices_file_close(choices);
        if (r < 0)
                fprintf(stderr, "seekd-eval: %s\n", err.text);
        return r < 0 ? EXIT_INPUT : r > 0 ? EXIT_DIFFERS : EXIT_OK;
}

int main(int argc, char **argv) {
        struct arguments a = { .top = 5 };
        int letter;
        while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (letter == 'h')
                        return fputs(usage, stdout) < 0;
                if (letter == 'V')
                        return printf("seekd-eval %s\n", SEEKD_VERSION) < 0;
                if (parse_option(letter, &a) < 0) {
                        fputs("Try 'seekd-eval --help'.\n", stderr);
                        return EXIT_USAGE;
                }
        }
        if (!a.model || optind < argc || (a.tokens && a.golden) ||
            (a.describe && (a.tokens || a.golden)) || (a.choices && a.generate > 0) ||
            (a.force && !a.choices)) {
                fputs(!a.model ? "seekd-eval: --model is missing\n"
                               : "seekd-eval: arguments that do not go together\n",
                      stderr);
                fputs(usage, stderr);
                return EXIT_USAGE;
        }
        return run(&a);
}
