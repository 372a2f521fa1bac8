/* Answers in a conversation: reasoning, text, and blocks of calls as the model was trained to write
 * them ("\n\n<｜DSML｜ calls>\n<｜DSML｜ invoke name=\"f\">\n ..."; V4 without the spaces and with
 * "tool_calls"), where ｜DSML｜ is one token. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/schema.h"
#include "engine/grammar/schema_merge.h"
#include "engine/grammar/schema_scalar.h"

#define DSML "\xf8" /* SYMBOL_DSML */

/* Names of parameters that a tool does not declare: text that cannot be taken for markup, and no
 * longer than OpenAI lets names be. */
static const char free_name_pattern[] = "^[^\"<>\\x01-\\x1f]+$";
#define FREE_NAME_MAX 64

struct calls {
        struct compiler *compiler;
        const struct grammar_chat *chat;
        json_t **tools;            /* [n_tools]; parsed */
        const char *space, *block; /* before a tag's name; the block's name */
        uint32_t free_text;        /* NODE_RAW up to the end of a parameter, with its tag */
};

static struct grammar *program(const struct calls *calls) {
        return calls->compiler->grammar;
}

static int no_memory(const struct calls *calls) {
        return error_set(calls->compiler->err, -ENOMEM, "out of memory");
}

/* -------- words -------- */

__attribute__((format(printf, 4, 5))) static int add_word(const struct calls *calls,
                                                          struct new_words *words, uint32_t value,
                                                          const char *format, ...) {
        char *text = NULL;
        va_list args;
        va_start(args, format);
        int n = vasprintf(&text, format, args);
        va_end(args);
        if (n < 0)
                return no_memory(calls);
        int r = new_words_add(words, text, (size_t)n, value);
        free(text);
        return r < 0 ? no_memory(calls) : 0;
}

static int add_literal(const struct calls *calls, struct node_list *list, const char *text) {
        uint32_t node;
        int r = schema_add_literal(calls->compiler, text, strlen(text), &node);
        return r < 0 ? r : node_list_add(calls->compiler, list, node);
}

/* A literal with the dialect's spelling of the tags: '~' stands for what precedes a tag's name. */
static int add_tag(const struct calls *calls, struct node_list *list, const char *text) {
        char spelt[128];
        size_t n = 0;
        for (; *text && n + 2 < sizeof(spelt); text++) {
                if (*text != '~') {
                        spelt[n++] = *text;
                        continue;
                }
                memcpy(spelt + n, DSML, strlen(DSML));
                n += strlen(DSML);
                if (calls->space[0])
                        spelt[n++] = calls->space[0];
        }
        spelt[n] = 0;
        return add_literal(calls, list, spelt);
}

/* A word with the tag that ends a parameter behind it. */
static int extend_word(const struct calls *calls, struct new_word *word) {
        char *text = NULL;
        int n = asprintf(&text, "%.*s</" DSML "%sparameter>\n", (int)word->n, word->text,
                         calls->space);
        if (n < 0)
                return no_memory(calls);
        free(word->text);
        word->text = text;
        word->n = (size_t)n;
        return 0;
}

/* Ends a list: its node, and the list is freed. */
static int finish(const struct calls *calls, enum node_kind kind, struct node_list *list, int r,
                  uint32_t *ret) {
        if (r == 0)
                r = schema_add_list_node(calls->compiler, kind, list->nodes, list->n, ret);
        free(list->nodes);
        *list = (struct node_list){ 0 };
        return r;
}

/* What a loop is made of: words, and for each that does not end it the node behind it. */
struct loop {
        struct new_words words; /* value: index in nodes, or one of the two below */
        struct node_list nodes;
        uint64_t required[SEEN_WORDS]; /* by index in nodes */
};
#define VALUE_END       UINT32_MAX
#define VALUE_END_EMPTY (UINT32_MAX - 1)

static int add_loop(const struct calls *calls, struct loop *loop, struct node node, uint32_t *ret) {
        struct compiler *compiler = calls->compiler;
        int r = program_add_words(program(calls), &loop->words, &node.loop.words, compiler->err);
        struct node_list values = { 0 };
        node.kind = NODE_LOOP;
        node.loop.end = node.loop.end_empty = NODE_NONE;
        for (uint32_t i = 0; r == 0 && i < loop->words.n; i++) {
                uint32_t value = loop->words.words[i].value;
                if (value == VALUE_END)
                        node.loop.end = i;
                else if (value == VALUE_END_EMPTY)
                        node.loop.end_empty = i;
                else if (value / 64 < SEEN_WORDS && loop->required[value / 64] >> value % 64 & 1)
                        node.loop.required[i / 64] |= UINT64_C(1) << i % 64;
                bool ends = value >= VALUE_END_EMPTY;
                r = node_list_add(compiler, &values, ends ? NODE_NONE : loop->nodes.nodes[value]);
        }
        if (r == 0)
                r = program_add_list(program(calls), values.nodes, values.n, &node.loop.values,
                                     compiler->err);
        free(values.nodes);
        return r < 0 ? r : program_add_node(program(calls), &node, ret, compiler->err);
}

