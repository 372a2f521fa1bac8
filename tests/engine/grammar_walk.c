/* Documents under a schema, for test_grammar.py: reads JSON lines from standard input, answers each
 * with one.
 *
 *   {"schema": S, "walks": N, "seed": X, "steps": M}   {"texts": [TEXT or null, ...]}: what a model
 *           that draws at random writes; null when it did not come to an end within M tokens
 *   {"schema": S, "documents": [TEXT, ...]}            {"accepted": [BOOL, ...]}
 *   either, with a schema that cannot be compiled      {"error": MESSAGE} */
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/grammar/constraint.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/machine.h"
#include "engine/grammar/mask_trie.h"
#include "engine/tokenizer.h"

static uint64_t random_state;

static uint32_t draw(uint32_t n) {
        random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
        return (uint32_t)((random_state >> 33) % n);
}

static bool allowed(const uint64_t *mask, uint32_t id) {
        return mask[id / 64] >> id % 64 & 1;
}

/* Any allowed token; the end when it is allowed, half of the time; after half of the steps rather
 * what closes something. */
static uint32_t choose(const struct mask_trie *trie, const uint64_t *mask, bool hurry) {
        static const char *const closing[] = { "\"", "}", "]", ",", ":", "0", "e" };
        if (allowed(mask, trie->end_id) && (hurry || draw(2) == 0))
                return trie->end_id;
        for (unsigned i = 0; hurry && draw(4) != 0 && i < sizeof(closing) / sizeof(*closing); i++)
                for (uint32_t k = 0; k < trie->all.n; k = trie->all.nodes[k].skip) {
                        const struct trie_node *node = &trie->all.nodes[k];
                        if (node->byte == (uint8_t)*closing[i] && node->id != TRIE_NO_TOKEN &&
                            allowed(mask, node->id))
                                return node->id;
                }
        uint32_t n = 0;
        for (uint32_t id = 0; id < trie->n_ids; id++)
                n += allowed(mask, id);
        n = draw(n);
        for (uint32_t id = 0;; id++)
                if (allowed(mask, id) && n-- == 0)
                        return id;
}

static json_t *walk(const struct grammar *grammar, const struct mask_trie *trie, unsigned steps) {
        struct constraint *constraint;
        if (constraint_new(grammar, trie, &constraint, NULL) < 0)
                abort();
        char *text = NULL;
        size_t n_text = 0;
        FILE *stream = open_memstream(&text, &n_text);
        bool ended = false;
        for (unsigned step = 0; step < steps && !ended; step++) {
                const uint64_t *mask;
                if (constraint_mask(constraint, &mask) < 0)
                        abort();
                uint32_t id = choose(trie, mask, step > steps / 2);
                if (constraint_accept(constraint, id) < 0)
                        abort();
                size_t n;
                const char *bytes = tokenizer_bytes(trie->tokenizer, id, &n);
                ended = id == trie->end_id;
                if (!ended)
                        fwrite(bytes, 1, n, stream);
        }
        fclose(stream);
        json_t *result = ended ? json_stringn(text, n_text) : json_null();
        if (!result)
                abort(); /* no UTF-8 */
        free(text);
        constraint_free(constraint);
        return result;
}

static bool accepts(const struct grammar *grammar, const char *text, size_t n) {
        struct link_pool pool = { 0 };
        struct thread threads[2][MACHINE_THREADS_MAX];
        machine_start(grammar, &threads[0][0]);
        int n_threads = 1;
        for (size_t i = 0; i <= n && n_threads > 0; i++) {
                uint8_t symbol = i < n ? (uint8_t)text[i] : SYMBOL_END;
                n_threads = machine_step(grammar, &pool, threads[i % 2], (size_t)n_threads, symbol,
                                         threads[(i + 1) % 2]);
        }
        link_pool_deinit(&pool);
        return n_threads > 0;
}

static json_t *answer(json_t *line, const struct mask_trie *trie) {
        size_t n_schema, i;
        char *schema = json_dumps(json_object_get(line, "schema"), JSON_ENCODE_ANY);
        n_schema = strlen(schema);
        struct grammar *grammar;
        struct error err = { 0 };
        int r = grammar_from_schema(schema, n_schema, &grammar, &err);
        free(schema);
        if (r < 0)
                return json_pack("{s:s}", "error", err.text);
        json_t *list = json_array(), *document, *documents = json_object_get(line, "documents");
        json_array_foreach(documents, i, document)
                json_array_append_new(list,
                                      json_boolean(accepts(grammar, json_string_value(document),
                                                           json_string_length(document))));
        random_state = (uint64_t)json_integer_value(json_object_get(line, "seed"));
        json_int_t n = json_integer_value(json_object_get(line, "walks"));
        for (json_int_t k = 0; k < n; k++)
                json_array_append_new(
                        list,
                        walk(grammar, trie,
                             (unsigned)json_integer_value(json_object_get(line, "steps"))));
        grammar_free(grammar);
        return json_pack("{s:o}", documents ? "accepted" : "texts", list);
}

int main(int argc, char **argv) {
        struct tokenizer *tokenizer;
        struct mask_trie *trie;
        struct error err = { 0 };
        if (argc != 2 || tokenizer_open(argv[1], &tokenizer, &err) < 0) {
                fprintf(stderr, "grammar_walk MODEL: %s\n", err.text);
                return 1;
        }
        if (mask_trie_new(tokenizer, tokenizer_n_ids(tokenizer), 1, &trie) < 0)
                return 1;
        char *line = NULL;
        size_t room = 0;
        while (getline(&line, &room, stdin) > 0) {
                json_t *json = json_loads(line, 0, NULL);
                json_t *result = answer(json, trie);
                json_dumpf(result, stdout, JSON_COMPACT);
                putchar('\n');
                fflush(stdout);
                json_decref(result);
                json_decref(json);
        }
        free(line);
        mask_trie_free(trie);
        tokenizer_close(tokenizer);
        return 0;
}
