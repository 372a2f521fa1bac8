/* Strings, numbers and fixed words of a schema. Each adds a node to a list of alternatives, or none
 * when nothing fits. Errors as in schema.h. */
#pragma once

#include "engine/grammar/schema.h"

/* With minLength, maxLength and pattern. */
int schema_add_string(struct compiler *compiler, struct node_list *list, json_t *schema);

/* With the four bounds; `whole`: no fractions. */
int schema_add_number(struct compiler *compiler, struct node_list *list, json_t *schema,
                      bool whole);

/* A number without bounds; one node for all. */
int schema_plain_number(struct compiler *compiler, bool whole, uint32_t *ret);

/* One of two words; `b` may be NULL. */
int schema_add_fixed(struct compiler *compiler, struct node_list *list, const char *a,
                     const char *b);

/* One of `words`; `in_string`: all are JSON strings. */
int schema_add_words(struct compiler *compiler, struct node_list *list, struct new_words *words,
                     bool in_string);

/* A keyword that counts: 0 when negative, `otherwise` when it is no number. */
uint32_t schema_count(json_t *json, uint32_t otherwise);

bool number_is_whole(json_t *number);
