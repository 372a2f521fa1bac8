#include "engine/chat/parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/chat/bytes.h"
#include "engine/chat/json_text.h"
#include "engine/chat/mark_reader.h"
#include "engine/chat/tags.h"

enum state {
        IN_REASONING,
        IN_TEXT,
        IN_BLOCK, /* between invokes */
        IN_CALL,  /* between parameters */
        IN_STRING,
        IN_JSON,
        BEHIND_BLOCK,
        BROKEN, /* within a call that will not be whole */
};

struct span {
        size_t at, n;
};

struct call_spans {
        struct span name, arguments;
};

struct chat_parser {
        struct chat_parser_options options;
        struct mark_reader reader;
        enum state state;
        bool at_start; /* IN_TEXT: nothing has come yet */
        bool failed;   /* out of memory */
        bool overflow; /* CHAT_CALLS_BYTES_MAX */

        /* Symbols that are not decided: the first n_read belong to what could be a tag, the others
         * are to be read (again, when the first turned out to be none). */
        symbol held[TAG_SYMBOLS_MAX];
        size_t n_held, n_read;

        struct bytes out; /* of the event that is being gathered */
        enum chat_event_kind out_kind;

        struct bytes strings; /* names and arguments of all calls, the current one last */
        struct call_spans spans[CHAT_CALLS_MAX];
        size_t n_begun, n_whole;               /* calls */
        struct span keys[CHAT_PARAMETERS_MAX]; /* of the current call, in strings, escaped */
        size_t n_keys;
        struct bytes value;                     /* IN_JSON */
        struct bytes escaped;                   /* scratch */
        struct bytes raw;                       /* of the current call */
        struct chat_call calls[CHAT_CALLS_MAX]; /* made when asked for */
};

/* -------- events -------- */

static void send(struct chat_parser *parser, enum chat_event_kind kind, const char *text,
                 size_t n) {
        size_t call = parser->n_begun > 0 ? parser->n_begun - 1 : 0;
        struct chat_event event = { kind, text, n, call };
        if (parser->options.event)
                parser->options.event(parser->options.userdata, &event);
}

static void flush(struct chat_parser *parser) {
        parser->failed |= parser->out.failed;
        if (parser->out.n > 0)
                send(parser, parser->out_kind, parser->out.data, parser->out.n);
        parser->out.n = 0;
}

static void emit(struct chat_parser *parser, enum chat_event_kind kind, const char *text,
                 size_t n) {
        if (parser->out_kind != kind)
                flush(parser);
        parser->out_kind = kind;
        bytes_add(&parser->out, text, n);
}

/* -------- what calls are made of -------- */

static void add(struct chat_parser *parser, struct bytes *to, const char *text, size_t n) {
        size_t used = parser->strings.n + parser->value.n + parser->raw.n;
        if (n > CHAT_CALLS_BYTES_MAX - used) {
                parser->overflow = true;
                return;
        }
        bytes_add(to, text, n);
        parser->failed |= to->failed;
}

/* The letters of a symbol. */
static struct chat_text symbol_text(symbol s, char *byte) {
        if (s >= SYMBOL_MARK) {
                const char *text = chat_mark_text((enum chat_mark)(s - SYMBOL_MARK));
                return (struct chat_text){ text, strlen(text) };
        }
        *byte = (char)s;
        return (struct chat_text){ byte, 1 };
}

static void add_symbols(struct chat_parser *parser, struct bytes *to, const symbol *symbols,
                        size_t n) {
        for (size_t i = 0; i < n; i++) {
                char byte;
                struct chat_text text = symbol_text(symbols[i], &byte);
                add(parser, to, text.data, text.n);
        }
}

static void add_arguments(struct chat_parser *parser, const char *text, size_t n) {
        add(parser, &parser->strings, text, n);
        emit(parser, CHAT_EVENT_CALL_ARGUMENTS, text, n);
}

static void add_escaped(struct chat_parser *parser, struct chat_text text) {
        parser->escaped.n = 0;
        json_text_escape(&parser->escaped, text);
        add_arguments(parser, parser->escaped.data, parser->escaped.n);
        parser->failed |= parser->escaped.failed;
}

