#include "engine/text_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "engine/tokenizer.h"

#define REPLACEMENT          "\xEF\xBF\xBD"
#define REPLACEMENT_BYTES    3
#define UNFINISHED_BYTES_MAX 3

struct stop_string {
        char text[STOP_STRING_BYTES_MAX + 1];
        size_t n;
};

struct text_stream {
        const struct tokenizer *tokenizer;
        bool show_special, stopped;
        const struct stop_string *found; /* with `stopped` */
        struct stop_string stops[STOP_STRINGS_MAX];
        size_t n_stops;
        char unfinished[UNFINISHED_BYTES_MAX]; /* start of a character */
        size_t n_unfinished;
        size_t n_text, n_shown; /* the first n_shown bytes are given out, the rest is held back */
        char text[];
};

static bool stop_is_usable(const char *stop) {
        size_t n = strlen(stop);
        return n > 0 && n <= STOP_STRING_BYTES_MAX && utf8_valid_prefix(stop, n) == n;
}

int text_stream_new(const struct tokenizer *tokenizer, const char *const *stops, size_t n_stops,
                    bool show_special, struct text_stream **ret) {
        if (n_stops > STOP_STRINGS_MAX)
                return -EINVAL;
        for (size_t i = 0; i < n_stops; i++)
                if (!stop_is_usable(stops[i]))
                        return -EINVAL;
        /* What is held back, and a token of which every byte becomes a replacement. */
        size_t capacity = STOP_STRING_BYTES_MAX +
                (UNFINISHED_BYTES_MAX + tokenizer_bytes_max(tokenizer)) * REPLACEMENT_BYTES;
        struct text_stream *stream = calloc(1, sizeof(*stream) + capacity);
        if (!stream)
                return -ENOMEM;
        stream->tokenizer = tokenizer;
        stream->show_special = show_special;
        stream->n_stops = n_stops;
        for (size_t i = 0; i < n_stops; i++) {
                stream->stops[i].n = strlen(stops[i]);
                memcpy(stream->stops[i].text, stops[i], stream->stops[i].n);
        }
        *ret = stream;
        return 0;
}

struct text_stream *text_stream_free(struct text_stream *stream) {
        free(stream);
        return NULL;
}

/* Which second bytes may follow a lead byte: not all 64, so that overlong forms, surrogates and
 * characters above U+10FFFF end at the lead byte. */
static bool second_is_possible(uint8_t lead, uint8_t second) {
        switch (lead) {
        case 0xE0: return second >= 0xA0 && second <= 0xBF;
        case 0xED: return second >= 0x80 && second <= 0x9F;
        case 0xF0: return second >= 0x90 && second <= 0xBF;
        case 0xF4: return second >= 0x80 && second <= 0x8F;
        default: return second >= 0x80 && second <= 0xBF;
        }
}

