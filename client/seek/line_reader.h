/* Lines of standard input, without hiding them from poll() as stdio's buffer would.
 * Single-threaded. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Zero-initialise. */
struct line_reader {
        char *bytes;
        size_t n, capacity, next; /* the line given out last ends before `next` */
        bool ended;
};

enum line_state { LINE_READ, LINE_END, LINE_INTERRUPTED, LINE_FAILED };

/* Waits for a line; its end becomes NUL, which is not counted. It is the reader's until the next
 * call. A signal of `signal_fd` interrupts: what was typed of the line is forgotten. LINE_FAILED:
 * no memory, a line above INPUT_BYTES_MAX, or an error of reading. */
enum line_state line_read(struct line_reader *reader, int signal_fd, char **ret, size_t *ret_n);
void line_reader_deinit(struct line_reader *reader);