static struct chat_text string_at(const struct chat_parser *parser, struct span span) {
        /* The first string may be an empty one, before there is any memory to point into. */
        const char *data = span.n > 0 ? parser->strings.data + span.at : "";
        return (struct chat_text){ data, span.n };
}

/* -------- calls -------- */

/* The tag is held[at..at + match.n), with everything behind it already taken. */
static void begin_call(struct chat_parser *parser, size_t at, struct tag_match match) {
        parser->raw.n = 0;
        add_symbols(parser, &parser->raw, parser->held + at, parser->n_held - at);
        parser->state = IN_CALL;
        if (parser->n_begun == CHAT_CALLS_MAX) {
                parser->state = BROKEN;
                return;
        }
        flush(parser);
        struct call_spans *spans = &parser->spans[parser->n_begun++];
        spans->name.at = parser->strings.n;
        add_symbols(parser, &parser->strings, parser->held + at + match.name_at, match.n_name);
        spans->name.n = parser->strings.n - spans->name.at;
        spans->arguments.at = parser->strings.n;
        parser->n_keys = 0;
        struct chat_text name = string_at(parser, spans->name);
        if (!parser->failed && !parser->overflow)
                send(parser, CHAT_EVENT_CALL_BEGIN, name.data, name.n);
}

static void end_call(struct chat_parser *parser) {
        if (parser->n_keys == 0)
                add_arguments(parser, "{}", 2);
        else
                add_arguments(parser, "}", 1);
        parser->raw.n = 0;
        if (parser->failed || parser->overflow)
                return;
        flush(parser);
        send(parser, CHAT_EVENT_CALL_END, NULL, 0);
        struct call_spans *spans = &parser->spans[parser->n_whole++];
        spans->arguments.n = parser->strings.n - spans->arguments.at;
        parser->state = IN_BLOCK;
}

static bool is_known_key(const struct chat_parser *parser, struct span key) {
        for (size_t i = 0; i < parser->n_keys; i++) {
                if (parser->keys[i].n == key.n &&
                    (key.n == 0 ||
                     memcmp(parser->strings.data + parser->keys[i].at,
                            parser->strings.data + key.at, key.n) == 0))
                        return true;
        }
        return false;
}

/* The tag is held[0..match.n). */
static void begin_parameter(struct chat_parser *parser, struct tag_match match) {
        bool is_string = match.tag == TAG_STRING;
        if (parser->n_keys == CHAT_PARAMETERS_MAX) {
                parser->state = BROKEN;
                return;
        }
        add_arguments(parser, parser->n_keys == 0 ? "{\"" : ", \"", parser->n_keys == 0 ? 2 : 3);
        struct span key = { .at = parser->strings.n };
        for (size_t i = 0; i < match.n_name; i++) {
                char byte;
                add_escaped(parser, symbol_text(parser->held[match.name_at + i], &byte));
        }
        key.n = parser->strings.n - key.at;
        bool known = is_known_key(parser, key);
        parser->keys[parser->n_keys++] = key;
        add_arguments(parser, is_string ? "\": \"" : "\": ", is_string ? 4 : 3);
        parser->value.n = 0;
        parser->state = is_string ? IN_STRING : IN_JSON;
        if (known)
                parser->state = BROKEN;
}

/* A value that is not JSON is taken for text. */
static void end_json(struct chat_parser *parser) {
        struct chat_text value = { parser->value.data, parser->value.n };
        struct bytes tidy = { 0 };
        if (json_text_check(value, JSON_TEXT_ANY, NULL) == 0) {
                json_text_add(&tidy, value);
        } else {
                bytes_add(&tidy, "\"", 1);
                json_text_escape(&tidy, value);
                bytes_add(&tidy, "\"", 1);
        }
        parser->value.n = 0;
        add_arguments(parser, tidy.data, tidy.n);
        parser->failed |= tidy.failed;
        bytes_deinit(&tidy);
}

static void end_parameter(struct chat_parser *parser) {
        if (parser->state == IN_STRING)
                add_arguments(parser, "\"", 1);
        else
                end_json(parser);
        parser->state = IN_CALL;
}

/* -------- one symbol further -------- */