static void loop_deinit(struct loop *loop) {
        new_words_deinit(&loop->words);
        free(loop->nodes.nodes);
}

/* -------- the strings that a parameter may be -------- */

enum strings { STRINGS_NONE, STRINGS_LISTED, STRINGS_ALL };

static int list_strings(const struct calls *calls, json_t *values, struct new_words *words,
                        enum strings *ret) {
        json_t *value;
        size_t i;
        json_array_foreach(values, i, value) {
                if (!json_is_string(value))
                        continue;
                if (new_words_add(words, json_string_value(value), json_string_length(value), 0) <
                    0)
                        return no_memory(calls);
                *ret = *ret == STRINGS_ALL ? STRINGS_ALL : STRINGS_LISTED;
        }
        return 0;
}

/* Adds to `words` the strings that a schema lists; raises `ret`, which is STRINGS_NONE before. */
static int find_strings(const struct calls *calls, json_t *schema, const struct place *place,
                        struct new_words *words, enum strings *ret) {
        struct compiler *compiler = calls->compiler;
        json_t *flat = schema_flatten(compiler, schema, place), *member;
        if (!flat)
                return compiler->err->code;
        const char *key = json_is_array(json_object_get(flat, "anyOf")) ? "anyOf" : "oneOf";
        json_t *alternatives = json_object_get(flat, key);
        size_t i;
        if (json_is_array(alternatives) && schema_may_be_string(flat)) {
                int r = 0;
                json_array_foreach(alternatives, i, member) if (r == 0) r = find_strings(
                        calls, member, PLACE_INDEX(PLACE_KEY(place, key), i), words, ret);
                return r;
        }
        if (!schema_may_be_string(flat))
                return 0;
        json_t *only = json_object_get(flat, "const"), *listed = json_object_get(flat, "enum");
        if (only) {
                json_t *one = json_pack("[O]", only);
                int r = one ? list_strings(calls, one, words, ret) : no_memory(calls);
                json_decref(one);
                return r;
        }
        if (json_is_array(listed))
                return list_strings(calls, listed, words, ret);
        *ret = STRINGS_ALL;
        return 0;
}

/* -------- one parameter -------- */

/* Behind `string="`: a text as it is. Patterns and lengths do not hold for it. */
static int add_string_value(const struct calls *calls, struct node_list *list, json_t *schema,
                            const struct place *place) {
        struct new_words words = { 0 };
        struct node_list sequence = { 0 }, texts = { 0 };
        enum strings strings = STRINGS_NONE;
        uint32_t node;
        int r = find_strings(calls, schema, place, &words, &strings);
        if (r == 0 && strings != STRINGS_NONE) {
                r = add_literal(calls, &sequence, "true\">");
                if (r == 0 && strings == STRINGS_ALL) {
                        r = node_list_add(calls->compiler, &sequence, calls->free_text);
                } else if (r == 0) {
                        /* The words lead straight to the tag: one that begins another must not
                         * end before it. */
                        for (size_t i = 0; r == 0 && i < words.n; i++)
                                r = extend_word(calls, &words.words[i]);
                        if (r == 0)
                                r = schema_add_words(calls->compiler, &texts, &words, false);
                        if (r == 0)
                                r = node_list_add(calls->compiler, &sequence, texts.nodes[0]);
                }
                r = finish(calls, NODE_SEQUENCE, &sequence, r, &node);
                if (r == 0)
                        r = node_list_add(calls->compiler, list, node);
        }
        free(sequence.nodes);
        free(texts.nodes);
        new_words_deinit(&words);
        return r;
}

