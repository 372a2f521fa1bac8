#include "client/seek/line_reader.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/seek/seek.h"

/* The next line, if it is there whole or nothing follows it. */
static bool take_line(struct line_reader *reader, char **ret, size_t *ret_n) {
        char *start = reader->bytes + reader->next;
        size_t left = reader->n - reader->next;
        char *end = left > 0 ? memchr(start, '\n', left) : NULL;
        if (!end && !(reader->ended && left > 0))
                return false;
        size_t n = end ? (size_t)(end - start) : left;
        start[n] = 0; /* there is room for it behind the last line too */
        reader->next += end ? n + 1 : n;
        if (n > 0 && start[n - 1] == '\r')
                start[--n] = 0;
        *ret = start;
        *ret_n = n;
        return true;
}

static bool make_room(struct line_reader *reader) {
        if (reader->next > 0)
                memmove(reader->bytes, reader->bytes + reader->next, reader->n - reader->next);
        reader->n -= reader->next;
        reader->next = 0;
        if (reader->n + 1 < reader->capacity)
                return true;
        size_t capacity = reader->capacity > 0 ? 2 * reader->capacity : 4096;
        char *larger = reader->n < INPUT_BYTES_MAX ? realloc(reader->bytes, capacity) : NULL;
        if (!larger)
                return false;
        reader->bytes = larger;
        reader->capacity = capacity;
        return true;
}

enum line_state line_read(struct line_reader *reader, int signal_fd, char **ret, size_t *ret_n) {
        while (!reader->bytes || !take_line(reader, ret, ret_n)) {
                if (reader->ended)
                        return LINE_END;
                if (!make_room(reader))
                        return LINE_FAILED;
                struct pollfd fds[] = { { STDIN_FILENO, POLLIN, 0 }, { signal_fd, POLLIN, 0 } };
                if (poll(fds, 2, -1) < 0 && errno != EINTR)
                        return LINE_FAILED;
                struct signalfd_siginfo info;
                if ((fds[1].revents & POLLIN) &&
                    read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
                        reader->n = reader->next;
                        return info.ssi_signo == SIGTERM ? LINE_END : LINE_INTERRUPTED;
                }
                if (fds[0].revents == 0)
                        continue;
                ssize_t n = read(STDIN_FILENO, reader->bytes + reader->n,
                                 reader->capacity - reader->n - 1);
                if (n < 0 && errno != EINTR)
                        return LINE_FAILED;
                reader->ended = n == 0;
                reader->n += n > 0 ? (size_t)n : 0;
        }
        return LINE_READ;
}

void line_reader_deinit(struct line_reader *reader) {
        free(reader->bytes);
        *reader = (struct line_reader){ 0 };
}