/* Takes the first n held symbols away; the rest is read again. */
static void drop(struct chat_parser *parser, size_t n) {
        parser->n_held -= n;
        memmove(parser->held, parser->held + n, parser->n_held * sizeof(*parser->held));
        parser->n_read = 0;
}

static void emit_first(struct chat_parser *parser, enum chat_event_kind kind) {
        char byte;
        struct chat_text text = symbol_text(parser->held[0], &byte);
        emit(parser, kind, text.data, text.n);
        drop(parser, 1);
}

static void read_reasoning(struct chat_parser *parser) {
        symbol first = parser->held[0];
        if (first == SYMBOL_MARK + CHAT_THINK_END) {
                parser->state = IN_TEXT;
                parser->at_start = true;
        }
        if (first == SYMBOL_MARK + CHAT_THINK_END || first == SYMBOL_MARK + CHAT_THINK)
                drop(parser, 1);
        else
                emit_first(parser, CHAT_EVENT_REASONING);
}

static void read_text(struct chat_parser *parser) {
        size_t at = 0;
        struct tag_match match =
                tag_read_opening(parser->held, parser->n_read, parser->at_start, &at);
        symbol first = parser->held[0];
        if (match.tag == TAG_INVOKE) {
                begin_call(parser, at, match);
                drop(parser, at + match.n);
        } else if (match.tag == TAG_BEGUN) {
                return;
        } else if (parser->at_start && first == SYMBOL_MARK + CHAT_THINK) {
                parser->state = IN_REASONING; /* it was not asked to think and does */
                drop(parser, 1);
        } else if (parser->at_start && first == SYMBOL_MARK + CHAT_THINK_END) {
                drop(parser, 1);
        } else {
                parser->at_start = false;
                emit_first(parser, CHAT_EVENT_TEXT);
        }
}

static void read_block(struct chat_parser *parser) {
        struct tag_match match = tag_read(parser->held, parser->n_read, TAG_INVOKE | TAG_CALLS_END);
        if (symbol_is_space(parser->held[0])) {
                drop(parser, 1);
        } else if (match.tag == TAG_NONE) {
                add_symbols(parser, &parser->raw, parser->held, parser->n_held);
                parser->state = BROKEN;
        } else if (match.tag == TAG_INVOKE) {
                begin_call(parser, 0, match);
                drop(parser, match.n);
        } else if (match.tag == TAG_CALLS_END) {
                parser->state = BEHIND_BLOCK;
                drop(parser, match.n);
        }
}

static void read_call(struct chat_parser *parser) {
        struct tag_match match =
                tag_read(parser->held, parser->n_read, TAG_STRING | TAG_JSON | TAG_INVOKE_END);
        if (symbol_is_space(parser->held[0])) {
                drop(parser, 1);
        } else if (match.tag == TAG_NONE) {
                parser->state = BROKEN;
        } else if (match.tag == TAG_INVOKE_END) {
                end_call(parser);
                drop(parser, match.n);
        } else if (match.tag != TAG_BEGUN) {
                begin_parameter(parser, match);
                drop(parser, match.n);
        }
}

static void read_value(struct chat_parser *parser) {
        struct tag_match match = tag_read(parser->held, parser->n_read, TAG_PARAMETER_END);
        char byte;
        struct chat_text text = symbol_text(parser->held[0], &byte);
        if (match.tag == TAG_PARAMETER_END) {
                end_parameter(parser);
                drop(parser, match.n);
        } else if (match.tag == TAG_NONE) {
                if (parser->state == IN_STRING)
                        add_escaped(parser, text);
                else
                        add(parser, &parser->value, text.data, text.n);
                drop(parser, 1);
        }
}

static void read_on(struct chat_parser *parser) {
        parser->n_read++;
        switch (parser->state) {
        case IN_REASONING: read_reasoning(parser); break;
        case IN_TEXT: read_text(parser); break;
        case IN_BLOCK: read_block(parser); break;
        case IN_CALL: read_call(parser); break;
        case IN_STRING:
        case IN_JSON: read_value(parser); break;
        case BEHIND_BLOCK:
                if (symbol_is_space(parser->held[0])) {
                        drop(parser, 1);
                } else {
                        parser->state = IN_TEXT;
                        parser->at_start = true;
                        parser->n_read = 0;
                }
                break;
        case BROKEN: drop(parser, parser->n_held); break;
        }
        if (parser->overflow)
                parser->state = BROKEN;
}