/* Behind `string="`: a value in JSON, of any type but string. */
static int add_json_value(const struct calls *calls, struct node_list *list, json_t *schema,
                          const struct place *place) {
        struct compiler *compiler = calls->compiler;
        json_t *flat = schema_flatten(compiler, schema, place);
        if (!flat)
                return compiler->err->code;
        json_t *others = json_pack("{s:[s,s,s,s,s]}", "type", "null", "boolean", "number", "array",
                                   "object");
        if (!others || json_array_append_new(compiler->owned, others) < 0)
                return no_memory(calls);
        json_t *joined = schema_merge(compiler, flat, others, place);
        if (!joined)
                return compiler->err->code;
        struct node_list sequence = { 0 };
        uint32_t node;
        int r = schema_compile(compiler, joined, place, &node);
        if (r == 0)
                r = add_literal(calls, &sequence, "false\">");
        if (r == 0)
                r = node_list_add(compiler, &sequence, node);
        if (r == 0)
                r = add_tag(calls, &sequence, "</~parameter>\n");
        r = finish(calls, NODE_SEQUENCE, &sequence, r, &node);
        return r < 0 ? r : node_list_add(compiler, list, node);
}

static int add_value(const struct calls *calls, json_t *schema, const struct place *place,
                     uint32_t *ret) {
        struct node_list ways = { 0 };
        int r = add_string_value(calls, &ways, schema, place);
        if (r == 0)
                r = add_json_value(calls, &ways, schema, place);
        return finish(calls, NODE_CHOICE, &ways, r, ret);
}

/* -------- one tool -------- */

/* Parameters that are not declared: a name, then any value. */
static int add_free_parameter(const struct calls *calls, struct loop *loop, json_t *schema) {
        struct compiler *compiler = calls->compiler;
        json_t *additional = json_object_get(schema, "additionalProperties");
        const struct place *place =
                PLACE_KEY(&(struct place){ .up = NULL }, "additionalProperties");
        struct automaton automaton;
        struct node name = { .kind = NODE_AUTOMATON };
        struct node_list sequence = { 0 };
        uint32_t value, node;
        int r = add_value(calls, additional ? additional : json_true(), place, &value);
        if (r < 0)
                return r;
        r = automaton_from_pattern(free_name_pattern, strlen(free_name_pattern),
                                   &compiler->pattern_steps, &automaton);
        if (r == 0)
                r = automaton_limit_length(&automaton, 1, FREE_NAME_MAX, &compiler->pattern_steps);
        if (r < 0) {
                automaton_deinit(&automaton);
                return error_set(compiler->err, -E2BIG, "too many patterns");
        }
        r = automaton_add(&automaton, program(calls), &name.automaton.start, compiler->err);
        automaton_deinit(&automaton);
        if (r == 0)
                r = node_list_add_new(compiler, &sequence, &name);
        if (r == 0)
                r = add_literal(calls, &sequence, "\" string=\"");
        if (r == 0)
                r = node_list_add(compiler, &sequence, value);
        r = finish(calls, NODE_SEQUENCE, &sequence, r, &node);
        if (r == 0)
                r = add_word(calls, &loop->words, (uint32_t)loop->nodes.n,
                             "<" DSML "%sparameter name=\"", calls->space);
        return r < 0 ? r : node_list_add(compiler, &loop->nodes, node);
}

static bool is_required(json_t *schema, const char *name) {
        json_t *each;
        size_t i;
        json_array_foreach(json_object_get(schema, "required"), i,
                           each) if (json_is_string(each) &&
                                     strcmp(json_string_value(each), name) == 0) return true;
        return false;
}

static int add_parameters(const struct calls *calls, struct loop *loop, json_t *schema) {
        struct compiler *compiler = calls->compiler;
        json_t *value;
        const char *name;
        const struct place root = { .up = NULL }, *properties = PLACE_KEY(&root, "properties");
        json_object_foreach(json_object_get(schema, "properties"), name, value) {
                size_t n = loop->nodes.n;
                if (n + 2 == GRAMMAR_WORDS_TRACKED)
                        return schema_error(compiler, properties, -E2BIG, "more than %d parameters",
                                            GRAMMAR_WORDS_TRACKED - 2);
                uint32_t node;
                int r = add_value(calls, value, PLACE_KEY(properties, name), &node);
                if (r == 0)
                        r = add_word(calls, &loop->words, (uint32_t)n,
                                     "<" DSML "%sparameter name=\"%s\" string=\"", calls->space,
                                     name);
                if (r == 0)
                        r = node_list_add(compiler, &loop->nodes, node);
                if (r < 0)
                        return r;
                if (is_required(schema, name))
                        loop->required[n / 64] |= UINT64_C(1) << n % 64;
        }
        return 0;
}

