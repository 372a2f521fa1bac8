#include "engine/grammar/schema_scalar.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/number_range.h"

int schema_add_words(struct compiler *compiler, struct node_list *list, struct new_words *words,
                     bool in_string) {
        if (words->n == 0)
                return 0;
        struct node node = { .kind = NODE_WORDS, .in_string = in_string };
        int r = program_add_words(compiler->grammar, words, &node.words, compiler->err);
        return r < 0 ? r : node_list_add_new(compiler, list, &node);
}

int schema_add_fixed(struct compiler *compiler, struct node_list *list, const char *a,
                     const char *b) {
        struct new_words words = { 0 };
        int r = new_words_add(&words, a, strlen(a), 0);
        if (r == 0 && b)
                r = new_words_add(&words, b, strlen(b), 0);
        if (r < 0)
                error_set(compiler->err, r, "out of memory");
        else
                r = schema_add_words(compiler, list, &words, false);
        new_words_deinit(&words);
        return r;
}

static int add_automaton_node(struct compiler *compiler, const struct automaton *automaton,
                              bool in_string, uint32_t *ret) {
        struct node node = { .kind = NODE_AUTOMATON, .in_string = in_string };
        if (automaton->n_states == 0)
                node = (struct node){ .kind = NODE_NEVER };
        else {
                int r = automaton_add(automaton, compiler->grammar, &node.automaton.start,
                                      compiler->err);
                if (r < 0)
                        return r;
        }
        return program_add_node(compiler->grammar, &node, ret, compiler->err);
}

/* The same bounds and patterns come again and again: each becomes one node. */
static bool recall_pattern(struct compiler *compiler, const char *key, uint32_t *ret) {
        json_t *node = json_object_get(compiler->patterns, key);
        *ret = (uint32_t)json_integer_value(node);
        return node != NULL;
}

static void remember_pattern(struct compiler *compiler, const char *key, uint32_t node) {
        json_object_set_new(compiler->patterns, key, json_integer(node));
}

/* Of our own patterns, which are within every bound but the steps. */
static int add_number_pattern(struct compiler *compiler, const char *pattern, uint32_t *ret) {
        struct automaton automaton;
        if (recall_pattern(compiler, pattern, ret))
                return 0;
        int r = automaton_from_pattern(pattern, strlen(pattern), &compiler->pattern_steps,
                                       &automaton);
        if (r == -ENOTSUP)
                return error_set(compiler->err, -E2BIG, "too many patterns and ranges of numbers");
        if (r < 0)
                return error_set(compiler->err, r, "out of memory");
        r = add_automaton_node(compiler, &automaton, false, ret);
        if (r == 0)
                remember_pattern(compiler, pattern, *ret);
        automaton_deinit(&automaton);
        return r;
}

/* A number without bounds; one node for all. */
int schema_plain_number(struct compiler *compiler, bool whole, uint32_t *ret) {
        uint32_t *node = whole ? &compiler->whole : &compiler->decimal;
        int r = 0;
        if (*node == NODE_NONE)
                r = add_number_pattern(compiler,
                                       whole ? number_pattern_whole : number_pattern_decimal, node);
        *ret = *node;
        return r;
}

/* A bound as a whole number, rounded down or up. */
static int64_t rounded(json_t *json, bool up) {
        int64_t most = NUMBER_WHOLE_MAX + 1;
        if (json_is_integer(json)) {
                json_int_t value = json_integer_value(json);
                return value > most ? most : value < -most ? -most : value;
        }
        double value = up ? ceil(json_real_value(json)) : floor(json_real_value(json));
        if (value >= (double)most)
                return most;
        return value <= -(double)most ? -most : (int64_t)value;
}

bool number_is_whole(json_t *json) {
        if (json_is_integer(json))
                return true;
        double value = json_real_value(json);
        return !(value < floor(value)) && !(value > floor(value));
}

/* Both bounds of `number` are rounded outwards, those of `integer` inwards. True when there are
 * any. */
