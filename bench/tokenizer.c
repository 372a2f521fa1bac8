/* seekd-bench tokenizer: megabytes of text to ids per second of one processor.
 *
 * Source text is compared with the same file's patterns run by PCRE2, and single lines without an
 * end with source text: their time must not grow faster than their length. Reading tokenizer.json
 * is compared with parsing its JSON alone. */
#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "bench/bench.h"
#include "bench/options.h"
#include "bench/report.h"
#include "engine/tokenizer.h"

#define TEXT_BYTES 10000000u /* of each kind */

struct arguments {
        const char *model, *text;
        unsigned n_runs;
        bool json;
};

struct text {
        char *bytes;
        size_t n;
};

/* Of this thread: the work has one, and what else the machine does should not count. */
static double processor_seconds(void) {
        struct timespec time;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
        return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static uint32_t draw(uint64_t *random, uint32_t n) {
        *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        return (uint32_t)(*random >> 33) % n;
}

/* Lines as programs have them: indentation, names of one to three parts, operators, numbers. */
static void write_source(struct text *text, uint64_t *random) {
        static const char *const parts[] = {
                "get",    "set",    "read",  "write", "open",   "close", "init",  "free",  "buffer",
                "length", "index",  "count", "name",  "value",  "error", "state", "list",  "node",
                "parse",  "header", "token", "field", "format", "path",  "file",  "size",  "next",
                "first",  "last",   "check", "id",    "key",    "hash",  "cache", "queue", "i",
        };
        static const char *const between[] = {
                " = ", "(", ")",  ", ", "->", ";", " + ",  "[",
                "]",   ".", ": ", " ",  " ",  " ", " == ", "\", \""
        };
        while (text->n + 256 < TEXT_BYTES) {
                text->n += (size_t)sprintf(text->bytes + text->n, "%*s", (int)(8 * draw(random, 4)),
                                           "");
                for (uint32_t words = 1 + draw(random, 6); words > 0; words--) {
                        for (uint32_t n = 1 + draw(random, 3); n > 0; n--)
                                text->n += (size_t)sprintf(
                                        text->bytes + text->n, "%s%s",
                                        parts[draw(random, sizeof(parts) / sizeof(*parts))],
                                        n > 1 ? "_" : "");
                        text->n += (size_t)sprintf(
                                text->bytes + text->n, "%s",
                                between[draw(random, sizeof(between) / sizeof(*between))]);
                        if (draw(random, 8) == 0)
                                text->n += (size_t)sprintf(text->bytes + text->n, "%u",
                                                           draw(random, 10000));
                }
                text->bytes[text->n++] = '\n';
        }
}

enum kind { SOURCE, LETTERS, ONE_LETTER, SPACES, CJK, DIGITS, N_KINDS };

static void write_line(struct text *text, enum kind kind, uint64_t *random) {
        while (text->n + 3 <= TEXT_BYTES) {
                char *at = text->bytes + text->n;
                uint32_t c = 0x4E00 + draw(random, 0x9FA6 - 0x4E00);
                switch (kind) {
                case LETTERS: *at = (char)('a' + draw(random, 26)); break;
                case ONE_LETTER: *at = 'a'; break;
                case DIGITS: *at = (char)('0' + draw(random, 10)); break;
                case CJK:
                        at[0] = (char)(0xE0 | c >> 12);
                        at[1] = (char)(0x80 | (c >> 6 & 0x3F));
                        at[2] = (char)(0x80 | (c & 0x3F));
                        text->n += 2;
                        break;
                default: *at = ' '; break;
                }
                text->n++;
        }
}

static int read_text(const char *path, struct text *text, struct error *err) {
        free(text->bytes);
        text->bytes = malloc(TOKENIZE_TEXT_MAX);
        if (!text->bytes)
                return error_set(err, -ENOMEM, "out of memory");
        FILE *file = fopen(path, "re");
        if (!file)
                return error_errno(err, "%s", path);
        text->n = fread(text->bytes, 1, TOKENIZE_TEXT_MAX, file);
        fclose(file);
        return text->n > 0 ? 0 : error_set(err, -EINVAL, "%s: nothing to read", path);
}

static int make_texts(const struct arguments *a, struct text texts[N_KINDS], struct error *err) {
        uint64_t random = 1;
        for (unsigned kind = 0; kind < N_KINDS; kind++) {
                texts[kind].bytes = malloc(TEXT_BYTES);
                if (!texts[kind].bytes)
                        return error_set(err, -ENOMEM, "out of memory");
                if (kind == SOURCE && !a->text)
                        write_source(&texts[kind], &random);
                else if (kind != SOURCE)
                        write_line(&texts[kind], kind, &random);
        }
        return a->text ? read_text(a->text, &texts[SOURCE], err) : 0;
}

/* The same file with its patterns in groups: they mean the same, and the scanner for them is not
 * used. */
static int open_on_pcre2(const char *path, struct tokenizer **ret, struct error *err) {
        json_auto_t *root = json_load_file(path, 0, NULL);
        json_t *steps = json_object_get(json_object_get(root, "pre_tokenizer"), "pretokenizers");
        for (size_t i = 0; i < json_array_size(steps); i++) {
                json_t *pattern = json_object_get(json_array_get(steps, i), "pattern");
                const char *regex = json_string_value(json_object_get(pattern, "Regex"));
                if (regex)
                        json_object_set_new(pattern, "Regex", json_sprintf("(?:%s)", regex));
        }
        CLEANUP_FREE char *json = json_dumps(root, JSON_COMPACT);
        return json ? tokenizer_parse(path, json, strlen(json), ret, err)
                    : error_set(err, -EINVAL, "%s: cannot be read", path);
}

static int rate(const struct tokenizer *tokenizer, const struct text *text, struct series *ret,
                struct error *err) {
        CLEANUP(token_list_deinit) struct token_list ids = { 0 };
        double start = processor_seconds();
        int r = tokenizer_encode(tokenizer, text->bytes, text->n, TOKENIZE_LITERAL, &ids, err);
        double seconds = processor_seconds() - start;
        if (r == 0)
                series_add(ret, (double)text->n / 1e6 / seconds);
        return r;
}

static int time_opening(const char *dir, const char *path, struct series *open,
                        struct series *parse, struct error *err) {
        struct tokenizer *tokenizer;
        double start = processor_seconds();
        int r = tokenizer_open(dir, &tokenizer, err);
        if (r < 0)
                return r;
        series_add(open, 1e3 * (processor_seconds() - start));
        tokenizer_close(tokenizer);
        start = processor_seconds();
        json_t *json = json_load_file(path, 0, NULL);
        series_add(parse, 1e3 * (processor_seconds() - start));
        json_decref(json);
        return 0;
}

struct results {
        struct series kinds[N_KINDS], patterns, open, parse;
};

static void report(const struct results *results, bool json) {
        static const char *const names[] = { "tokenizer.source",   "tokenizer.line.letters",
                                             "tokenizer.line.a",   "tokenizer.line.spaces",
                                             "tokenizer.line.cjk", "tokenizer.line.digits" };
        struct measurement rows[N_KINDS + 1] = {
                { names[SOURCE], "MB/s", &results->kinds[SOURCE], "the patterns on PCRE2",
                  &results->patterns },
        };
        for (unsigned kind = SOURCE + 1; kind < N_KINDS; kind++)
                rows[kind] = (struct measurement){ names[kind], "MB/s", &results->kinds[kind],
                                                   names[SOURCE], &results->kinds[SOURCE] };
        rows[N_KINDS] = (struct measurement){ "tokenizer.open", "ms", &results->open,
                                              "parsing the JSON alone", &results->parse };
        report_print(rows, N_KINDS + 1, report_cpu(), json);
}

static void results_deinit(struct results *results) {
        for (unsigned kind = 0; kind < N_KINDS; kind++)
                series_deinit(&results->kinds[kind]);
        series_deinit(&results->patterns);
        series_deinit(&results->open);
        series_deinit(&results->parse);
}

/* Rounds interleave everything that is compared, so that a busy machine slows all of it alike. */
static int run(const struct arguments *a, struct text texts[N_KINDS], struct error *err) {
        struct tokenizer *tokenizer = NULL, *patterns = NULL;
        CLEANUP(results_deinit) struct results results = { 0 };
        CLEANUP_FREE char *path = NULL;
        if (asprintf(&path, "%s/tokenizer.json", a->model) < 0) {
                path = NULL;
                return error_set(err, -ENOMEM, "out of memory");
        }
        int r = tokenizer_open(a->model, &tokenizer, err);
        if (r == 0)
                r = open_on_pcre2(path, &patterns, err);
        for (unsigned i = 0; i < a->n_runs && r == 0; i++) {
                r = rate(patterns, &texts[SOURCE], &results.patterns, err);
                for (unsigned kind = 0; kind < N_KINDS && r == 0; kind++)
                        r = rate(tokenizer, &texts[kind], &results.kinds[kind], err);
                if (r == 0)
                        r = time_opening(a->model, path, &results.open, &results.parse, err);
        }
        if (r == 0)
                report(&results, a->json);
        tokenizer_close(tokenizer);
        tokenizer_close(patterns);
        return r;
}

static int parse(int argc, char **argv, struct arguments *a) {
        const struct option_rule rules[] = {
                OPTION_REQUIRED("model", "DIR", &a->model,
                                "model folder; its tokenizer.json is enough"),
                OPTION_TEXT("text", "FILE", &a->text, "source text to encode (default: generated)"),
                OPTION_NUMBER("runs", &a->n_runs, 1, 1000,
                              "rounds (default 7); medians are printed"),
                OPTION_FLAG("json", &a->json, "one JSON object a line"),
        };
        const struct command_line line = {
                "tokenizer",
                "Text to ids on one thread: source text, and lines of 10 MB without a space.",
                rules, sizeof(rules) / sizeof(rules[0])
        };
        return options_parse(&line, argc, argv);
}

int bench_tokenizer(int argc, char **argv) {
        struct arguments a = { .n_runs = 7 };
        if (parse(argc, argv, &a) < 0)
                return 2;
        struct error err = { 0 };
        struct text texts[N_KINDS] = { 0 };
        int r = make_texts(&a, texts, &err);
        if (r == 0)
                r = run(&a, texts, &err);
        for (unsigned kind = 0; kind < N_KINDS; kind++)
                free(texts[kind].bytes);
        if (r < 0)
                fprintf(stderr, "seekd-bench: %s\n", err.text);
        return r < 0;
}
