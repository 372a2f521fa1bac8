#include "engine/grammar/schema.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/json_spelling.h"
#include "engine/grammar/schema_merge.h"
#include "engine/grammar/schema_scalar.h"

enum type {
        TYPE_NULL = 1 << 0,
        TYPE_BOOLEAN = 1 << 1,
        TYPE_INTEGER = 1 << 2,
        TYPE_NUMBER = 1 << 3,
        TYPE_STRING = 1 << 4,
        TYPE_ARRAY = 1 << 5,
        TYPE_OBJECT = 1 << 6,
        TYPES_ALL = (1 << 7) - 1,
};

/* -------- what was compiled already -------- */

struct schema_memo {
        json_t *schema; /* NULL: free */
        uint32_t node;
};

static size_t memo_slot(const struct compiler *compiler, json_t *schema) {
        size_t slot = ((uintptr_t)schema / 16 * 0x9e3779b97f4a7c15) % compiler->memo_room;
        while (compiler->memo[slot].schema && compiler->memo[slot].schema != schema)
                slot = (slot + 1) % compiler->memo_room;
        return slot;
}

static uint32_t recall(const struct compiler *compiler, json_t *schema) {
        if (compiler->memo_room == 0)
                return NODE_NONE;
        const struct schema_memo *memo = &compiler->memo[memo_slot(compiler, schema)];
        return memo->schema ? memo->node : NODE_NONE;
}

static int remember(struct compiler *compiler, json_t *schema, uint32_t node) {
        if (2 * (compiler->n_memo + 1) > compiler->memo_room) {
                struct schema_memo *old = compiler->memo;
                size_t old_room = compiler->memo_room;
                size_t room = old_room > 0 ? 2 * old_room : 64;
                compiler->memo = calloc(room, sizeof(*compiler->memo));
                if (!compiler->memo) {
                        compiler->memo = old;
                        return error_set(compiler->err, -ENOMEM, "out of memory");
                }
                compiler->memo_room = room;
                for (size_t i = 0; i < old_room; i++)
                        if (old[i].schema)
                                compiler->memo[memo_slot(compiler, old[i].schema)] = old[i];
                free(old);
        }
        struct schema_memo *memo = &compiler->memo[memo_slot(compiler, schema)];
        compiler->n_memo += !memo->schema;
        *memo = (struct schema_memo){ schema, node };
        return 0;
}

void compiler_init(struct compiler *compiler, struct grammar *grammar, json_t *root,
                   struct error *err) {
        *compiler = (struct compiler){
                .grammar = grammar,
                .root = root,
                .owned = json_array(),
                .patterns = json_object(),
                .pattern_steps = AUTOMATON_STEPS_MAX,
                .merges_left = SCHEMA_MERGES_MAX,
                .any = NODE_NONE,
                .whole = NODE_NONE,
                .decimal = NODE_NONE,
                .err = err,
        };
}

void compiler_set_root(struct compiler *compiler, json_t *root) {
        compiler->root = root;
}

void compiler_deinit(struct compiler *compiler) {
        json_decref(compiler->owned);
        json_decref(compiler->patterns);
        free(compiler->memo);
}

/* -------- nodes -------- */

static int add_node(struct compiler *compiler, const struct node *node, uint32_t *ret) {
        return program_add_node(compiler->grammar, node, ret, compiler->err);
}

int schema_add_literal(struct compiler *compiler, const char *text, size_t n, uint32_t *ret) {
        struct new_words words = { 0 };
        struct node node = { .kind = NODE_WORDS };
        int r = new_words_add(&words, text, n, 0);
        if (r < 0)
                error_set(compiler->err, r, "out of memory");
        if (r == 0)
                r = program_add_words(compiler->grammar, &words, &node.words, compiler->err);
        new_words_deinit(&words);
        return r < 0 ? r : add_node(compiler, &node, ret);
}

