/* A model's answer: a byte of options, a byte that seeds the cuts, then text in which 0x01 to 0x03
 * are marks (think, its end, DSML) and, with written marks, the letters. Whatever the text, cutting
 * it anywhere tells the same; calls are told whole only when they are; what is told adds up; memory
 * is bounded. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "engine/chat/bytes.h"
#include "engine/chat/parse.h"
#include "engine/chat/tags.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct told {
        struct bytes reasoning, text, names, arguments;
        size_t n_begun, n_ended;
        bool in_call;
};

static void require(bool holds) {
        if (!holds)
                abort();
}

static void hear(void *userdata, const struct chat_event *event) {
        struct told *told = userdata;
        switch (event->kind) {
        case CHAT_EVENT_REASONING: bytes_add(&told->reasoning, event->text, event->n); break;
        case CHAT_EVENT_TEXT: bytes_add(&told->text, event->text, event->n); break;
        case CHAT_EVENT_CALL_BEGIN:
                require(event->call == told->n_begun++ && event->n <= CHAT_NAME_BYTES_MAX);
                bytes_add(&told->names, event->text, event->n);
                bytes_add(&told->names, "", 1);
                told->arguments.n = 0;
                told->in_call = true;
                break;
        case CHAT_EVENT_CALL_ARGUMENTS:
                require(told->in_call);
                bytes_add(&told->arguments, event->text, event->n);
                break;
        case CHAT_EVENT_CALL_END:
                require(told->in_call && event->call == told->n_ended++);
                told->in_call = false;
                break;
        }
}

static void told_deinit(struct told *told) {
        bytes_deinit(&told->reasoning);
        bytes_deinit(&told->text);
        bytes_deinit(&told->names);
        bytes_deinit(&told->arguments);
}

static void feed(struct chat_parser *parser, bool written, const uint8_t *text, size_t n) {
        static const enum chat_mark marks[] = { CHAT_THINK, CHAT_THINK_END, CHAT_DSML };
        size_t done = 0;
        for (size_t i = 0; i < n && !written; i++) {
                if (text[i] < 1 || text[i] > 3)
                        continue;
                chat_parser_text(parser, (const char *)text + done, i - done);
                chat_parser_mark(parser, marks[text[i] - 1]);
                done = i + 1;
        }
        chat_parser_text(parser, (const char *)text + done, n - done);
}

/* `seed` 0: whole; else cut in pieces of 1 to 16 bytes. */
static struct chat_parser *parse(const uint8_t *text, size_t n, uint8_t options, uint32_t seed,
                                 struct told *told) {
        struct chat_parser_options chosen = { .reasoning = options & 1,
                                              .written_marks = options & 2,
                                              .event = hear,
                                              .userdata = told };
        struct chat_parser *parser = NULL;
        if (chat_parser_new(&chosen, &parser) < 0)
                exit(1);
        for (size_t at = 0, piece; at < n; at += piece) {
                seed = seed * 1664525 + 1013904223;
                piece = seed == 1013904223 ? n : 1 + (seed >> 24) % 16;
                piece = piece < n - at ? piece : n - at;
                feed(parser, chosen.written_marks, text + at, piece);
        }
        require(chat_parser_finish(parser) == 0);
        return parser;
}

static bool same(const struct bytes *a, const struct bytes *b) {
        return a->n == b->n && (a->n == 0 || memcmp(a->data, b->data, a->n) == 0);
}

static void check_calls(struct chat_parser *parser, const struct told *told, bool is_utf8) {
        size_t n, total = 0;
        struct chat_text raw;
        const struct chat_call *calls = chat_parser_calls(parser, &n);
        require(n == told->n_ended && n <= CHAT_CALLS_MAX);
        for (size_t i = 0; i < n; i++) {
                total += calls[i].name.n + calls[i].arguments.n;
                json_t *arguments = json_loadb(calls[i].arguments.data, calls[i].arguments.n,
                                               JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
                require(!is_utf8 || json_is_object(arguments));
                json_decref(arguments);
        }
        if (n > 0 && n == told->n_begun) {
                const struct chat_text *last = &calls[n - 1].arguments;
                require(last->n == told->arguments.n &&
                        memcmp(last->data, told->arguments.data, last->n) == 0);
        }
        bool incomplete = chat_parser_incomplete(parser, &raw);
        require(total + raw.n <= CHAT_CALLS_BYTES_MAX);
        require(incomplete || told->n_begun == told->n_ended);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
        if (bytes < 2)
                return 0;
        const uint8_t *text = data + 2;
        size_t n = bytes - 2;
        bool is_utf8 = utf8_valid_prefix((const char *)text, n) == n;
        struct told whole = { 0 }, cut = { 0 };
        struct chat_parser *a = parse(text, n, data[0], 0, &whole);
        struct chat_parser *b = parse(text, n, data[0], 1u + data[1], &cut);
        check_calls(a, &whole, is_utf8);
        check_calls(b, &cut, is_utf8);
        struct chat_text raw_a, raw_b;
        require(same(&whole.reasoning, &cut.reasoning) && same(&whole.text, &cut.text));
        require(same(&whole.names, &cut.names) && same(&whole.arguments, &cut.arguments));
        require(whole.n_ended == cut.n_ended);
        require(chat_parser_incomplete(a, &raw_a) == chat_parser_incomplete(b, &raw_b));
        require(raw_a.n == raw_b.n &&
                (raw_a.n == 0 || memcmp(raw_a.data, raw_b.data, raw_a.n) == 0));
        chat_parser_free(a);
        chat_parser_free(b);
        told_deinit(&whole);
        told_deinit(&cut);
        return 0;
}
