/* The strings of a tokenizer: what each id is called in the vocabulary and which bytes it stands
 * for.
 *
 * Filled from the "vocab" and "added_tokens" of a tokenizer.json, which are checked here: every id
 * once, below TOKENIZER_IDS_MAX, and an added token that also has a vocabulary entry has the same
 * id in both. Immutable after vocabulary_read(); any thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

struct error;

/* The largest published vocabularies have 262,144 entries; four times that bounds the table at 32
 * MiB. */
#define TOKENIZER_IDS_MAX (1u << 20)

struct vocabulary_entry {
        const char *string; /* as in the file; NULL = no such id */
        const char *bytes;  /* byte alphabet undone; the written form for an added token */
        uint32_t n_bytes;
        bool special;
};

struct vocabulary {
        struct vocabulary_entry *entries; /* [n_ids] */
        uint32_t n_ids;
        uint32_t n_bytes_max; /* of one entry */
        struct arena text;
};

/* `vocab`: object of string -> id. `added`: array of objects with "id", "content", "special". */
int vocabulary_read(struct vocabulary *ret, json_t *vocab, json_t *added, struct error *err);
void vocabulary_deinit(struct vocabulary *vocabulary);
