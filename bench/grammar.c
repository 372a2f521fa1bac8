/* seekd-bench grammar: what holding an output to a schema costs, for one model's vocabulary.
 *
 * Compiling: the tools of a coding agent (a few dozen, each with a dozen parameters). Masks: one
 * for each token of documents that are written at random under schemas as agents send them, the
 * compiled tools among them. Beside a mask stands what a draw from the same vocabulary costs
 * without one. */
#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "bench/bench.h"
#include "bench/options.h"
#include "bench/report.h"
#include "engine/grammar/constraint.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/mask_trie.h"
#include "engine/philox.h"
#include "engine/sampler.h"
#include "engine/tokenizer.h"

#define N_TOOLS      30
#define WALK_TOKENS  200
#define END_OF_TEXT  1 /* of the whole DeepSeek family */
#define COMPILE_RUNS 5

struct arguments {
        const char *model;
        unsigned n_runs;
        bool json;
};

static const char tool_format[] =
        "{\"name\":\"tool_%u\",\"description\":\"Reads, searches or edits files.\",\"strict\":true,"
        "\"parameters\":{\"$schema\":\"http://json-schema.org/draft-07/"
        "schema#\",\"type\":\"object\","
        "\"properties\":{\"path\":{\"type\":\"string\",\"minLength\":1},"
        "\"pattern_%u\":{\"type\":\"string\",\"description\":\"a regular expression\"},"
        "\"mode\":{\"type\":\"string\",\"enum\":[\"content\",\"files_with_matches\",\"count\"]},"
        "\"offset\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":9007199254740991},"
        "\"limit\":{\"type\":\"number\",\"exclusiveMinimum\":0},"
        "\"timeout\":{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"null\"}]},"
        "\"url\":{\"type\":\"string\",\"format\":\"uri\"},"
        "\"name\":{\"type\":\"string\",\"pattern\":\"^[a-zA-Z0-9_-]{1,64}$\"},"
        "\"edits\":{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"object\","
        "\"properties\":{"
        "\"old\":{\"type\":\"string\"},\"new\":{\"type\":\"string\"},\"all\":{\"type\":\"boolean\","
        "\"default\":false}},\"required\":[\"old\",\"new\"],\"additionalProperties\":false}},"
        "\"metadata\":{\"type\":\"object\",\"propertyNames\":{\"type\":\"string\"},"
        "\"additionalProperties\":{\"type\":\"string\"}}},"
        "\"required\":[\"path\"],\"additionalProperties\":false}}";

static const char *const schemas[] = {
        "true",
        ("{\"type\":\"object\",\"properties\":{\"title\":{\"type\":\"string\"},\"count\":{\"type\":"
         "\"integer\"},\"tags\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}},\"required\":"
         "["
         "\"title\"],\"additionalProperties\":false}"),
        ("{\"type\":\"array\",\"items\":{\"anyOf\":[{\"type\":\"object\",\"properties\":{\"op\":{"
         "\"const\":\"add\"},\"text\":{\"type\":\"string\"}},\"required\":[\"op\",\"text\"]},{"
         "\"type\":"
         "\"object\",\"properties\":{\"op\":{\"const\":\"remove\"},\"line\":{\"type\":\"integer\"}}"
         ","
         "\"required\":[\"op\",\"line\"]},{\"type\":\"string\",\"maxLength\":40}]}}"),
        ("{\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"string\",\"pattern\":"
         "\"^[^<>]{1,200}$\"}},\"required\":[\"id\"],\"additionalProperties\":false}"),
};
#define N_SCHEMAS (sizeof(schemas) / sizeof(schemas[0]))

struct bench {
        const struct arguments *arguments;
        struct tokenizer *tokenizer;
        struct mask_trie *trie;
        char *tool_text[N_TOOLS];
        struct grammar_json tools[N_TOOLS];
        struct grammar *grammars[N_SCHEMAS + 1];
        double *steps; /* microseconds, of one round */
        size_t n_steps;
        struct sampler *sampler;
        float *logits;
        struct series vocabulary, reading, compile, parse, median, p99, worst, draw;
};

static int by_value(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;
        return x < y ? -1 : x > y;
}

