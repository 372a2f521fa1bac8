/* Cleanup attributes for locals: what a scope acquires, leaving the scope releases.
 * Declare first what must die last. Hand ownership over with TAKE_PTR / TAKE_FD, so that the line
 * that gives a thing away also forgets it. */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((cleanup(function)))

static inline void cleanup_freep(void *p) {
        free(*(void **)p);
}
#define CLEANUP_FREE CLEANUP(cleanup_freep)

static inline void cleanup_closep(int *fd) {
        if (*fd >= 0)
                close(*fd);
}
#define CLEANUP_CLOSE CLEANUP(cleanup_closep)

/* Evaluates to the pointer and sets it to NULL. */
#define TAKE_PTR(p)                                                                                \
        __extension__({                                                                            \
                __typeof__(p) *take_p_ = &(p);                                                     \
                __typeof__(p) take_value_ = *take_p_;                                              \
                *take_p_ = NULL;                                                                   \
                take_value_;                                                                       \
        })

/* Evaluates to the descriptor and sets it to -1. */
#define TAKE_FD(fd)                                                                                \
        __extension__({                                                                            \
                int *take_fd_ = &(fd);                                                             \
                int take_value_ = *take_fd_;                                                       \
                *take_fd_ = -1;                                                                    \
                take_value_;                                                                       \
        })