int schema_add_list_node(struct compiler *compiler, enum node_kind kind, const uint32_t *list,
                         size_t n, uint32_t *ret) {
        struct node node = { .kind = (uint8_t)kind, .list.n = (uint32_t)n };
        int r = program_add_list(compiler->grammar, list, n, &node.list.first, compiler->err);
        return r < 0 ? r : add_node(compiler, &node, ret);
}

int node_list_add(struct compiler *compiler, struct node_list *list, uint32_t node) {
        if (list->n == list->room) {
                size_t room = list->room > 0 ? 2 * list->room : 8;
                uint32_t *larger = realloc(list->nodes, room * sizeof(*larger));
                if (!larger)
                        return error_set(compiler->err, -ENOMEM, "out of memory");
                list->nodes = larger;
                list->room = room;
        }
        list->nodes[list->n++] = node;
        return 0;
}

int node_list_add_new(struct compiler *compiler, struct node_list *list, const struct node *node) {
        uint32_t index;
        int r = program_add_node(compiler->grammar, node, &index, compiler->err);
        return r < 0 ? r : node_list_add(compiler, list, index);
}

/* -------- arrays -------- */

/* `items` of draft 2020-12 is a schema; before, a list in "items" meant "prefixItems", and
 * "additionalItems" what "items" means now. */
static int add_array(struct compiler *compiler, struct node_list *list, json_t *schema,
                     const struct place *place) {
        json_t *items = json_object_get(schema, "items");
        json_t *prefix = json_object_get(schema, "prefixItems");
        const char *items_key = "items", *prefix_key = "prefixItems";
        if (json_is_array(items)) {
                prefix = items;
                prefix_key = items_key;
                items_key = "additionalItems";
                items = json_object_get(schema, items_key);
        }
        struct node node = { .kind = NODE_ARRAY };
        node.array.min = schema_count(json_object_get(schema, "minItems"), 0);
        node.array.max = schema_count(json_object_get(schema, "maxItems"), UINT32_MAX);
        int r = schema_compile(compiler, items ? items : json_true(), PLACE_KEY(place, items_key),
                               &node.array.items);
        struct node_list first = { 0 };
        for (size_t i = 0; r == 0 && i < json_array_size(prefix); i++) {
                uint32_t item = NODE_NONE;
                r = schema_compile(compiler, json_array_get(prefix, i),
                                   PLACE_INDEX(PLACE_KEY(place, prefix_key), i), &item);
                if (r == 0)
                        r = node_list_add(compiler, &first, item);
        }
        node.array.n_prefix = (uint32_t)first.n;
        if (r == 0)
                r = program_add_list(compiler->grammar, first.nodes, first.n, &node.array.prefix,
                                     compiler->err);
        free(first.nodes);
        return r < 0 ? r : node_list_add_new(compiler, list, &node);
}

/* -------- objects -------- */

/* Names that are not declared: what "additionalProperties" says, and since names are not matched
 * against "patternProperties", what any of those says as well. */
static int compile_additional(struct compiler *compiler, json_t *schema, const struct place *place,
                              uint32_t *ret) {
        json_t *additional = json_object_get(schema, "additionalProperties"), *value;
        json_t *patterns = json_object_get(schema, "patternProperties");
        const char *key;
        struct node_list list = { 0 };
        uint32_t node;
        int r = schema_compile(compiler, additional ? additional : json_true(),
                               PLACE_KEY(place, "additionalProperties"), &node);
        if (r == 0)
                r = node_list_add(compiler, &list, node);
        json_object_foreach(patterns, key, value) {
                if (r == 0)
                        r = schema_compile(compiler, value,
                                           PLACE_KEY(PLACE_KEY(place, "patternProperties"), key),
                                           &node);
                if (r == 0)
                        r = node_list_add(compiler, &list, node);
        }
        if (r == 0)
                r = list.n == 1
                        ? 0
                        : schema_add_list_node(compiler, NODE_CHOICE, list.nodes, list.n, &node);
        *ret = node;
        free(list.nodes);
        return r;
}