static double since_us(uint64_t start) {
        return (double)(clock_ns() - start) / (double)NS_PER_US;
}

static int compile_tools(struct bench *bench, struct grammar **ret, struct error *err) {
        const struct grammar_chat chat = { .tools = bench->tools,
                                           .n_tools = N_TOOLS,
                                           .call_required = true };
        return grammar_from_chat(&chat, ret, err);
}

static int prepare(struct bench *bench, struct error *err) {
        int r = tokenizer_open(bench->arguments->model, &bench->tokenizer, err);
        for (unsigned i = 0; r == 0 && i < N_TOOLS; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
                int n = asprintf(&bench->tool_text[i], tool_format, i, i);
#pragma GCC diagnostic pop
                if (n < 0) {
                        bench->tool_text[i] = NULL;
                        return error_set(err, -ENOMEM, "out of memory");
                }
                bench->tools[i] = (struct grammar_json){ bench->tool_text[i], (size_t)n };
        }
        for (size_t i = 0; r == 0 && i < N_SCHEMAS; i++)
                r = grammar_from_schema(schemas[i], strlen(schemas[i]), &bench->grammars[i], err);
        if (r == 0)
                r = compile_tools(bench, &bench->grammars[N_SCHEMAS], err);
        if (r < 0)
                return r;
        uint32_t n_ids = tokenizer_n_ids(bench->tokenizer);
        bench->steps = calloc((N_SCHEMAS + 1) * WALK_TOKENS, sizeof(double));
        bench->logits = calloc(n_ids, sizeof(float));
        if (!bench->steps || !bench->logits || sampler_new(n_ids, &bench->sampler) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        return 0;
}

static void measure_vocabulary(struct bench *bench) {
        uint64_t start = clock_ns();
        bench->trie = mask_trie_free(bench->trie);
        if (mask_trie_new(bench->tokenizer, tokenizer_n_ids(bench->tokenizer), END_OF_TEXT,
                          &bench->trie) < 0)
                abort();
        series_add(&bench->vocabulary, since_us(start));
        struct error err = { 0 };
        struct tokenizer *again;
        start = clock_ns();
        if (tokenizer_open(bench->arguments->model, &again, &err) == 0)
                tokenizer_close(again);
        series_add(&bench->reading, since_us(start));
}

static void measure_compile(struct bench *bench) {
        for (unsigned i = 0; i < COMPILE_RUNS; i++) {
                struct error err = { 0 };
                struct grammar *grammar;
                uint64_t start = clock_ns();
                if (compile_tools(bench, &grammar, &err) == 0)
                        grammar_free(grammar);
                series_add(&bench->compile, since_us(start));
                start = clock_ns();
                for (size_t t = 0; t < N_TOOLS; t++)
                        json_decref(json_loadb(bench->tools[t].text, bench->tools[t].n, 0, NULL));
                series_add(&bench->parse, since_us(start));
        }
}

/* Logits that favour some tokens, as a model's do, anew for each step. */
static void randomize(struct bench *bench, uint32_t n, uint32_t seed, uint32_t step) {
        for (uint32_t i = 0; i < n; i += 4) {
                uint32_t random[4];
                philox4x32((const uint32_t[]){ i, step, 0, 0 }, (const uint32_t[]){ seed, 0 },
                           random);
                for (uint32_t k = 0; k < 4 && i + k < n; k++)
                        bench->logits[i + k] = (float)(random[k] >> 8) * 0x1p-21f;
        }
}

static int walk(struct bench *bench, const struct grammar *grammar, uint32_t seed,
                struct error *err) {
        struct constraint *constraint;
        const struct sampling sampling = { .temperature = 1, .top_p = 1, .seed = seed };
        uint32_t n_ids = tokenizer_n_ids(bench->tokenizer), id = 0;
        int r = constraint_new(grammar, bench->trie, &constraint, err);
        for (uint32_t step = 0; r == 0 && step < WALK_TOKENS && id != END_OF_TEXT; step++) {
                const uint64_t *mask;
                randomize(bench, n_ids, seed, step);
                uint64_t start = clock_ns();
                r = constraint_mask(constraint, &mask);
                double mask_us = since_us(start);
                if (r < 0)
                        break;
                start = clock_ns();
                sampler_draw(bench->sampler, bench->logits, NULL, &sampling, step, NULL);
                series_add(&bench->draw, since_us(start));
                id = sampler_draw(bench->sampler, bench->logits, mask, &sampling, step, NULL);
                start = clock_ns();
                r = constraint_accept(constraint, id);
                bench->steps[bench->n_steps++] = mask_us + since_us(start);
        }
        if (r < 0 && err->text[0] == 0)
                error_set(err, r, "a token that the mask allows was not taken");
        constraint_free(constraint);
        return r;
}

static int run(struct bench *bench, struct error *err) {
        int r = prepare(bench, err);
        for (unsigned i = 0; r == 0 && i < bench->arguments->n_runs; i++) {
                measure_vocabulary(bench);
                measure_compile(bench);
                bench->n_steps = 0;
                for (size_t g = 0; r == 0 && g <= N_SCHEMAS; g++)
                        r = walk(bench, bench->grammars[g], i, err);
                if (r < 0)
                        break;
                size_t n = bench->n_steps;
                qsort(bench->steps, n, sizeof(double), by_value);
                series_add(&bench->median, bench->steps[n / 2]);
                series_add(&bench->p99, bench->steps[n * 99 / 100]);
                series_add(&bench->worst, bench->steps[n - 1]);
        }
        if (r < 0)
                return r;
        char device[256];
        snprintf(device, sizeof(device), "%s, %u tokens", report_cpu(),
                 tokenizer_n_ids(bench->tokenizer));
        const struct measurement rows[] = {
                { "grammar.vocabulary", "us", &bench->vocabulary, "reading tokenizer.json",
                  &bench->reading },
                { "grammar.compile", "us", &bench->compile, "parsing the tools' JSON",
                  &bench->parse },
                { "grammar.mask.p50", "us", &bench->median, "a draw without a mask", &bench->draw },
                { "grammar.mask.p99", "us", &bench->p99, "a draw without a mask", &bench->draw },
                { "grammar.mask.worst", "us", &bench->worst, "a draw without a mask",
                  &bench->draw },
        };
        report_print(rows, sizeof(rows) / sizeof(*rows), device, bench->arguments->json);
        return 0;
}

static void bench_deinit(struct bench *bench) {
        struct series *all[] = { &bench->vocabulary, &bench->reading, &bench->compile,
                                 &bench->parse,      &bench->median,  &bench->p99,
                                 &bench->worst,      &bench->draw };
        for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
                series_deinit(all[i]);
        for (size_t i = 0; i <= N_SCHEMAS; i++)
                grammar_free(bench->grammars[i]);
        for (size_t i = 0; i < N_TOOLS; i++)
                free(bench->tool_text[i]);
        mask_trie_free(bench->trie);
        sampler_free(bench->sampler);
        free(bench->logits);
        free(bench->steps);
        if (bench->tokenizer)
                tokenizer_close(bench->tokenizer);
}

static int parse(int argc, char **argv, struct arguments *a) {
        const struct option_rule rules[] = {
                OPTION_REQUIRED("model", "DIR", &a->model, "folder with a tokenizer.json"),
                OPTION_NUMBER("runs", &a->n_runs, 1, 1000,
                              "rounds (default 7); medians are printed"),
                OPTION_FLAG("json", &a->json, "one JSON object a line"),
        };
        const struct command_line line = {
                "grammar",
                "Time to compile tools, and per token to find which tokens may come next.", rules,
                sizeof(rules) / sizeof(rules[0])
        };
        return options_parse(&line, argc, argv);
}

int bench_grammar(int argc, char **argv) {
        struct arguments a = { .n_runs = 7 };
        if (parse(argc, argv, &a) < 0)
                return 2;
        struct error err = { 0 };
        CLEANUP(bench_deinit) struct bench bench = { .arguments = &a };
        if (run(&bench, &err) < 0) {
                fprintf(stderr, "seekd-bench grammar: %s\n", err.text);
                return 1;
        }
        return 0;
}