static size_t character_bytes(uint8_t lead) {
        if (lead < 0x80)
                return 1;
        if (lead < 0xC2 || lead > 0xF4)
                return 0;
        return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/* Bytes at the start of `bytes` (n > 0) that belong to one character, as far as they go. */
static size_t character_prefix(const char *bytes, size_t n) {
        uint8_t lead = (uint8_t)bytes[0];
        size_t n_whole = character_bytes(lead), k = 1;
        while (k < n_whole && k < n &&
               (k == 1 ? second_is_possible(lead, (uint8_t)bytes[k])
                       : ((uint8_t)bytes[k] & 0xC0) == 0x80))
                k++;
        return k;
}

static void append(struct text_stream *stream, const char *text, size_t n) {
        memcpy(stream->text + stream->n_text, text, n);
        stream->n_text += n;
}

/* Appends whole characters; returns how many bytes at the end may become one. One U+FFFD stands for
 * the longest start of a character that goes wrong, as in Rust's from_utf8_lossy() and the Unicode
 * standard's recommendation. */
static size_t append_characters(struct text_stream *stream, const char *bytes, size_t n) {
        for (size_t at = 0; at < n;) {
                size_t k = character_prefix(bytes + at, n - at);
                size_t n_whole = character_bytes((uint8_t)bytes[at]);
                if (k == n_whole)
                        append(stream, bytes + at, k);
                else if (at + k == n && n_whole > 0)
                        return k;
                else
                        append(stream, REPLACEMENT, REPLACEMENT_BYTES);
                at += k;
        }
        return 0;
}

static void append_token(struct text_stream *stream, const char *token, size_t n) {
        /* The character that an earlier token began is finished, or found broken, within three more
         * bytes. */
        while (stream->n_unfinished > 0 && n > 0) {
                char character[UNFINISHED_BYTES_MAX + 1];
                size_t n_old = stream->n_unfinished;
                memcpy(character, stream->unfinished, n_old);
                character[n_old] = token[0];
                if (character_prefix(character, n_old + 1) == n_old) {
                        append(stream, REPLACEMENT, REPLACEMENT_BYTES);
                        stream->n_unfinished = 0;
                        break;
                }
                stream->n_unfinished = append_characters(stream, character, n_old + 1);
                memcpy(stream->unfinished, character, stream->n_unfinished);
                token++;
                n--;
        }
        if (n == 0)
                return;
        stream->n_unfinished = append_characters(stream, token, n);
        memcpy(stream->unfinished, token + n - stream->n_unfinished, stream->n_unfinished);
}

/* Longest stop string that ends at `end`, NULL if none does. */
static const struct stop_string *stop_ending_at(const struct text_stream *stream, size_t end) {
        const struct stop_string *longest = NULL;
        for (size_t i = 0; i < stream->n_stops; i++) {
                const struct stop_string *stop = &stream->stops[i];
                if ((!longest || stop->n > longest->n) && stop->n <= end &&
                    memcmp(stream->text + end - stop->n, stop->text, stop->n) == 0)
                        longest = stop;
        }
        return longest;
}

/* Longest end of the text with which a stop string begins. */
static size_t held_bytes(const struct text_stream *stream) {
        size_t longest = 0;
        for (size_t i = 0; i < stream->n_stops; i++) {
                const struct stop_string *stop = &stream->stops[i];
                size_t n = stop->n - 1 < stream->n_text ? stop->n - 1 : stream->n_text;
                for (; n > longest; n--)
                        if (memcmp(stream->text + stream->n_text - n, stop->text, n) == 0)
                                longest = n;
        }
        return longest;
}

/* The stop string that is complete first counts, of several at the same byte the longest: so the
 * split into tokens makes no difference. Text before `from` is known to end none. */
static bool cut_at_stop(struct text_stream *stream, size_t from) {
        for (size_t end = from + 1; end <= stream->n_text; end++) {
                const struct stop_string *stop = stop_ending_at(stream, end);
                if (stop) {
                        stream->n_text = end - stop->n;
                        stream->stopped = true;
                        stream->found = stop;
                        return true;
                }
        }
        return false;
}

static void forget_shown(struct text_stream *stream) {
        stream->n_text -= stream->n_shown;
        memmove(stream->text, stream->text + stream->n_shown, stream->n_text);
        stream->n_shown = 0;
}

static void show(struct text_stream *stream, size_t n, const char **ret_text, size_t *ret_n) {
        stream->n_shown = n;
        *ret_text = stream->text;
        *ret_n = n;
}

bool text_stream_push(struct text_stream *stream, uint32_t id, const char **ret_text,
                      size_t *ret_n) {
        forget_shown(stream);
        if (!stream->stopped &&
            (stream->show_special || !tokenizer_is_special(stream->tokenizer, id))) {
                size_t n_token = 0, n_old = stream->n_text;
                const char *token = tokenizer_bytes(stream->tokenizer, id, &n_token);
                append_token(stream, token, n_token);
                cut_at_stop(stream, n_old);
        }
        show(stream, stream->stopped ? stream->n_text : stream->n_text - held_bytes(stream),
             ret_text, ret_n);
        return stream->stopped;
}

void text_stream_finish(struct text_stream *stream, const char **ret_text, size_t *ret_n) {
        forget_shown(stream);
        if (!stream->stopped && stream->n_unfinished > 0) {
                size_t n_old = stream->n_text;
                append(stream, REPLACEMENT, REPLACEMENT_BYTES);
                cut_at_stop(stream, n_old);
        }
        stream->n_unfinished = 0;
        show(stream, stream->n_text, ret_text, ret_n);
}

const char *text_stream_stop(const struct text_stream *stream) {
        return stream->found ? stream->found->text : NULL;
}
