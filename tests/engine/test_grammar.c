/* Grammars of schemas and of tool calls: what they accept, what their errors name, and masks that
 * are exactly the tokens that may come. Documents at random: test_grammar.py. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/error.h"
#include "engine/chat/parse.h"
#include "engine/grammar/constraint.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/machine.h"
#include "engine/grammar/mask_trie.h"
#include "engine/tokenizer.h"

static const char *nano_dir, *seed_dir;

#define END_ID 1 /* of both models */

static struct grammar *compile(const char *schema) {
        struct grammar *grammar;
        struct error err = { 0 };
        if (grammar_from_schema(schema, strlen(schema), &grammar, &err) < 0)
                fail_msg("%s: %s", schema, err.text);
        return grammar;
}

/* How many of `n` symbols are taken, n + 1 when the text may end behind them. */
static size_t taken(const struct grammar *grammar, const char *text, size_t n) {
        struct link_pool pool = { 0 };
        struct thread threads[2][MACHINE_THREADS_MAX];
        machine_start(grammar, &threads[0][0]);
        int n_threads = 1;
        size_t i;
        for (i = 0; i <= n; i++) {
                uint8_t symbol = i < n ? (uint8_t)text[i] : SYMBOL_END;
                n_threads = machine_step(grammar, &pool, threads[i % 2], (size_t)n_threads, symbol,
                                         threads[(i + 1) % 2]);
                if (n_threads <= 0)
                        break;
        }
        link_pool_deinit(&pool);
        return i;
}

static bool accepts(const struct grammar *grammar, const char *text) {
        return taken(grammar, text, strlen(text)) == strlen(text) + 1;
}

/* -------- schemas -------- */

struct verdict {
        const char *schema, *good[8], *bad[8];
};