static bool is_in_call(const struct chat_parser *parser) {
        return parser->state == IN_CALL || parser->state == IN_STRING || parser->state == IN_JSON ||
                parser->state == BROKEN;
}

static void take(void *userdata, symbol s) {
        struct chat_parser *parser = userdata;
        if (is_in_call(parser))
                add_symbols(parser, &parser->raw, &s, 1);
        parser->held[parser->n_held++] = s;
        while (parser->n_read < parser->n_held)
                read_on(parser);
}

/* -------- outside -------- */

int chat_parser_new(const struct chat_parser_options *options, struct chat_parser **ret) {
        struct chat_parser *parser = calloc(1, sizeof(*parser));
        if (!parser)
                return -ENOMEM;
        parser->options = *options;
        parser->state = options->reasoning ? IN_REASONING : IN_TEXT;
        parser->at_start = true;
        *ret = parser;
        return 0;
}

struct chat_parser *chat_parser_free(struct chat_parser *parser) {
        if (!parser)
                return NULL;
        bytes_deinit(&parser->out);
        bytes_deinit(&parser->strings);
        bytes_deinit(&parser->value);
        bytes_deinit(&parser->escaped);
        bytes_deinit(&parser->raw);
        free(parser);
        return NULL;
}

void chat_parser_text(struct chat_parser *parser, const char *text, size_t n) {
        for (size_t i = 0; i < n; i++) {
                if (parser->options.written_marks)
                        mark_reader_take(&parser->reader, (uint8_t)text[i], take, parser);
                else
                        take(parser, (uint8_t)text[i]);
        }
        flush(parser);
}

void chat_parser_mark(struct chat_parser *parser, enum chat_mark mark) {
        if (mark == CHAT_THINK || mark == CHAT_THINK_END || mark == CHAT_DSML)
                take(parser, (symbol)(SYMBOL_MARK + mark));
        flush(parser);
}

/* What is held in a text or between calls is a call's beginning as soon as its tag has its mark. */
static bool holds_call(const struct chat_parser *parser) {
        for (size_t i = 0; i < parser->n_held; i++)
                if (parser->held[i] == SYMBOL_MARK + CHAT_DSML)
                        return parser->state != IN_BLOCK || parser->held[1] != '/';
        return false;
}

int chat_parser_finish(struct chat_parser *parser) {
        mark_reader_finish(&parser->reader, take, parser);
        if ((parser->state == IN_TEXT || parser->state == IN_BLOCK) && holds_call(parser)) {
                size_t at = 0;
                while (parser->held[at] == '\n')
                        at++;
                add_symbols(parser, &parser->raw, parser->held + at, parser->n_held - at);
                parser->state = BROKEN;
        }
        while (parser->state == IN_TEXT && parser->n_held > 0)
                emit_first(parser, CHAT_EVENT_TEXT);
        parser->n_held = 0;
        flush(parser);
        return parser->failed ? -ENOMEM : 0;
}

enum chat_event_kind chat_parser_channel(const struct chat_parser *parser) {
        switch (parser->state) {
        case IN_REASONING: return CHAT_EVENT_REASONING;
        case IN_TEXT:
        case BEHIND_BLOCK: return CHAT_EVENT_TEXT;
        default: return CHAT_EVENT_CALL_ARGUMENTS;
        }
}

bool chat_parser_at_start(const struct chat_parser *parser) {
        return parser->state == IN_TEXT && parser->at_start && parser->n_held == 0 &&
                parser->n_begun == 0;
}

const struct chat_call *chat_parser_calls(struct chat_parser *parser, size_t *ret_n) {
        for (size_t i = 0; i < parser->n_whole; i++)
                parser->calls[i] = (struct chat_call){
                        .name = string_at(parser, parser->spans[i].name),
                        .arguments = string_at(parser, parser->spans[i].arguments),
                };
        *ret_n = parser->n_whole;
        return parser->calls;
}

bool chat_parser_incomplete(const struct chat_parser *parser, struct chat_text *ret_raw) {
        *ret_raw = (struct chat_text){ parser->raw.data, parser->raw.n };
        return is_in_call(parser);
}
