/* Pre-tokenizer: cuts text into the pieces inside which byte-pair encoding works.
 *
 * A list of Split patterns, each applied to the pieces of the one before; matches and the gaps
 * between them are both pieces. Look-ahead and look-behind see the piece, not the text around it.
 * Which
 * characters are letters is PCRE2's knowledge (10.42: Unicode 14): tokenizers 0.23.3 cuts 10,174
 * characters assigned since then differently. Immutable after pretokenizer_read(), any thread; a
 * piece list serves one call at a time. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct error;

/* DeepSeek has 3. */
#define SPLITS_MAX 16

struct pretokenizer {
        unsigned n_splits;
        struct pcre2_real_code_8 *splits[SPLITS_MAX];
};

/* `json`: the "pre_tokenizer" of a tokenizer.json: ByteLevel, or a Sequence of Splits and a
 * ByteLevel. */
int pretokenizer_read(struct pretokenizer *ret, json_t *json, struct error *err);
void pretokenizer_deinit(struct pretokenizer *pretokenizer);

struct piece {
        uint32_t at, n;
};

/* Growable; zero-initialise. */
struct piece_list {
        struct piece *pieces;
        size_t n, capacity;
};
void piece_list_deinit(struct piece_list *list);

/* Replaces the contents of `ret` by the pieces of `text` (well-formed UTF-8, at most
 * TOKENIZE_TEXT_MAX bytes), in order and without a gap. -ENOMEM; -E2BIG when a pattern needs too
 * many steps for this text. */
int pretokenizer_split(const struct pretokenizer *pretokenizer, const char *text, size_t n,
                       struct piece_list *ret, struct error *err);
