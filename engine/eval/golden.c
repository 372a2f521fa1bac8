#include "engine/eval/golden.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/engine.h"
#include "engine/eval/ids.h"
#include "engine/eval/run.h"
#include "engine/tokenizer.h"

/* The file's ids are fed, so a continuation that parted cannot spoil the logits that follow. */
static int run_file(struct engine *engine, const uint32_t *prompt, size_t n_prompt,
                    const uint32_t *greedy, size_t n_greedy, unsigned chunk,
                    struct eval_result *ret, struct error *err) {
        CLEANUP_FREE uint32_t *ids = calloc(n_prompt + n_greedy, sizeof(*ids));
        if (!ids)
                return error_set(err, -ENOMEM, "out of memory");
        for (size_t i = 0; i < n_prompt; i++)
                ids[i] = prompt[i];
        for (size_t i = 0; i < n_greedy; i++)
                ids[n_prompt + i] = greedy[i];
        return eval_run(engine, ids, n_prompt + n_greedy, &(struct eval_options){ .chunk = chunk },
                        ret, err);
}

static void compare_logits(const json_t *logits, const struct eval_result *run,
                           struct golden_result *g) {
        size_t i, k;
        json_t *entry, *pair;
        json_array_foreach(logits, i, entry) {
                size_t position = (size_t)json_integer_value(json_object_get(entry, "position"));
                json_array_foreach(json_object_get(entry, "top"), k, pair) {
                        size_t id = (size_t)json_integer_value(json_array_get(pair, 0));
                        double expected = json_number_value(json_array_get(pair, 1));
                        if (position >= run->n_positions || id >= run->vocab_size) {
                                g->difference_max = INFINITY;
                                continue;
                        }
                        double d = fabs((double)run->logits[position * run->vocab_size + id] -
                                        expected);
                        g->difference_max = d > g->difference_max ? d : g->difference_max;
                        g->n_logits++;
                }
        }
}

static void compare_greedy(const uint32_t *greedy, size_t n_prompt, size_t n_greedy,
                           const struct eval_result *run, struct golden_result *g) {
        for (size_t i = 0; i < n_greedy; i++) {
                const float *row = run->logits + (n_prompt + i - 1) * run->vocab_size;
                uint32_t best;
                eval_top(row, run->vocab_size, 1, &best);
                if (best != greedy[i]) {
                        g->parted_at_near_tie =
                                (double)(row[best] - row[greedy[i]]) <= g->tolerance;
                        return;
                }
                g->n_greedy_same++;
        }
}

static int compare_text(struct engine *engine, const json_t *prompt, const uint32_t *ids, size_t n,
                        bool *ret, struct error *err) {
        struct token_list list = { 0 };
        int r = tokenizer_encode(engine_tokenizer(engine), json_string_value(prompt),
                                 json_string_length(prompt), TOKENIZE_SPECIAL, &list, err);
        if (r == 0) {
                *ret = list.n == n;
                for (size_t i = 0; *ret && i < n; i++)
                        *ret = list.ids[i] == ids[i];
        }
        token_list_deinit(&list);
        return r;
}

static int compare(struct engine *engine, const json_t *file, unsigned chunk,
                   struct golden_result *g, struct error *err) {
        CLEANUP_FREE uint32_t *prompt = NULL, *greedy = NULL;
        struct eval_result run = { 0 };
        int r = ids_from_json(json_object_get(file, "input_ids"), "input_ids", &prompt,
                              &g->n_prompt, err);
        if (r == 0)
                r = ids_from_json(json_object_get(file, "greedy_ids"), "greedy_ids", &greedy,
                                  &g->n_greedy, err);
        if (r == 0 && g->n_prompt == 0)
                r = error_set(err, -EINVAL, "input_ids: empty");
        if (r == 0)
                r = run_file(engine, prompt, g->n_prompt, greedy, g->n_greedy, chunk, &run, err);
        if (r < 0)
                return r;
        g->tolerance = json_number_value(json_object_get(file, "tolerance"));
        compare_logits(json_object_get(file, "logits"), &run, g);
        compare_greedy(greedy, g->n_prompt, g->n_greedy, &run, g);
        eval_result_deinit(&run);

        g->ids_from_text_agree = true;
        const json_t *text = json_object_get(file, "prompt");
        if (json_is_string(text))
                r = compare_text(engine, text, prompt, g->n_prompt, &g->ids_from_text_agree, err);
        g->passed = g->difference_max <= g->tolerance && g->ids_from_text_agree &&
                g->n_logits > 0 && (g->n_greedy_same == g->n_greedy || g->parted_at_near_tie);
        return r;
}

int golden_compare(struct engine *engine, const char *path, unsigned chunk,
                   struct golden_result *ret, struct error *err) {
        struct golden_result g = { 0 };
        json_error_t why;
        json_t *file = json_load_file(path, 0, &why);
        if (!file)
                return error_set(err, -EINVAL, "%s: line %d: %s", path, why.line, why.text);
        const char *name = json_string_value(json_object_get(file, "name"));
        snprintf(g.name, sizeof(g.name), "%s", name ? name : path);
        int r = compare(engine, file, chunk, &g, err);
        json_decref(file);
        if (r < 0)
                return error_prefix(err, "%s", path);
        *ret = g;
        return 0;
}
