/* From JSON schemas to the nodes of a program. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/grammar/program.h"

struct error;

/* Where a schema stands in its document: the way up to the root, for messages. */
struct place {
        const struct place *up;
        const char *key; /* NULL: `index` of an array */
        size_t index;
        unsigned depth;
};

#define PLACE_KEY(up_, key_)                                                                       \
        (&(struct place){ .up = (up_), .key = (key_), .depth = (up_)->depth + 1 })
#define PLACE_INDEX(up_, index_)                                                                   \
        (&(struct place){ .up = (up_), .index = (index_), .depth = (up_)->depth + 1 })

/* Schemas inside each other, references and merges counted: real ones stay below 30, and at this
 * depth a thread's stack is far from full (some 300 bytes a level). */
#define SCHEMA_DEPTH_MAX 200

/* Entries of objects and lists that merging may copy: a hundred times what real schemas need. */
#define SCHEMA_MERGES_MAX (1u << 20)

/* One document of schemas being compiled. */
struct compiler {
        struct grammar *grammar;
        json_t *root;     /* that references start from; borrowed */
        json_t *owned;    /* array: schemas made by merging */
        json_t *patterns; /* object: nodes of automata, by what they were made of */
        struct schema_memo *memo;
        size_t memo_room, n_memo;
        size_t pattern_steps; /* left, see automaton.h */
        size_t merges_left;   /* entries that merging may still copy */
        /* The nodes of any value and of numbers without bounds; NODE_NONE = not made yet. */
        uint32_t any, whole, decimal;
        struct error *err; /* never NULL */
};

/* Nodes being collected; free `nodes`. */
struct node_list {
        uint32_t *nodes;
        size_t n, room;
};
int node_list_add(struct compiler *compiler, struct node_list *list, uint32_t node);
/* Adds `node` to the program, too. */
int node_list_add_new(struct compiler *compiler, struct node_list *list, const struct node *node);

/* The JSON pointer of a place: "#/properties/a". Cut when it does not fit. */
void place_print(const struct place *place, char *ret, size_t n);

/* Sets the message "POINTER: ..." and returns `code`. */
int schema_error(struct compiler *compiler, const struct place *place, int code, const char *format,
                 ...) __attribute__((format(printf, 4, 5), cold));

void compiler_init(struct compiler *compiler, struct grammar *grammar, json_t *root,
                   struct error *err);
void compiler_deinit(struct compiler *compiler);

/* Another document, into the same program. */
void compiler_set_root(struct compiler *compiler, json_t *root);

/* The node of a schema: an object or a boolean. Errors of program.h, -EINVAL with the pointer of
 * what cannot be compiled. */
int schema_compile(struct compiler *compiler, json_t *schema, const struct place *place,
                   uint32_t *ret);

/* Whether the types of a flat schema leave a string open. */
bool schema_may_be_string(json_t *schema);

/* The node of any value. */
int schema_any(struct compiler *compiler, uint32_t *ret);

/* A literal: `text` and nothing else. */
int schema_add_literal(struct compiler *compiler, const char *text, size_t n, uint32_t *ret);
int schema_add_list_node(struct compiler *compiler, enum node_kind kind, const uint32_t *list,
                         size_t n, uint32_t *ret);

/* Parses JSON text of at most GRAMMAR_SCHEMA_BYTES_MAX. NULL with a message. */
json_t *schema_parse(const char *text, size_t n, struct error *err);