static bool read_range(json_t *schema, bool whole, struct number_range *ret) {
        json_t *min = json_object_get(schema, "minimum"), *max = json_object_get(schema, "maximum");
        json_t *above = json_object_get(schema, "exclusiveMinimum");
        json_t *below = json_object_get(schema, "exclusiveMaximum");
        *ret = (struct number_range){ -NUMBER_WHOLE_MAX - 1, NUMBER_WHOLE_MAX + 1, true, true };
        /* In draft 4, "exclusiveMinimum": true says that "minimum" itself is outside. */
        if (json_is_true(above))
                above = min;
        if (json_is_true(below))
                below = max;
        bool any = false;
        if (json_is_number(min)) {
                ret->low = rounded(min, whole);
                ret->without_low = false;
                any = true;
        }
        if (json_is_number(above) && rounded(above, false) >= ret->low) {
                ret->low = rounded(above, false);
                ret->without_low = number_is_whole(above);
                any = true;
                if (whole) /* the first above, be it a fraction or not */
                        ret->low++;
        }
        if (json_is_number(max)) {
                ret->high = rounded(max, !whole);
                ret->without_high = false;
                any = true;
        }
        if (json_is_number(below) && rounded(below, true) <= ret->high) {
                ret->high = rounded(below, true);
                ret->without_high = number_is_whole(below);
                any = true;
                if (whole)
                        ret->high--;
        }
        return any;
}

int schema_add_number(struct compiler *compiler, struct node_list *list, json_t *schema,
                      bool whole) {
        struct number_range range;
        uint32_t node;
        int r;
        if (!read_range(schema, whole, &range)) {
                r = schema_plain_number(compiler, whole, &node);
                return r < 0 ? r : node_list_add(compiler, list, node);
        }
        if (whole) {
                if (range.low < -NUMBER_WHOLE_MAX)
                        range.low = -NUMBER_WHOLE_MAX;
                if (range.high > NUMBER_WHOLE_MAX)
                        range.high = NUMBER_WHOLE_MAX;
        }
        bool outside = !whole && (range.without_low || range.without_high);
        if (range.low > range.high || (range.low == range.high && outside))
                return 0;
        char pattern[NUMBER_PATTERN_MAX];
        if (whole)
                number_range_whole(&range, pattern);
        else
                number_range_decimal(&range, pattern);
        r = add_number_pattern(compiler, pattern, &node);
        return r < 0 ? r : node_list_add(compiler, list, node);
}

uint32_t schema_count(json_t *json, uint32_t otherwise) {
        if (!json_is_number(json))
                return otherwise;
        double value = json_number_value(json);
        if (!(value > 0))
                return 0;
        return value >= UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

/* Strings whose pattern is within the subset, with their length: -ENOTSUP when it is not. */
static int compile_pattern(struct compiler *compiler, json_t *pattern, const struct node *length,
                           uint32_t *ret) {
        struct automaton automaton;
        int r = automaton_from_pattern(json_string_value(pattern), json_string_length(pattern),
                                       &compiler->pattern_steps, &automaton);
        if (r == 0)
                r = automaton_limit_length(&automaton, length->string.min, length->string.max,
                                           &compiler->pattern_steps);
        if (r == 0)
                r = automaton_quote(&automaton);
        if (r == -ENOMEM)
                error_set(compiler->err, r, "out of memory");
        if (r == 0)
                r = add_automaton_node(compiler, &automaton, true, ret);
        automaton_deinit(&automaton);
        return r;
}

int schema_add_string(struct compiler *compiler, struct node_list *list, json_t *schema) {
        struct node node = { .kind = NODE_STRING };
        node.string.min = schema_count(json_object_get(schema, "minLength"), 0);
        node.string.max = schema_count(json_object_get(schema, "maxLength"), UINT32_MAX);
        json_t *pattern = json_object_get(schema, "pattern");
        if (!json_is_string(pattern))
                return node_list_add_new(compiler, list, &node);
        char *key = NULL;
        uint32_t index = NODE_NONE;
        int r = 0;
        if (asprintf(&key, "%u %u \"%s", node.string.min, node.string.max,
                     json_string_value(pattern)) < 0)
                return error_set(compiler->err, -ENOMEM, "out of memory");
        if (!recall_pattern(compiler, key, &index)) {
                r = compile_pattern(compiler, pattern, &node, &index);
                if (r == -ENOTSUP) /* the length holds, the pattern does not */
                        r = program_add_node(compiler->grammar, &node, &index, compiler->err);
                if (r == 0)
                        remember_pattern(compiler, key, index);
        }
        free(key);
        return r < 0 ? r : node_list_add(compiler, list, index);
}
