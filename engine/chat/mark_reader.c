#include "engine/chat/mark_reader.h"

#include <stdbool.h>
#include <string.h>

static const enum chat_mark marks[] = { CHAT_THINK, CHAT_THINK_END, CHAT_DSML };
#define MARKS (sizeof(marks) / sizeof(marks[0]))

/* Whether the held bytes begin a written form; *ret_mark: the one they are, or CHAT_MARKS. */
static bool is_begun(const struct mark_reader *reader, enum chat_mark *ret_mark) {
        *ret_mark = CHAT_MARKS;
        for (size_t i = 0; i < MARKS; i++) {
                const char *text = chat_mark_text(marks[i]);
                size_t n = strlen(text);
                if (reader->n > n || memcmp(reader->held, text, reader->n) != 0)
                        continue;
                if (reader->n == n)
                        *ret_mark = marks[i];
                return true;
        }
        return false;
}

static void give_first(struct mark_reader *reader, symbol_fn fn, void *userdata) {
        uint8_t first = (uint8_t)reader->held[0];
        reader->n--;
        memmove(reader->held, reader->held + 1, reader->n);
        fn(userdata, first);
}

void mark_reader_take(struct mark_reader *reader, uint8_t byte, symbol_fn fn, void *userdata) {
        enum chat_mark mark = CHAT_MARKS;
        reader->held[reader->n++] = (char)byte;
        while (reader->n > 0 && !is_begun(reader, &mark))
                give_first(reader, fn, userdata);
        if (reader->n > 0 && mark < CHAT_MARKS) {
                reader->n = 0;
                fn(userdata, (symbol)(SYMBOL_MARK + mark));
        }
}

void mark_reader_finish(struct mark_reader *reader, symbol_fn fn, void *userdata) {
        while (reader->n > 0)
                give_first(reader, fn, userdata);
}