/* Names of one object, sorted once they are complete. `value` of a word is the place of its node in
 * `values`. */
struct names {
        struct new_words words;
        struct node_list values;
};

static int add_name(struct compiler *compiler, struct names *names, const char *name,
                    uint32_t value) {
        if (names->words.n == GRAMMAR_WORDS_TRACKED)
                return error_set(compiler->err, -E2BIG, "an object has more than %d properties",
                                 GRAMMAR_WORDS_TRACKED);
        size_t n;
        char *spelt = json_spell_string(name, &n);
        int r = spelt ? new_words_add(&names->words, spelt + 1, n - 2, (uint32_t)names->values.n)
                      : -ENOMEM;
        free(spelt);
        if (r < 0)
                return error_set(compiler->err, r, "out of memory");
        return node_list_add(compiler, &names->values, value);
}

static int add_properties(struct compiler *compiler, struct names *names, json_t *schema,
                          const struct place *place, uint32_t additional) {
        json_t *properties = json_object_get(schema, "properties"), *value;
        json_t *required = json_object_get(schema, "required");
        const char *name;
        int r = 0;
        json_object_foreach(properties, name, value) {
                uint32_t node = NODE_NONE;
                r = schema_compile(compiler, value, PLACE_KEY(PLACE_KEY(place, "properties"), name),
                                   &node);
                if (r == 0)
                        r = add_name(compiler, names, name, node);
                if (r < 0)
                        return r;
        }
        if (json_array_size(required) > GRAMMAR_WORDS_TRACKED)
                return schema_error(compiler, place, -E2BIG, "requires more than %d properties",
                                    GRAMMAR_WORDS_TRACKED);
        /* Required and not declared: as any other name. */
        size_t i;
        json_array_foreach(required, i, value) {
                if (json_is_string(value) && !json_object_get(properties, json_string_value(value)))
                        r = add_name(compiler, names, json_string_value(value), additional);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int mark_required(struct compiler *compiler, const struct names *names, json_t *schema,
                         uint64_t *bits) {
        json_t *required = json_object_get(schema, "required"), *name;
        size_t i;
        json_array_foreach(required, i, name) {
                if (!json_is_string(name))
                        continue;
                size_t n;
                char *spelt = json_spell_string(json_string_value(name), &n);
                if (!spelt)
                        return error_set(compiler->err, -ENOMEM, "out of memory");
                for (size_t k = 0; k < names->words.n; k++)
                        if (names->words.words[k].n == n - 2 &&
                            memcmp(names->words.words[k].text, spelt + 1, n - 2) == 0)
                                bits[k / 64] |= UINT64_C(1) << k % 64;
                free(spelt);
        }
        return 0;
}

static int add_object(struct compiler *compiler, struct node_list *list, json_t *schema,
                      const struct place *place) {
        struct node node = { .kind = NODE_OBJECT };
        struct names names = { 0 };
        int r = compile_additional(compiler, schema, place, &node.object.additional);
        if (r == 0)
                r = add_properties(compiler, &names, schema, place, node.object.additional);
        if (r == 0)
                r = program_add_words(compiler->grammar, &names.words, &node.object.names,
                                      compiler->err);
        if (r == 0)
                r = mark_required(compiler, &names, schema, node.object.required);
        uint32_t values[GRAMMAR_WORDS_TRACKED];
        for (size_t i = 0; r == 0 && i < names.words.n; i++) {
                const struct new_word *word = &names.words.words[i];
                values[i] = names.values.nodes[word->value];
                if (memmem(word->text, word->n, "\\u", 2))
                        node.object.odd_names = true;
        }
        if (r == 0)
                r = program_add_list(compiler->grammar, values, names.words.n, &node.object.values,
                                     compiler->err);
        new_words_deinit(&names.words);
        free(names.values.nodes);
        return r < 0 ? r : node_list_add_new(compiler, list, &node);
}

/* -------- any value -------- */

int schema_any(struct compiler *compiler, uint32_t *ret) {
        if (compiler->any != NODE_NONE) {
                *ret = compiler->any;
                return 0;
        }
        struct node_list list = { 0 };
        struct node object = { .kind = NODE_OBJECT }, array = { .kind = NODE_ARRAY };
        struct node string = { .kind = NODE_STRING, .string.max = UINT32_MAX };
        uint32_t number;
        int r = add_node(compiler, &(struct node){ .kind = NODE_CHOICE }, &compiler->any);
        object.object.additional = array.array.items = compiler->any;
        array.array.max = UINT32_MAX;
        if (r == 0)
                r = node_list_add_new(compiler, &list, &object);
        if (r == 0)
                r = node_list_add_new(compiler, &list, &array);
        if (r == 0)
                r = node_list_add_new(compiler, &list, &string);
        if (r == 0)
                r = schema_plain_number(compiler, false, &number);
        if (r == 0)
                r = node_list_add(compiler, &list, number);
        if (r == 0)
                r = schema_add_fixed(compiler, &list, "true", "false");
        if (r == 0)
                r = schema_add_fixed(compiler, &list, "null", NULL);
        uint32_t first;
        if (r == 0)
                r = program_add_list(compiler->grammar, list.nodes, list.n, &first, compiler->err);
        if (r == 0) {
                struct node *any = &compiler->grammar->nodes[compiler->any];
                any->list.first = first;
                any->list.n = (uint32_t)list.n;
        }
        free(list.nodes);
        *ret = compiler->any;
        return r;
}

/* -------- enum and const -------- */

/* A schema for one object or array, member by member. */
static json_t *schema_of_value(struct compiler *compiler, json_t *value) {
        json_t *schema = json_object(), *members, *required = json_array(), *member;
        const char *name;
        size_t i;
        if (json_is_object(value)) {
                members = json_object();
                json_object_foreach(value, name, member) {
                        json_object_set_new(members, name, json_pack("{s:O}", "const", member));
                        json_array_append_new(required, json_string(name));
                }
                json_object_set_new(schema, "type", json_string("object"));
                json_object_set_new(schema, "properties", members);
                json_object_set(schema, "required", required);
                json_object_set_new(schema, "additionalProperties", json_false());
        } else {
                members = json_array();
                json_array_foreach(value, i, member)
                        json_array_append_new(members, json_pack("{s:O}", "const", member));
                json_object_set_new(schema, "type", json_string("array"));
                json_object_set_new(schema, "prefixItems", members);
                json_object_set_new(schema, "items", json_false());
                json_object_set_new(schema, "minItems",
                                    json_integer((json_int_t)json_array_size(value)));
        }
        json_decref(required);
        if (json_array_append_new(compiler->owned, schema) < 0)
                return NULL;
        return schema;
}

static int compile_value(struct compiler *compiler, json_t *value, const struct place *place,
                         uint32_t *ret) {
        json_t *schema = schema_of_value(compiler, value);
        if (!schema)
                return error_set(compiler->err, -ENOMEM, "out of memory");
        return schema_compile(compiler, schema, place, ret);
}

static unsigned type_of(json_t *value) {
        switch (json_typeof(value)) {
        case JSON_OBJECT: return TYPE_OBJECT;
        case JSON_ARRAY: return TYPE_ARRAY;
        case JSON_STRING: return TYPE_STRING;
        case JSON_INTEGER: return TYPE_INTEGER | TYPE_NUMBER;
        case JSON_REAL: return number_is_whole(value) ? TYPE_INTEGER | TYPE_NUMBER : TYPE_NUMBER;
        case JSON_NULL: return TYPE_NULL;
        default: return TYPE_BOOLEAN;
        }
}

static int add_enum(struct compiler *compiler, struct node_list *list, json_t *values,
                    unsigned types, const struct place *place) {
        struct new_words strings = { 0 }, others = { 0 };
        json_t *value;
        size_t i;
        int r = 0;
        json_array_foreach(values, i, value) {
                if (r < 0 || (type_of(value) & types) == 0)
                        continue;
                if (json_is_object(value) || json_is_array(value)) {
                        uint32_t node;
                        r = compile_value(compiler, value, PLACE_INDEX(place, i), &node);
                        if (r == 0)
                                r = node_list_add(compiler, list, node);
                        continue;
                }
                size_t n;
                char *spelt = json_spell(value, &n);
                r = spelt ? new_words_add(json_is_string(value) ? &strings : &others, spelt, n, 0)
                          : -ENOMEM;
                if (r < 0)
                        error_set(compiler->err, r, "out of memory");
                free(spelt);
        }
        if (r == 0)
                r = schema_add_words(compiler, list, &strings, true);
        if (r == 0)
                r = schema_add_words(compiler, list, &others, false);
        new_words_deinit(&strings);
        new_words_deinit(&others);
        return r;
}

/* -------- one schema -------- */

static unsigned type_named(const char *name) {
        static const char *const names[] = { "null",   "boolean", "integer", "number",
                                             "string", "array",   "object" };
        for (unsigned i = 0; i < 7; i++)
                if (strcmp(names[i], name) == 0)
                        return 1u << i;
        return 0;
}

/* Without a type, its keywords tell: a schema with "properties" means an object, though by the
 * letter it would accept every number as well. */
static unsigned implied_types(json_t *schema) {
        static const struct {
                const char *keyword;
                unsigned type;
        } implied[] = {
                { "properties", TYPE_OBJECT },
                { "required", TYPE_OBJECT },
                { "additionalProperties", TYPE_OBJECT },
                { "patternProperties", TYPE_OBJECT },
                { "items", TYPE_ARRAY },
                { "prefixItems", TYPE_ARRAY },
                { "minItems", TYPE_ARRAY },
                { "maxItems", TYPE_ARRAY },
                { "pattern", TYPE_STRING },
                { "minLength", TYPE_STRING },
                { "maxLength", TYPE_STRING },
                { "minimum", TYPE_NUMBER },
                { "maximum", TYPE_NUMBER },
                { "exclusiveMinimum", TYPE_NUMBER },
                { "exclusiveMaximum", TYPE_NUMBER },
        };
        unsigned types = 0;
        for (size_t i = 0; i < sizeof(implied) / sizeof(*implied); i++)
                if (json_object_get(schema, implied[i].keyword))
                        types |= implied[i].type;
        return types;
}

static unsigned read_types(json_t *schema) {
        json_t *type = json_object_get(schema, "type"), *each;
        unsigned types = 0;
        size_t i;
        if (json_is_string(type))
                types = type_named(json_string_value(type));
        json_array_foreach(type, i, each) if (json_is_string(each)) types |=
                type_named(json_string_value(each));
        /* No known type in an empty list, which merging leaves: nothing fits. */
        if (types == 0 && json_is_array(type) && json_array_size(type) == 0)
                return 0;
        if (types == 0 && !json_object_get(schema, "enum") && !json_object_get(schema, "const"))
                types = implied_types(schema);
        if (types == 0)
                types = TYPES_ALL;
        if (json_is_true(json_object_get(schema, "nullable")))
                types |= TYPE_NULL;
        return types;
}

bool schema_may_be_string(json_t *schema) {
        return json_is_object(schema) ? (read_types(schema) & TYPE_STRING) != 0
                                      : json_is_true(schema);
}

static int add_types(struct compiler *compiler, struct node_list *list, json_t *schema,
                     unsigned types, const struct place *place) {
        int r = 0;
        if (types & TYPE_OBJECT)
                r = add_object(compiler, list, schema, place);
        if (r == 0 && types & TYPE_ARRAY)
                r = add_array(compiler, list, schema, place);
        if (r == 0 && types & TYPE_STRING)
                r = schema_add_string(compiler, list, schema);
        if (r == 0 && types & (TYPE_NUMBER | TYPE_INTEGER))
                r = schema_add_number(compiler, list, schema, !(types & TYPE_NUMBER));
        if (r == 0 && types & TYPE_BOOLEAN)
                r = schema_add_fixed(compiler, list, "true", "false");
        if (r == 0 && types & TYPE_NULL)
                r = schema_add_fixed(compiler, list, "null", NULL);
        return r;
}

/* A schema without alternatives. */
static int add_plain(struct compiler *compiler, struct node_list *list, json_t *schema,
                     const struct place *place) {
        unsigned types = read_types(schema);
        json_t *values = json_object_get(schema, "enum"), *only = json_object_get(schema, "const");
        if (only) {
                json_t *one = json_pack("[O]", only);
                int r = !one ? error_set(compiler->err, -ENOMEM, "out of memory")
                             : add_enum(compiler, list, one, types, PLACE_KEY(place, "const"));
                json_decref(one);
                return r;
        }
        if (json_is_array(values))
                return add_enum(compiler, list, values, types, PLACE_KEY(place, "enum"));
        if (types == TYPES_ALL && !schema_constrains(schema, NULL)) {
                uint32_t any;
                int r = schema_any(compiler, &any);
                return r < 0 ? r : node_list_add(compiler, list, any);
        }
        return add_types(compiler, list, schema, types, place);
}

/* "anyOf"; "oneOf" is taken for the same. Keywords beside it hold for each alternative. */
static int add_alternatives(struct compiler *compiler, struct node_list *list, json_t *schema,
                            const char *key, const struct place *place) {
        const char *const but[] = { key, NULL };
        json_t *alternatives = json_object_get(schema, key), *base = NULL, *member;
        if (schema_constrains(schema, but)) {
                base = schema_without(compiler, schema, key);
                if (!base)
                        return compiler->err->code;
        }
        size_t i;
        json_array_foreach(alternatives, i, member) {
                const struct place *at = PLACE_INDEX(PLACE_KEY(place, key), i);
                if (base) {
                        member = schema_flatten(compiler, member, at);
                        member = member ? schema_merge(compiler, base, member, at) : NULL;
                        if (!member)
                                return compiler->err->code;
                }
                uint32_t node;
                int r = schema_compile(compiler, member, at, &node);
                if (r == 0)
                        r = node_list_add(compiler, list, node);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int compile_object(struct compiler *compiler, json_t *schema, const struct place *place,
                          uint32_t index) {
        json_t *flat = schema_flatten(compiler, schema, place);
        if (!flat)
                return compiler->err->code;
        struct node_list list = { 0 };
        uint32_t known = flat == schema ? NODE_NONE : recall(compiler, flat);
        int r = 0;
        if (json_is_boolean(flat) && known == NODE_NONE)
                r = schema_compile(compiler, flat, place, &known);
        if (known != NODE_NONE) {
                r = r < 0 ? r : node_list_add(compiler, &list, known);
        } else {
                if (flat != schema)
                        r = remember(compiler, flat, index);
                const char *key = NULL;
                if (json_is_array(json_object_get(flat, "anyOf")))
                        key = "anyOf";
                else if (json_is_array(json_object_get(flat, "oneOf")))
                        key = "oneOf";
                if (r == 0)
                        r = key ? add_alternatives(compiler, &list, flat, key, place)
                                : add_plain(compiler, &list, flat, place);
        }
        struct node node = { .kind = NODE_CHOICE, .list.n = (uint32_t)list.n };
        if (r == 0)
                r = program_add_list(compiler->grammar, list.nodes, list.n, &node.list.first,
                                     compiler->err);
        if (r == 0)
                compiler->grammar->nodes[index] = node;
        free(list.nodes);
        return r;
}

int schema_compile(struct compiler *compiler, json_t *schema, const struct place *place,
                   uint32_t *ret) {
        if (json_is_true(schema))
                return schema_any(compiler, ret);
        if (json_is_false(schema))
                return add_node(compiler, &(struct node){ .kind = NODE_NEVER }, ret);
        if (!json_is_object(schema))
                return schema_error(compiler, place, -EINVAL, "a schema is an object or a boolean");
        *ret = recall(compiler, schema);
        if (*ret != NODE_NONE)
                return 0;
        /* Known before it is compiled: it may refer to itself. */
        int r = add_node(compiler, &(struct node){ .kind = NODE_CHOICE }, ret);
        if (r == 0)
                r = remember(compiler, schema, *ret);
        return r < 0 ? r : compile_object(compiler, schema, place, *ret);
}

/* -------- a whole schema -------- */

/* Whole numbers that were read as reals, as integers again. Recursion: jansson nests at most 2,048
 * deep. */
static void whole_again(json_t *value) {
        const char *name;
        json_t *member;
        void *next;
        size_t i;
        if (json_is_array(value)) {
                json_array_foreach(value, i, member) {
                        double real = json_real_value(member);
                        if (json_is_real(member) && real == trunc(real) && fabs(real) < 0x1p53)
                                json_array_set_new(value, i, json_integer((json_int_t)real));
                        else
                                whole_again(member);
                }
        } else if (json_is_object(value)) {
                json_object_foreach_safe(value, next, name, member) {
                        double real = json_real_value(member);
                        if (json_is_real(member) && real == trunc(real) && fabs(real) < 0x1p53)
                                json_object_set_new(value, name, json_integer((json_int_t)real));
                        else
                                whole_again(member);
                }
        }
}

/* Bounds such as 18446744073709551615 are legal, but no integers of jansson's. */
static json_t *read_large(const char *text, size_t n, json_error_t *failure) {
        json_t *root = json_loadb(text, n, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, failure);
        if (root)
                whole_again(root);
        return root;
}

json_t *schema_parse(const char *text, size_t n, struct error *err) {
        if (n > GRAMMAR_SCHEMA_BYTES_MAX) {
                error_set(err, -E2BIG, "#: %zu bytes, at most %u", n, GRAMMAR_SCHEMA_BYTES_MAX);
                return NULL;
        }
        json_error_t failure;
        json_t *root = json_loadb(text, n, JSON_DECODE_ANY, &failure);
        if (!root && json_error_code(&failure) == json_error_numeric_overflow)
                root = read_large(text, n, &failure);
        if (!root)
                error_set(err, -EINVAL, "#: no JSON: line %d, column %d: %s", failure.line,
                          failure.column, failure.text);
        return root;
}

int grammar_from_schema(const char *json, size_t n, struct grammar **ret, struct error *err) {
        *ret = NULL;
        struct error unread;
        if (!err)
                err = &unread;
        json_t *root = schema_parse(json, n, err);
        if (!root)
                return err->code;
        struct grammar *grammar = calloc(1, sizeof(*grammar));
        if (!grammar) {
                json_decref(root);
                return error_set(err, -ENOMEM, "out of memory");
        }
        struct compiler compiler;
        compiler_init(&compiler, grammar, root, err);
        grammar->blanks_first = true;
        int r = schema_compile(&compiler, root, &(struct place){ .up = NULL }, &grammar->root);
        if (r == 0)
                r = program_finish(grammar, err);
        if (r < 0 && err->text[0] != '#')
                error_prefix(err, "#");
        compiler_deinit(&compiler);
        json_decref(root);
        if (r < 0) {
                grammar_free(grammar);
                return r;
        }
        *ret = grammar;
        return 0;
}
