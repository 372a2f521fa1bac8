/* Schemas that hold together with others: references, allOf, and keywords next to anyOf, made into
 * one schema each.
 *
 * Where two schemas cannot be joined exactly the result accepts more: of two patterns or lists of
 * leading items the first counts. */
#pragma once

#include "engine/grammar/schema.h"

/* What `reference` points to ("#", "#/$defs/a"), borrowed; NULL with an error set. */
json_t *schema_resolve(struct compiler *compiler, const char *reference, const struct place *place);

/* Whether a schema says anything about values besides the keywords `but` (NULL-terminated). */
bool schema_constrains(json_t *schema, const char *const *but);

/* A schema for what both accept, which have no $ref. This and what follows is borrowed, from the
 * document or the compiler; NULL with an error set. */
json_t *schema_merge(struct compiler *compiler, json_t *a, json_t *b, const struct place *place);

/* A copy without one keyword. */
json_t *schema_without(struct compiler *compiler, json_t *schema, const char *key);

/* Follows references and joins what allOf holds until neither is left at the top. Checks that it is
 * a schema. */
json_t *schema_flatten(struct compiler *compiler, json_t *schema, const struct place *place);