static const struct verdict verdicts[] = {
        { "{\"type\":\"integer\",\"minimum\":3,\"maximum\":18446744073709551615}",
          { "3", "99" },
          { "2", "3.5" } },
        { "true",
          { "1", "[{}]", " \n{\"a\":[null, true]}", "\"\\ud83d\\ude00\"", "-0.5e+7" },
          { "", "{", "01", "[1,]", "1 ", "\"\\ud83d\"", "\"\\u0000\"", "nul" } },
        { "{\"type\":\"integer\",\"minimum\":-3,\"exclusiveMaximum\":12}",
          { "-3", "0", "11" },
          { "12", "-4", "1.5", "1e1", "007" } },
        { "{\"type\":\"number\",\"exclusiveMinimum\":0,\"maximum\":1}",
          { "0.25", "1", "1.0" },
          { "0", "0.0", "1.5", "-1" } },
        { "{\"type\":\"integer\",\"minimum\":0,\"exclusiveMinimum\":true}", { "1" }, { "0" } },
        { "{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
          { "\"ab\"", "\"é値\"", "\"\\n\\u00e9x\"", "\"\\ud83d\\ude00x\"" },
          { "\"a\"", "\"abcd\"", "\"\\ud83d\\ude00\"" } },
        { "{\"pattern\":\"^[a-c]+\\\\d{2,}$\",\"maxLength\":5}",
          { "\"a12\"", "\"abc12\"" },
          { "\"a1\"", "\"abcc12\"", "\"d12\"", "12" } },
        { "{\"pattern\":\"q\\\"|\\\\\\\\\"}", { "\"aq\\\"b\"", "\"\\\\\"" }, { "\"a\"" } },
        /* Outside of the subset: only the length holds. */
        { "{\"pattern\":\"^(?=a)\",\"maxLength\":2}", { "\"zz\"" }, { "\"zzz\"" } },
        { "{\"enum\":[\"a\",\"ab\",1,12,null,{\"k\":[1]}]}",
          { "\"a\"", "\"ab\"", "1", "12", "null", "{ \"k\": [1] }" },
          { "\"b\"", "\"\"", "2", "121", "{}", "{\"k\":[]}" } },
        { "{\"enum\":[\"a\",7],\"type\":\"integer\"}", { "7" }, { "\"a\"" } },
        { "{\"const\":0.1}", { "0.1" }, { "0.10", "1" } },
        { "{\"type\":[\"string\",\"null\"],\"nullable\":false}", { "\"\"", "null" }, { "1" } },
        { "{\"type\":\"boolean\",\"nullable\":true}", { "null", "true" }, { "\"\"" } },
        { "{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":true},\"required\":[\"a\"],"
          "\"additionalProperties\":false}",
          { "{\"a\":1}", "{\"b\":\"x\",\"a\":2}", "{\n  \"a\" : 1 ,\t\"b\": {}\n}" },
          { "{}", "{\"b\":1}", "{\"a\":1,\"a\":2}", "{\"a\":\"1\"}", "{\"a\":1,\"c\":1}",
            "{\"\\u0061\":1}", "[]" } },
        { "{\"type\":\"object\",\"properties\":{\"ab\":{\"type\":\"null\"}},"
          "\"additionalProperties\":{\"type\":\"integer\"}}",
          { "{\"ab\":null,\"a\":1,\"abc\":2,\"\":3}", "{}" },
          { "{\"ab\":1}", "{\"a\":null}", "{\"ab\":null,\"ab\":null}", "{\"\\u0061b\":1}" } },
        { "{\"type\":\"object\",\"required\":[\"x\"],\"additionalProperties\":{\"type\":\"null\"}}",
          { "{\"x\":null}", "{\"y\":null,\"x\":null}" },
          { "{}", "{\"x\":1}" } },
        { "{\"type\":\"object\",\"properties\":{\"bad\":false}}",
          { "{\"ba\":1}", "{\"badly\":1}" },
          { "{\"bad\":1}" } },
        { "{\"type\":\"object\",\"properties\":{\"a\\u0001\":true},\"additionalProperties\":false}",
          { "{\"a\\u0001\":1}" },
          { "{\"a\":1}" } },
        { "{\"patternProperties\":{\"^x\":{\"type\":\"integer\"}},\"additionalProperties\":false}",
          { "{\"x1\":1}" },
          { "{\"x1\":\"s\"}" } },
        { "{\"type\":\"array\",\"prefixItems\":[{\"const\":1}],\"items\":{\"type\":\"string\"},"
          "\"minItems\":1,\"maxItems\":3}",
          { "[1]", "[1,\"a\" , \"b\"]" },
          { "[]", "[\"a\"]", "[1,1]", "[1,\"a\",\"b\",\"c\"]" } },
        { "{\"items\":[{\"const\":1}],\"additionalItems\":false}",
          { "[]", "[1]" },
          { "[1,1]", "[2]" } },
        { "{\"anyOf\":[{\"type\":\"object\",\"properties\":{\"t\":{\"const\":\"a\"},\"v\":{"
          "\"type\":"
          "\"integer\"}},\"required\":[\"t\",\"v\"]},{\"type\":\"object\",\"properties\":{\"t\":{"
          "\"const\":\"b\"},\"v\":{\"type\":\"string\"}},\"required\":[\"t\",\"v\"]}]}",
          { "{\"t\":\"a\",\"v\":1}", "{\"v\":\"x\",\"t\":\"b\"}" },
          { "{\"t\":\"a\",\"v\":\"x\"}", "{\"v\":1,\"t\":\"b\"}", "{\"t\":\"c\",\"v\":1}" } },
        { "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":true},"
          "\"oneOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}]}",
          { "{\"a\":1}", "{\"b\":1}" },
          { "{}", "{\"c\":1}" } },
        { "{\"allOf\":[{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"number\"}},"
          "\"required\":["
          "\"a\"]},{\"properties\":{\"a\":{\"minimum\":5,\"type\":\"integer\"}},"
          "\"additionalProperties\":false}]}",
          { "{\"a\":5}" },
          { "{\"a\":4}", "{\"a\":5.5}", "{\"a\":5,\"b\":1}", "{}" } },
        { "{\"$ref\":\"#/$defs/n~1t\",\"description\":\"x\",\"$defs\":{\"n/"
          "t\":{\"type\":\"object\","
          "\"properties\":{\"next\":{\"$ref\":\"#/$defs/n~1t\"}},\"additionalProperties\":false}}}",
          { "{}", "{\"next\":{\"next\":{}}}" },
          { "{\"next\":1}" } },
        { "{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}]}",
          { "[]", "[[],[[]]]" },
          { "1", "[1]" } },
        { "{\"$ref\":\"#/definitions/"
          "a\",\"minimum\":3,\"definitions\":{\"a\":{\"type\":\"integer\"}}}",
          { "3" },
          { "2" } },
        { "{\"type\":\"string\",\"format\":\"date\",\"x-unknown\":{\"type\":7},\"default\":3,"
          "\"examples\":[],\"$schema\":\"https://json-schema.org/draft/2020-12/schema\"}",
          { "\"\"" },
          { "3" } },
};

