/* Pre-tokenizer: cuts text into the pieces inside which byte-pair encoding works.
 *
 * A list of Split patterns, each applied to the pieces of the one before; matches and the gaps
 * between them are both pieces. Look-ahead and look-behind see the piece, not the text around it.
 * DeepSeek's patterns are known and have a scanner of their own (split_deepseek.h); any others run
 * on PCRE2, whose knowledge decides which characters are letters (10.42: Unicode 14; tokenizers
 * 0.23.3 cuts 10,294 characters assigned since then differently). Immutable after
 * pretokenizer_read(), any thread; struct pieces serves one call at a time. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

/* DeepSeek has 3. */
#define SPLITS_MAX 16

struct pretokenizer {
        unsigned n_splits;
        struct pcre2_real_code_8 *splits[SPLITS_MAX];
        unsigned n_deepseek; /* leading patterns that are DeepSeek's */
        uint8_t *classes;    /* not NULL: the patterns are DeepSeek's, all of them and no other */
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

/* The pieces of one text after another; zero-initialise. */
struct pieces {
        const struct pretokenizer *pretokenizer;
        const char *text;
        size_t n, at;           /* bytes of the text, and where the next piece starts */
        struct piece_list list; /* found by PCRE2; all pieces of the text */
        struct piece_list previous;
        size_t next; /* in `list` */
};
void pieces_deinit(struct pieces *pieces);

/* Starts on `text` (well-formed UTF-8, at most TOKENIZE_TEXT_MAX bytes, not copied). -ENOMEM;
 * -E2BIG when a pattern needs too many steps for this text. */
int pieces_start(struct pieces *pieces, const struct pretokenizer *pretokenizer, const char *text,
                 size_t n, struct error *err);
/* The next piece, in order and without a gap; false behind the last. */
bool pieces_next(struct pieces *pieces, struct piece *ret);