/* What follows `invoke name="f">\n`. */
static int add_tool(const struct calls *calls, json_t *parameters, uint32_t *ret) {
        struct compiler *compiler = calls->compiler;
        json_t *schema = NULL;
        compiler_set_root(compiler, parameters);
        if (json_is_object(parameters)) {
                schema = schema_flatten(compiler, parameters, &(struct place){ .up = NULL });
                if (!schema)
                        return compiler->err->code;
        } else if (parameters && !json_is_null(parameters) && !json_is_boolean(parameters)) {
                return error_set(compiler->err, -EINVAL, "#: is no object");
        }
        struct loop loop = { 0 };
        struct node node = { .kind = NODE_LOOP };
        bool declares = json_object_size(json_object_get(schema, "properties")) > 0;
        int r = add_parameters(calls, &loop, schema);
        if (r == 0 && schema && !declares &&
            !json_is_false(json_object_get(schema, "additionalProperties"))) {
                node.loop.again = true;
                r = add_free_parameter(calls, &loop, schema);
        }
        if (r == 0)
                r = add_word(calls, &loop.words, VALUE_END, "</" DSML "%sinvoke>\n", calls->space);
        if (r == 0)
                r = add_word(calls, &loop.words, VALUE_END_EMPTY, "\n</" DSML "%sinvoke>\n",
                             calls->space);
        if (r == 0)
                r = add_loop(calls, &loop, node, ret);
        loop_deinit(&loop);
        return r;
}

/* -------- all tools -------- */

static bool is_callable(const struct calls *calls, size_t i, const char *name) {
        const char *only = calls->chat->tool;
        if (!name || (only && strcmp(name, only) != 0))
                return false;
        /* Of tools with one name the first counts. */
        for (size_t k = 0; k < i; k++) {
                const char *before = json_string_value(json_object_get(calls->tools[k], "name"));
                if (before && strcmp(before, name) == 0)
                        return false;
        }
        return true;
}

/* The calls behind the tag that opens the block. */
static int add_tools(const struct calls *calls, uint32_t *ret) {
        struct loop loop = { 0 };
        int r = 0;
        for (size_t i = 0; r == 0 && i < calls->chat->n_tools; i++) {
                const char *name = json_string_value(json_object_get(calls->tools[i], "name"));
                if (!is_callable(calls, i, name))
                        continue;
                uint32_t node;
                r = add_tool(calls, json_object_get(calls->tools[i], "parameters"), &node);
                if (r < 0)
                        error_prefix(calls->compiler->err, "tools[%zu].parameters", i);
                if (r == 0)
                        r = add_word(calls, &loop.words, (uint32_t)loop.nodes.n,
                                     "<" DSML "%sinvoke name=\"%s\">\n", calls->space, name);
                if (r == 0)
                        r = node_list_add(calls->compiler, &loop.nodes, node);
        }
        if (r == 0 && loop.nodes.n == 0)
                r = error_set(calls->compiler->err, -EINVAL, "tools: none of them can be called");
        if (r == 0)
                r = add_word(calls, &loop.words, VALUE_END, "</" DSML "%s%s>", calls->space,
                             calls->block);
        if (r == 0)
                r = add_loop(calls, &loop, (struct node){ .loop = { .again = true, .some = true } },
                             ret);
        loop_deinit(&loop);
        return r;
}

/* RAW ends behind "</" DSML: the rest of the tag follows. */
static int add_free_text(struct calls *calls) {
        struct node_list sequence = { 0 };
        int r = node_list_add_new(calls->compiler, &sequence, &(struct node){ .kind = NODE_RAW });
        if (r == 0)
                r = add_literal(calls, &sequence,
                                calls->space[0] ? " parameter>\n" : "parameter>\n");
        return finish(calls, NODE_SEQUENCE, &sequence, r, &calls->free_text);
}

/* -------- the answer -------- */

/* A block of calls from its very beginning, or from behind "<" DSML. */
static int add_block(const struct calls *calls, bool whole, uint32_t tools, uint32_t *ret) {
        struct node_list sequence = { 0 };
        char opening[64];
        snprintf(opening, sizeof(opening), "%s%s%s>\n", whole ? "\n\n<" DSML : "", calls->space,
                 calls->block);
        int r = add_literal(calls, &sequence, opening);
        if (r == 0)
                r = node_list_add(calls->compiler, &sequence, tools);
        return finish(calls, NODE_SEQUENCE, &sequence, r, ret);
}

static int add_free(const struct calls *calls, struct node_list *list, uint8_t trigger,
                    bool may_end) {
        const struct node node = { .kind = NODE_FREE,
                                   .free = { .trigger = trigger, .may_end = may_end } };
        return node_list_add_new(calls->compiler, list, &node);
}