static void test_schemas_accept_their_documents_and_no_others(void **state) {
        (void)state;
        for (size_t i = 0; i < sizeof(verdicts) / sizeof(*verdicts); i++) {
                struct grammar *grammar = compile(verdicts[i].schema);
                for (size_t k = 0; k < 8 && verdicts[i].good[k]; k++)
                        if (!accepts(grammar, verdicts[i].good[k]))
                                fail_msg("%s refuses %s", verdicts[i].schema, verdicts[i].good[k]);
                for (size_t k = 0; k < 8 && verdicts[i].bad[k]; k++)
                        if (accepts(grammar, verdicts[i].bad[k]))
                                fail_msg("%s accepts %s", verdicts[i].schema, verdicts[i].bad[k]);
                grammar_free(grammar);
        }
}

static void test_errors_name_the_place(void **state) {
        (void)state;
        static const struct {
                const char *schema, *message;
                int code;
        } cases[] = {
                { "{", "#: no JSON", -EINVAL },
                { "3", "#: a schema is", -EINVAL },
                { "{\"properties\":{\"a/b\":7}}", "#/properties/a~1b: a schema is", -EINVAL },
                { "{\"items\":{\"anyOf\":[true,{\"$ref\":\"#/no\"}]}}",
                  "#/items/anyOf/1/$ref: '#/no' is not in the schema", -EINVAL },
                { "{\"$ref\":\"https://example.org/x\"}", "#/$ref: ", -EINVAL },
                { "{\"$ref\":\"#\"}", "#: its references do not end", -E2BIG },
                { "{\"allOf\":[{\"$ref\":\"#\"}]}", "nest deeper than", -E2BIG },
                { "false", "#: nothing matches", -EINVAL },
                { "{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":["
                  "\"a\"]}",
                  "#: nothing matches", -EINVAL },
                { "{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}", "#: nothing matches",
                  -EINVAL },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct error err = { 0 };
                struct grammar *grammar;
                assert_int_equal(grammar_from_schema(cases[i].schema, strlen(cases[i].schema),
                                                     &grammar, &err),
                                 cases[i].code);
                assert_null(grammar);
                if (!strstr(err.text, cases[i].message))
                        fail_msg("%s: %s", cases[i].schema, err.text);
        }
}

/* Each doubles what the one before it refers to. */
static void test_schemas_that_explode_are_refused(void **state) {
        (void)state;
        static const char *const members[] = {
                "{\"allOf\":[{\"$ref\":\"#/$defs/%d\"},{\"$ref\":\"#/$defs/%d\"}]}",
                "{\"anyOf\":[{\"$ref\":\"#/$defs/%d\"},{\"$ref\":\"#/$defs/%d\"}],\"minLength\":1}",
                "{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#/$defs/"
                "%d\"},\"b\":{\"$ref\":"
                "\"#/$defs/%d\"}},\"required\":[\"a\",\"b\"]}",
        };
        for (size_t kind = 0; kind < 3; kind++) {
                char schema[16384];
                size_t n = (size_t)sprintf(schema, "{\"$ref\":\"#/$defs/0\",\"$defs\":{");
                for (int i = 0; i < 100; i++) {
                        n += (size_t)sprintf(schema + n, "\"%d\":", i);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
                        n += (size_t)sprintf(schema + n, members[kind], i + 1, i + 1);
#pragma GCC diagnostic pop
                        n += (size_t)sprintf(schema + n, ",");
                }
                sprintf(schema + n, "\"100\":{\"type\":\"string\"}}}");
                struct grammar *grammar = NULL;
                struct error err = { 0 };
                assert_true(grammar_from_schema(schema, strlen(schema), &grammar, &err) < 0);
                assert_int_equal(err.text[0], '#');
        }
}

/* -------- masks -------- */

static uint64_t random_state;

static uint32_t draw(uint32_t n) {
        random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
        return (uint32_t)((random_state >> 33) % n);
}

static bool allowed(const uint64_t *mask, uint32_t id) {
        return !mask || (mask[id / 64] >> id % 64 & 1);
}

/* The machine of the constraint, symbol by symbol beside it. */
struct shadow {
        const struct grammar *grammar;
        struct link_pool pool;
        struct thread threads[MACHINE_THREADS_MAX];
        int n;
};

static size_t symbols(const struct mask_trie *trie, uint32_t id, uint8_t *ret) {
        const char *const marks[] = { "｜DSML｜", "</think>" };
        const uint8_t symbol[] = { SYMBOL_DSML, SYMBOL_THINK_END };
        if (id == trie->end_id) {
                ret[0] = SYMBOL_END;
                return 1;
        }
        for (unsigned i = 0; i < 2; i++)
                if (tokenizer_added(trie->tokenizer, marks[i]) == id) {
                        ret[0] = symbol[i];
                        return 1;
                }
        size_t n;
        const char *bytes = tokenizer_bytes(trie->tokenizer, id, &n);
        char text[TRIE_TOKEN_BYTES_MAX + 1] = "";
        if (!bytes || n > TRIE_TOKEN_BYTES_MAX)
                return 0;
        memcpy(text, bytes, n);
        if (tokenizer_added(trie->tokenizer, text) == id)
                return 0; /* another added token */
        memcpy(ret, bytes, n);
        for (size_t i = 0; i < n; i++)
                if (ret[i] >= SYMBOL_FIRST)
                        return 0;
        return n;
}

static bool shadow_takes(struct shadow *shadow, const uint8_t *bytes, size_t n, bool keep) {
        struct thread at[2][MACHINE_THREADS_MAX];
        uint32_t n_links = shadow->pool.n;
        int n_at = shadow->n;
        memcpy(at[0], shadow->threads, sizeof(at[0]));
        for (size_t i = 0; i < n && n_at > 0; i++)
                n_at = machine_step(shadow->grammar, &shadow->pool, at[i % 2], (size_t)n_at,
                                    bytes[i], at[(i + 1) % 2]);
        if (keep && n_at > 0) {
                memcpy(shadow->threads, at[n % 2], sizeof(at[0]));
                shadow->n = n_at;
        } else {
                shadow->pool.n = n_links;
        }
        return n > 0 && n_at > 0;
}

/* Walks `steps` tokens and compares every mask with each token fed to a copy of the machine. */
static void compare_masks(const struct grammar *grammar, const struct mask_trie *trie,
                          unsigned steps) {
        struct constraint *constraint;
        struct error err = { 0 };
        struct shadow shadow = { .grammar = grammar, .n = 1 };
        machine_start(grammar, &shadow.threads[0]);
        assert_int_equal(constraint_new(grammar, trie, &constraint, &err), 0);
        bool ended = false;
        for (unsigned step = 0; step < steps && !ended; step++) {
                const uint64_t *mask;
                uint8_t bytes[TRIE_TOKEN_BYTES_MAX];
                uint32_t n_allowed = 0;
                assert_int_equal(constraint_mask(constraint, &mask), 0);
                /* Only free text takes tokens that are no text, and it takes all. */
                bool is_free = shadow_takes(&shadow, (const uint8_t[]){ 0 }, 1, false);
                for (uint32_t id = 0; id < trie->n_ids; id++) {
                        size_t n = symbols(trie, id, bytes);
                        bool takes = shadow_takes(&shadow, bytes, n, false);
                        if (is_free && id != trie->end_id)
                                takes = true;
                        if (takes != allowed(mask, id))
                                fail_msg("step %u: token %u ('%.*s') is %s", step, id, (int)n,
                                         (const char *)bytes, takes ? "missing" : "too many");
                        n_allowed += allowed(mask, id);
                }
                /* What closes is preferred now and then, so that walks get somewhere. */
                uint32_t pick = draw(n_allowed), id = 0;
                bool hurry = draw(3) == 0;
                for (;; id++)
                        if (allowed(mask, id) && pick-- == 0)
                                break;
                for (uint32_t k = 0; hurry && k < trie->n_ids; k++) {
                        size_t n = symbols(trie, k, bytes);
                        if (allowed(mask, k) && n == 1 && strchr("\"}]:,<", bytes[0]))
                                id = k;
                }
                ended = id == trie->end_id;
                size_t n = symbols(trie, id, bytes);
                if (n == 0) {
                        n = 1;
                        bytes[0] = 0; /* an added token in free text */
                }
                assert_int_equal(constraint_accept(constraint, id), 0);
                assert_true(shadow_takes(&shadow, bytes, n, true));
        }
        if (ended) {
                const uint64_t *mask;
                assert_int_equal(constraint_mask(constraint, &mask), -EILSEQ);
                assert_int_equal(constraint_accept(constraint, 5), -EILSEQ);
        }
        link_pool_deinit(&shadow.pool);
        constraint_free(constraint);
}

static const char *const walked[] = {
        "true",
        "{\"type\":\"string\",\"maxLength\":9}",
        "{\"type\":\"string\",\"minLength\":2,\"maxLength\":300}",
        "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"pattern\":\"^[^<]*$\"}}",
        ("{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"next\":{\"$ref\":"
         "\"#"
         "\"},"
         "\"q\\\"\\u0001\":{\"type\":\"integer\"}},\"required\":[\"name\"]}"),
        ("{\"anyOf\":[{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}},"
         "\"required\":["
         "\"a\"],\"additionalProperties\":false},{\"type\":\"object\",\"properties\":{\"a\":{"
         "\"enum\":["
         "\"x\",\"xy\",3]},\"b\":{}}},{\"type\":\"array\",\"items\":{\"type\":\"number\"}}]}"),
        ("{\"type\":\"array\",\"items\":{\"anyOf\":[{\"const\":\"text\"},{\"type\":\"string\","
         "\"maxLength\":4},{\"pattern\":\"^t\"}]}}"),
};

static struct tokenizer *open_tokenizer(const char *dir) {
        struct tokenizer *tokenizer;
        struct error err = { 0 };
        if (tokenizer_open(dir, &tokenizer, &err) < 0)
                fail_msg("%s", err.text);
        return tokenizer;
}

static void test_a_mask_is_what_each_token_does_alone(void **state) {
        (void)state;
        const char *dirs[] = { nano_dir, seed_dir };
        for (size_t d = 0; d < 2; d++) {
                struct tokenizer *tokenizer = open_tokenizer(dirs[d]);
                struct mask_trie *trie;
                assert_int_equal(
                        mask_trie_new(tokenizer, tokenizer_n_ids(tokenizer) + 70, END_ID, &trie),
                        0);
                for (size_t i = 0; i < sizeof(walked) / sizeof(*walked); i++) {
                        struct grammar *grammar = compile(walked[i]);
                        random_state = i;
                        for (unsigned walk = 0; walk < (d == 0 ? 8 : 2); walk++)
                                compare_masks(grammar, trie, 40);
                        grammar_free(grammar);
                }
                mask_trie_free(trie);
                tokenizer_close(tokenizer);
        }
}

/* -------- calls -------- */

static const struct grammar_json tools[] = {
#define TOOL(text)                                                                                 \
        { text, sizeof(text) - 1 }
        TOOL("{\"name\":\"read\",\"parameters\":{\"type\":\"object\",\"properties\":{\"path\":{"
             "\"type\":"
             "\"string\"},\"lines\":{\"type\":\"integer\",\"minimum\":1},\"mode\":{\"enum\":[\"r\","
             "\"raw\",null]},\"any\":{}},\"required\":[\"path\"],\"additionalProperties\":false},"
             "\"strict\":true}"),
        TOOL("{\"type\":\"function\",\"function\":{\"name\":\"stop\",\"description\":\"nothing\"}"
             "}"),
        TOOL("{\"name\":\"free\",\"parameters\":{\"type\":\"object\"}}"),
};

#define D        "\xf8"
#define OPEN_41  "\n\n<" D " calls>\n"
#define CLOSE_41 "</" D " calls>"
#define STOP_41  "<" D " invoke name=\"stop\">\n</" D " invoke>\n"

static struct grammar *compile_chat(struct grammar_chat chat) {
        struct grammar *grammar;
        struct error err = { 0 };
        if (chat.n_tools > 0)
                chat.tools = tools;
        if (grammar_from_chat(&chat, &grammar, &err) < 0)
                fail_msg("%s", err.text);
        return grammar;
}

static void test_calls_follow_their_tools(void **state) {
        (void)state;
        struct grammar *grammar =
                compile_chat((struct grammar_chat){ .n_tools = 3, .call_required = true });
        static const char *const good[] = {
                OPEN_41 STOP_41 CLOSE_41,
                OPEN_41 STOP_41 STOP_41 CLOSE_41,
                OPEN_41 "<" D " invoke name=\"stop\">\n\n</" D " invoke>\n" CLOSE_41,
                OPEN_41 "<" D " invoke name=\"read\">\n<" D
                        " parameter name=\"path\" string=\"true\">a </b> \"é\"</" D
                        " parameter>\n</" D " invoke>\n" CLOSE_41,
                OPEN_41 "<" D " invoke name=\"read\">\n<" D
                        " parameter name=\"mode\" string=\"true\">raw</" D " parameter>\n<" D
                        " parameter name=\"lines\" string=\"false\">12</" D " parameter>\n<" D
                        " parameter name=\"path\" string=\"true\"></" D " parameter>\n<" D
                        " parameter name=\"any\" string=\"false\">{\"a\": [1]}</" D
                        " parameter>\n</" D " invoke>\n" CLOSE_41,
                OPEN_41 "<" D " invoke name=\"free\">\n<" D
                        " parameter name=\"x y\" string=\"true\">1</" D " parameter>\n</" D
                        " invoke>\n" CLOSE_41,
        };
        static const char *const bad[] = {
                "text",
                OPEN_41 CLOSE_41,
                OPEN_41 STOP_41 CLOSE_41 "\n",
                OPEN_41 "<" D " invoke name=\"other\">\n",
                OPEN_41 "<" D " invoke name=\"read\">\n</", /* path is missing */
                OPEN_41 "<" D " invoke name=\"read\">\n<" D " parameter name=\"size\"",
                OPEN_41 "<" D " invoke name=\"read\">\n<" D
                        " parameter name=\"lines\" string=\"true\"",
                OPEN_41 "<" D " invoke name=\"read\">\n<" D
                        " parameter name=\"lines\" string=\"false\">0",
                OPEN_41 "<" D " invoke name=\"read\">\n<" D
                        " parameter name=\"mode\" string=\"true\">ra</",
                OPEN_41 "<" D " invoke name=\"read\">\n<" D
                        " parameter name=\"any\" string=\"false\">\"",
                OPEN_41 "<" D " invoke name=\"read\">\n<" D
                        " parameter name=\"path\" string=\"true\">a</｜DSML｜",
        };
        for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
                if (!accepts(grammar, good[i]))
                        fail_msg("refused: %s at %zu", good[i],
                                 taken(grammar, good[i], strlen(good[i])));
        for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
                if (taken(grammar, bad[i], strlen(bad[i])) >= strlen(bad[i]))
                        fail_msg("taken: %s", bad[i]);
        grammar_free(grammar);
}

static void test_conversations_say_where_calls_may_be(void **state) {
        (void)state;
        static const char document[] = "{\"type\":\"integer\"}";
        static const struct {
                struct grammar_chat chat;
                const char *good[4], *bad[4];
        } cases[] = {
                { { .n_tools = 3 },
                  { "", "any \xf8 text <" D " here", "a\n\n<" D " calls>\n" STOP_41 CLOSE_41,
                    "<" D " calls>\n" STOP_41 CLOSE_41 },
                  { "a\n<" D " calls>\n" CLOSE_41, "<" D "calls>", "\n<" D " tool_calls>" } },
                { { .n_tools = 3, .reasoning = true },
                  { "", "thought\n<" D " calls>\n\xf9 text", "\xf9" OPEN_41 STOP_41 CLOSE_41 },
                  { "\xf9" OPEN_41 CLOSE_41 } },
                { { .n_tools = 3, .reasoning = true, .call_required = true, .tool = "stop" },
                  { "thought\xf9" OPEN_41 STOP_41 CLOSE_41 },
                  { "", "\xf9 text", "\xf9" OPEN_41 "<" D " invoke name=\"read\">" } },
                { { .n_tools = 3, .call_required = true, .dialect = GRAMMAR_DIALECT_V4 },
                  { "\n\n<" D "tool_calls>\n<" D "invoke name=\"read\">\n<" D
                    "parameter name=\"path\" string=\"true\">p</" D "parameter>\n</" D
                    "invoke>\n</" D "tool_calls>" },
                  { OPEN_41 } },
                { { .reasoning = true, .schema = { document, sizeof(document) - 1 } },
                  { "\xf9"
                    "12",
                    "hm\n\xf9-1" },
                  { "", "\xf9", "\xf9 1", "\xf9\"1\"" } },
                { { .n_tools = 3, .schema = { document, sizeof(document) - 1 } },
                  { "12", OPEN_41 STOP_41 CLOSE_41 },
                  { "", "text", "12\n", OPEN_41 CLOSE_41 } },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct grammar *grammar = compile_chat(cases[i].chat);
                for (size_t k = 0; k < 4 && cases[i].good[k]; k++)
                        if (!accepts(grammar, cases[i].good[k]))
                                fail_msg("case %zu refuses %s", i, cases[i].good[k]);
                for (size_t k = 0; k < 4 && cases[i].bad[k]; k++)
                        if (accepts(grammar, cases[i].bad[k]))
                                fail_msg("case %zu accepts %s", i, cases[i].bad[k]);
                grammar_free(grammar);
        }
}

static void test_a_tool_that_cannot_be_compiled_is_named(void **state) {
        (void)state;
        static const char broken[] = "{\"name\":\"x\",\"parameters\":{\"properties\":{\"p\":3}}}";
        static const char document[] = "{\"$ref\":\"#/no\"}";
        const struct grammar_json list[] = { tools[0], { broken, sizeof(broken) - 1 } };
        struct grammar *grammar;
        struct error err = { 0 };
        struct grammar_chat chat = { .tools = list, .n_tools = 2 };
        assert_int_equal(grammar_from_chat(&chat, &grammar, &err), -EINVAL);
        assert_non_null(strstr(err.text, "tools[1].parameters: #/properties/p: "));
        chat = (struct grammar_chat){ .schema = { document, sizeof(document) - 1 } };
        assert_int_equal(grammar_from_chat(&chat, &grammar, &err), -EINVAL);
        assert_non_null(strstr(err.text, "json_schema: #/$ref: "));
        chat = (struct grammar_chat){ .tools = tools, .n_tools = 3, .tool = "none" };
        assert_int_equal(grammar_from_chat(&chat, &grammar, &err), -EINVAL);
}

/* What a random model writes, as the parser of answers reads it. */
static void check_calls(struct chat_parser *parser) {
        struct chat_text raw;
        size_t n;
        assert_int_equal(chat_parser_finish(parser), 0);
        assert_false(chat_parser_incomplete(parser, &raw));
        const struct chat_call *calls = chat_parser_calls(parser, &n);
        assert_true(n > 0);
        for (size_t i = 0; i < n; i++) {
                json_t *arguments =
                        json_loadb(calls[i].arguments.data, calls[i].arguments.n, 0, NULL);
                assert_true(json_is_object(arguments));
                bool is_read = calls[i].name.n == 4 && memcmp(calls[i].name.data, "read", 4) == 0;
                if (is_read) {
                        json_t *lines = json_object_get(arguments, "lines");
                        assert_true(json_is_string(json_object_get(arguments, "path")));
                        assert_true(!lines || json_integer_value(lines) >= 1);
                }
                json_decref(arguments);
        }
}

static bool write_calls(const struct grammar *grammar, const struct mask_trie *trie) {
        struct constraint *constraint;
        struct chat_parser *parser;
        struct error err = { 0 };
        assert_int_equal(constraint_new(grammar, trie, &constraint, &err), 0);
        assert_int_equal(chat_parser_new(&(struct chat_parser_options){ 0 }, &parser), 0);
        uint32_t id = 0;
        char last = 0;
        for (unsigned step = 0; step < 1200 && id != END_ID; step++) {
                const uint64_t *mask;
                uint32_t dsml = tokenizer_added(trie->tokenizer, "｜DSML｜");
                assert_int_equal(constraint_mask(constraint, &mask), 0);
                do
                        id = draw(trie->n_ids);
                while (!allowed(mask, id));
                /* Out of texts that would go on for long. */
                const char *out = draw(2) ? "}]\"/<" : "/<]}\"";
                unsigned best = 0;
                for (uint32_t k = 0; step % 8 < 6 && k < trie->n_ids; k++) {
                        size_t n;
                        const char *bytes = tokenizer_bytes(trie->tokenizer, k, &n);
                        const char *at = bytes && n == 1 ? strchr(out, bytes[0]) : NULL;
                        unsigned rank = at ? (unsigned)(at - out) + 1 : 0;
                        rank = k == END_ID || k == dsml ? 9 : rank;
                        if (last == '<' && at && *at == '/')
                                rank = 8;
                        if (allowed(mask, k) && rank > best) {
                                best = rank;
                                id = k;
                        }
                }
                size_t n;
                const char *bytes = tokenizer_bytes(trie->tokenizer, id, &n);
                assert_int_equal(constraint_accept(constraint, id), 0);
                last = bytes[n - 1];
                if (id == dsml)
                        chat_parser_mark(parser, CHAT_DSML);
                else if (id != END_ID)
                        chat_parser_text(parser, bytes, n);
        }
        if (id == END_ID)
                check_calls(parser);
        chat_parser_free(parser);
        constraint_free(constraint);
        return id == END_ID;
}

static void test_calls_written_at_random_are_whole(void **state) {
        (void)state;
        const char *dirs[] = { nano_dir, seed_dir };
        const struct grammar_chat chats[] = {
                { .n_tools = 3, .call_required = true },
                { .n_tools = 3 },
                { .n_tools = 3, .reasoning = true, .call_required = true },
        };
        for (size_t d = 0; d < 2; d++) {
                struct tokenizer *tokenizer = open_tokenizer(dirs[d]);
                struct mask_trie *trie;
                assert_int_equal(
                        mask_trie_new(tokenizer, tokenizer_n_ids(tokenizer), END_ID, &trie), 0);
                /* Without the tool whose parameters are free: one can come twice. */
                struct grammar *grammar =
                        compile_chat((struct grammar_chat){ .n_tools = 2, .call_required = true });
                unsigned n_whole = 0;
                random_state = 3;
                for (unsigned walk = 0; walk < 40; walk++)
                        n_whole += write_calls(grammar, trie);
                print_message("%u of 40 came to an end\n", n_whole);
                assert_true(n_whole >= 10);
                grammar_free(grammar);
                for (size_t i = 0; i < 3; i++) {
                        grammar = compile_chat(chats[i]);
                        compare_masks(grammar, trie, d == 0 ? 300 : 40);
                        grammar_free(grammar);
                }
                mask_trie_free(trie);
                tokenizer_close(tokenizer);
        }
}

int main(int argc, char **argv) {
        if (argc != 3)
                return 1;
        nano_dir = argv[1];
        seed_dir = argv[2];
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_schemas_accept_their_documents_and_no_others),
                cmocka_unit_test(test_errors_name_the_place),
                cmocka_unit_test(test_schemas_that_explode_are_refused),
                cmocka_unit_test(test_a_mask_is_what_each_token_does_alone),
                cmocka_unit_test(test_calls_follow_their_tools),
                cmocka_unit_test(test_conversations_say_where_calls_may_be),
                cmocka_unit_test(test_a_tool_that_cannot_be_compiled_is_named),
                cmocka_unit_test(test_calls_written_at_random_are_whole),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
