#include "engine/grammar/schema_merge.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* -------- places -------- */

void place_print(const struct place *place, char *ret, size_t n) {
        const struct place *ways[SCHEMA_DEPTH_MAX + 2];
        size_t n_ways = 0, at = 0;
        for (; place && place->up && n_ways < SCHEMA_DEPTH_MAX + 2; place = place->up)
                ways[n_ways++] = place;
        ret[at++] = '#';
        while (n_ways-- > 0 && at + 24 < n) {
                ret[at++] = '/';
                const char *key = ways[n_ways]->key;
                if (!key)
                        at += (size_t)snprintf(ret + at, n - at, "%zu", ways[n_ways]->index);
                for (; key && *key && at + 3 < n; key++) {
                        if (*key == '~' || *key == '/') {
                                ret[at++] = '~';
                                ret[at++] = *key == '~' ? '0' : '1';
                        } else {
                                ret[at++] = *key;
                        }
                }
        }
        ret[at] = 0;
}

int schema_error(struct compiler *compiler, const struct place *place, int code, const char *format,
                 ...) {
        char pointer[256], text[256];
        place_print(place, pointer, sizeof(pointer));
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        return error_set(compiler->err, code, "%s: %s", pointer, text);
}

/* -------- references -------- */

/* One step of a JSON pointer, with ~0, ~1 and %XX undone. */
static size_t unescape(const char *from, size_t n, char *to) {
        size_t at = 0;
        for (size_t i = 0; i < n; i++) {
                unsigned byte;
                if (from[i] == '~' && i + 1 < n && (from[i + 1] == '0' || from[i + 1] == '1')) {
                        to[at++] = from[++i] == '0' ? '~' : '/';
                } else if (from[i] == '%' && i + 2 < n && sscanf(from + i + 1, "%2x", &byte) == 1) {
                        to[at++] = (char)byte;
                        i += 2;
                } else {
                        to[at++] = from[i];
                }
        }
        to[at] = 0;
        return at;
}

static json_t *child(json_t *json, const char *key) {
        if (json_is_array(json)) {
                char *end;
                unsigned long index = strtoul(key, &end, 10);
                return *key >= '0' && *key <= '9' && *end == 0 ? json_array_get(json, index) : NULL;
        }
        return json_object_get(json, key);
}

json_t *schema_resolve(struct compiler *compiler, const char *reference,
                       const struct place *place) {
        json_t *at = reference[0] == '#' ? compiler->root : NULL;
        const char *rest = reference + 1;
        char *key = malloc(strlen(reference) + 1);
        if (!key) {
                error_set(compiler->err, -ENOMEM, "out of memory");
                return NULL;
        }
        while (at && *rest == '/') {
                size_t n = strcspn(rest + 1, "/");
                unescape(rest + 1, n, key);
                at = child(at, key);
                rest += 1 + n;
        }
        free(key);
        if (!at || *rest != 0) {
                schema_error(compiler, place, -EINVAL, "'%.100s' is not in the schema", reference);
                return NULL;
        }
        return at;
}

/* -------- merging -------- */

static const char *const constraining[] = {
        "$ref",
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "const",
        "anyOf",
        "oneOf",
        "allOf",
        "nullable",
        "minLength",
        "maxLength",
        "pattern",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minItems",
        "maxItems",
        "prefixItems",
        "additionalItems",
        "patternProperties",
        NULL,
};

static bool is_among(const char *const *list, const char *key) {
        for (; list && *list; list++)
                if (strcmp(*list, key) == 0)
                        return true;
        return false;
}

bool schema_constrains(json_t *schema, const char *const *but) {
        if (!json_is_object(schema))
                return json_is_false(schema);
        for (size_t i = 0; constraining[i]; i++)
                if (!is_among(but, constraining[i]) && json_object_get(schema, constraining[i]))
                        return true;
        return false;
}

static json_t *own(struct compiler *compiler, json_t *json) {
        if (json && json_array_append_new(compiler->owned, json) == 0)
                return json;
        error_set(compiler->err, -ENOMEM, "out of memory");
        return NULL;
}

/* {"allOf": [a, b]}, joined once it is compiled. */
static json_t *both(json_t *a, json_t *b) {
        if (json_is_true(a) || (json_is_object(a) && json_object_size(a) == 0))
                return json_incref(b);
        if (json_is_true(b) || (json_is_object(b) && json_object_size(b) == 0) || a == b)
                return json_incref(a);
        if (json_is_false(a) || json_is_false(b))
                return json_false();
        json_t *all = json_object();
        json_t *list = json_array();
        json_array_append(list, a);
        json_array_append(list, b);
        json_object_set_new(all, "allOf", list);
        return all;
}

static bool type_within(const char *type, json_t *types) {
        if (json_is_string(types))
                return strcmp(type, json_string_value(types)) == 0 ||
                        (strcmp(type, "integer") == 0 &&
                         strcmp(json_string_value(types), "number") == 0);
        size_t i;
        json_t *each;
        json_array_foreach(types, i,
                           each) if (json_is_string(each) && type_within(type, each)) return true;
        return false;
}