/* What may follow the reasoning. `document` is NODE_NONE when any text may. */
static int add_text(const struct calls *calls, struct node_list *list, uint32_t document,
                    uint32_t tools) {
        struct compiler *compiler = calls->compiler;
        const struct grammar_chat *chat = calls->chat;
        uint32_t node;
        if (chat->n_tools == 0)
                return node_list_add(compiler, list, document);
        if (document == NODE_NONE && !chat->call_required) {
                int r = add_free(calls, list, SYMBOL_DSML, true);
                if (r == 0)
                        r = add_block(calls, false, tools, &node);
                return r < 0 ? r : node_list_add(compiler, list, node);
        }
        struct node_list ways = { 0 };
        int r = 0;
        if (!chat->call_required)
                r = node_list_add(compiler, &ways, document);
        if (r == 0)
                r = add_block(calls, true, tools, &node);
        if (r == 0)
                r = node_list_add(compiler, &ways, node);
        r = finish(calls, NODE_CHOICE, &ways, r, &node);
        return r < 0 ? r : node_list_add(compiler, list, node);
}

static int add_answer(struct calls *calls, json_t *schema) {
        struct compiler *compiler = calls->compiler;
        const struct grammar_chat *chat = calls->chat;
        struct node_list sequence = { 0 };
        uint32_t document = NODE_NONE, tools = NODE_NONE;
        int r = 0;
        if (schema) {
                r = schema_compile(compiler, schema, &(struct place){ .up = NULL }, &document);
                if (r < 0)
                        error_prefix(compiler->err, "json_schema");
        }
        if (r == 0 && chat->n_tools > 0)
                r = add_free_text(calls);
        if (r == 0 && chat->n_tools > 0)
                r = add_tools(calls, &tools);
        /* With a document or a call to come, the reasoning must come to its end. */
        if (r == 0 && chat->reasoning)
                r = add_free(calls, &sequence, SYMBOL_THINK_END,
                             !chat->call_required && document == NODE_NONE);
        if (r == 0)
                r = add_text(calls, &sequence, document, tools);
        program(calls)->needs_dsml = chat->n_tools > 0;
        program(calls)->needs_think_end = chat->reasoning;
        r = finish(calls, NODE_SEQUENCE, &sequence, r, &program(calls)->root);
        if (r < 0)
                return r;
        r = program_finish(program(calls), compiler->err);
        if (r < 0)
                error_prefix(compiler->err, schema ? "json_schema: #" : "tools");
        return r;
}

/* The tools' function objects, also inside {"type": "function", "function": ...}. */
static int parse_tools(const struct grammar_chat *chat, json_t **tools, struct error *err) {
        for (size_t i = 0; i < chat->n_tools; i++) {
                json_t *tool = schema_parse(chat->tools[i].text, chat->tools[i].n, err);
                if (!tool)
                        return error_prefix(err, "tools[%zu]", i);
                json_t *function = json_object_get(tool, "function");
                if (json_is_object(function)) {
                        json_incref(function);
                        json_decref(tool);
                        tool = function;
                }
                tools[i] = tool;
        }
        return 0;
}

int grammar_from_chat(const struct grammar_chat *chat, struct grammar **ret, struct error *err) {
        *ret = NULL;
        struct error unread;
        if (!err)
                err = &unread;
        if (chat->n_tools == 0 && !chat->schema.text)
                return error_set(err, -EINVAL, "neither tools nor a schema: nothing to hold to");
        struct compiler compiler;
        struct grammar *grammar = calloc(1, sizeof(*grammar));
        json_t **tools = calloc(chat->n_tools + 1, sizeof(*tools)), *schema = NULL;
        bool v41 = chat->dialect == GRAMMAR_DIALECT_V41;
        struct calls calls = { .compiler = &compiler,
                               .chat = chat,
                               .tools = tools,
                               .space = v41 ? " " : "",
                               .block = v41 ? "calls" : "tool_calls" };
        int r = grammar && tools ? 0 : error_set(err, -ENOMEM, "out of memory");
        if (r == 0)
                r = parse_tools(chat, tools, err);
        if (r == 0 && chat->schema.text) {
                schema = schema_parse(chat->schema.text, chat->schema.n, err);
                r = schema ? 0 : error_prefix(err, "json_schema");
        }
        if (r == 0) {
                compiler_init(&compiler, grammar, schema, err);
                r = add_answer(&calls, schema);
                compiler_deinit(&compiler);
        }
        for (size_t i = 0; tools && i < chat->n_tools; i++)
                json_decref(tools[i]);
        json_decref(schema);
        free(tools);
        if (r < 0) {
                grammar_free(grammar);
                return r;
        }
        *ret = grammar;
        return 0;
}