static void add_types_within(json_t *to, json_t *types, json_t *within) {
        if (json_is_string(types)) {
                if (type_within(json_string_value(types), within) &&
                    !type_within(json_string_value(types), to))
                        json_array_append(to, types);
                return;
        }
        size_t i;
        json_t *each;
        json_array_foreach(types, i, each) if (json_is_string(each))
                add_types_within(to, each, within);
}

/* "integer" is within "number", so both ways round. */
static json_t *merge_types(json_t *a, json_t *b) {
        json_t *types = json_array();
        add_types_within(types, a, b);
        add_types_within(types, b, a);
        return types;
}

static bool closed_to(json_t *schema, const char *name, json_t **ret) {
        json_t *properties = json_object_get(schema, "properties");
        json_t *additional = json_object_get(schema, "additionalProperties");
        *ret = additional;
        return additional && !json_is_true(additional) && !json_object_get(properties, name) &&
                !json_object_get(schema, "patternProperties");
}

/* Adds the properties of `from`, whose partner is `other`, to `to`. */
static void add_properties(json_t *to, json_t *from, json_t *other) {
        const char *name;
        json_t *value, *additional;
        json_object_foreach(json_object_get(from, "properties"), name, value) {
                json_t *partner = json_object_get(json_object_get(other, "properties"), name);
                if (json_object_get(to, name))
                        continue;
                if (!partner && closed_to(other, name, &additional))
                        partner = additional;
                json_object_set_new(to, name, partner ? both(value, partner) : json_incref(value));
        }
}

static json_t *merge_lists(json_t *a, json_t *b, bool common) {
        json_t *list = json_array(), *value;
        size_t i;
        json_array_foreach(a, i, value) {
                bool found = false;
                for (size_t k = 0; k < json_array_size(b) && !found; k++)
                        found = json_equal(value, json_array_get(b, k));
                if (!common || found)
                        json_array_append(list, value);
        }
        if (!common)
                json_array_extend(list, b);
        return list;
}

static json_t *tighter(json_t *a, json_t *b, bool larger) {
        if (!json_is_number(a) || !json_is_number(b))
                return json_incref(json_is_number(a) ? a : b);
        bool first = (json_number_value(a) > json_number_value(b)) == larger;
        return json_incref(first ? a : b);
}

static bool begins(const char *text, const char *with) {
        return strncmp(text, with, strlen(with)) == 0;
}

/* The value of a keyword that both have; NULL: that of `a` counts. */
static json_t *merge_keyword(const char *key, json_t *a, json_t *b) {
        if (strcmp(key, "type") == 0)
                return merge_types(a, b);
        if (strcmp(key, "required") == 0)
                return merge_lists(a, b, false);
        if (strcmp(key, "enum") == 0)
                return merge_lists(a, b, true);
        if (strcmp(key, "allOf") == 0)
                return merge_lists(a, b, false);
        if (strcmp(key, "nullable") == 0)
                return json_boolean(json_is_true(a) && json_is_true(b));
        if (strcmp(key, "additionalProperties") == 0 || strcmp(key, "items") == 0)
                return both(a, b);
        if (begins(key, "min") || strcmp(key, "exclusiveMinimum") == 0)
                return tighter(a, b, true);
        if (begins(key, "max") || strcmp(key, "exclusiveMaximum") == 0)
                return tighter(a, b, false);
        return NULL;
}

/* A copy in which "const" is an "enum" and "nullable" is among the types. */
static json_t *prepared(json_t *schema) {
        json_t *copy = json_copy(schema), *value = json_object_get(copy, "const");
        if (value) {
                json_t *list = json_array();
                json_array_append(list, value);
                json_t *given = json_object_get(copy, "enum");
                json_object_set_new(copy, "enum",
                                    given ? merge_lists(list, given, true) : json_incref(list));
                json_decref(list);
                json_object_del(copy, "const");
        }
        json_t *type = json_object_get(copy, "type");
        if (json_is_true(json_object_get(copy, "nullable")) && type) {
                json_t *types = json_is_array(type) ? json_copy(type) : json_array();
                if (!json_is_array(type))
                        json_array_append(types, type);
                json_array_append_new(types, json_string("null"));
                json_object_set_new(copy, "type", types);
        }
        json_object_del(copy, "nullable");
        return copy;
}

/* What a merge copies and compares. */
static size_t merge_cost(json_t *a, json_t *b) {
        static const char *const counted[] = { "properties", "required", "allOf", NULL };
        size_t cost = json_object_size(a) + json_object_size(b);
        for (size_t i = 0; counted[i]; i++) {
                json_t *x = json_object_get(a, counted[i]), *y = json_object_get(b, counted[i]);
                cost += json_object_size(x) + json_object_size(y);
                cost += json_array_size(x) + json_array_size(y);
        }
        return cost +
                json_array_size(json_object_get(a, "enum")) *
                (1 + json_array_size(json_object_get(b, "enum")));
}

static json_t *merged_properties(json_t *a, json_t *b) {
        json_t *properties = json_object();
        add_properties(properties, a, b);
        add_properties(properties, b, a);
        return properties;
}

static json_t *join(json_t *a, json_t *b) {
        json_t *x = prepared(a), *y = prepared(b), *joined = json_copy(x), *value;
        const char *key;
        json_object_foreach(y, key, value) {
                json_t *first = json_object_get(x, key);
                if (!first) {
                        json_object_set(joined, key, value);
                        continue;
                }
                /* Two sets of alternatives: the second takes the other keyword's place. */
                bool any = strcmp(key, "anyOf") == 0;
                if (any || strcmp(key, "oneOf") == 0) {
                        const char *other = any ? "oneOf" : "anyOf";
                        if (!json_object_get(x, other) && !json_object_get(y, other))
                                json_object_set(joined, other, value);
                        continue;
                }
                value = merge_keyword(key, first, value);
                if (value)
                        json_object_set_new(joined, key, value);
        }
        if (json_object_get(x, "properties") || json_object_get(y, "properties"))
                json_object_set_new(joined, "properties", merged_properties(x, y));
        json_decref(x);
        json_decref(y);
        return joined;
}

json_t *schema_merge(struct compiler *compiler, json_t *a, json_t *b, const struct place *place) {
        if (json_is_true(a) || json_is_false(b))
                return b;
        if (json_is_true(b) || json_is_false(a))
                return a;
        size_t cost = merge_cost(a, b);
        if (cost > compiler->merges_left) {
                schema_error(compiler, place, -E2BIG, "there is too much to join");
                return NULL;
        }
        compiler->merges_left -= cost;
        return own(compiler, join(a, b));
}

/* -------- flattening -------- */

json_t *schema_without(struct compiler *compiler, json_t *schema, const char *key) {
        size_t cost = json_object_size(schema);
        if (cost > compiler->merges_left) {
                error_set(compiler->err, -E2BIG, "there is too much to join");
                return NULL;
        }
        compiler->merges_left -= cost;
        json_t *copy = own(compiler, json_copy(schema));
        if (copy)
                json_object_del(copy, key);
        return copy;
}

static json_t *follow_reference(struct compiler *compiler, json_t *schema,
                                const struct place *place) {
        static const char *const reference[] = { "$ref", NULL };
        const char *to = json_string_value(json_object_get(schema, "$ref"));
        json_t *target = schema_resolve(compiler, to, PLACE_KEY(place, "$ref"));
        if (!target)
                return NULL;
        if (!json_is_object(target) && !json_is_boolean(target)) {
                schema_error(compiler, PLACE_KEY(place, "$ref"), -EINVAL,
                             "'%.100s' is neither an object nor a boolean", to);
                return NULL;
        }
        if (!schema_constrains(schema, reference))
                return target;
        json_t *rest = schema_without(compiler, schema, "$ref");
        return rest ? schema_merge(compiler, rest, target, place) : NULL;
}

static json_t *join_all(struct compiler *compiler, json_t *schema, const struct place *place) {
        static const char *const all_of[] = { "allOf", NULL };
        json_t *all = json_object_get(schema, "allOf"), *joined = json_true(), *member;
        if (schema_constrains(schema, all_of))
                joined = schema_without(compiler, schema, "allOf");
        size_t i;
        json_array_foreach(all, i, member) {
                if (!joined)
                        return NULL;
                const struct place *at = PLACE_INDEX(PLACE_KEY(place, "allOf"), i);
                member = schema_flatten(compiler, member, at);
                joined = member ? schema_merge(compiler, joined, member, at) : NULL;
        }
        return joined;
}

json_t *schema_flatten(struct compiler *compiler, json_t *schema, const struct place *place) {
        if (place->depth > SCHEMA_DEPTH_MAX) {
                schema_error(compiler, place, -E2BIG, "schemas nest deeper than %d",
                             SCHEMA_DEPTH_MAX);
                return NULL;
        }
        for (unsigned n = 0; schema; n++) {
                /* What refers to the same schema twice, again and again, is visited as often. */
                if (compiler->merges_left-- == 0) {
                        compiler->merges_left = 0;
                        schema_error(compiler, place, -E2BIG, "there is too much to join");
                        return NULL;
                }
                if (!json_is_object(schema) && !json_is_boolean(schema)) {
                        schema_error(compiler, place, -EINVAL,
                                     "a schema is an object or a boolean");
                        return NULL;
                }
                if (n > SCHEMA_DEPTH_MAX) {
                        schema_error(compiler, place, -E2BIG, "its references do not end");
                        return NULL;
                }
                if (json_is_string(json_object_get(schema, "$ref")))
                        schema = follow_reference(compiler, schema, place);
                else if (json_is_array(json_object_get(schema, "allOf")))
                        schema = join_all(compiler, schema, place);
                else
                        break;
        }
        return schema;
}
