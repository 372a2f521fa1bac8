/* How far a long piece of work is: passed down, each level reporting its share of the whole. */
#pragma once

#include <stddef.h>

struct progress {
        /* `done` in [0, 1]; `what` is being done now, valid during the call. NULL: nobody asks. */
        void (*report)(void *userdata, double done, const char *what);
        void *userdata;
        double from, to; /* this work's share */
};

static inline void progress_report(const struct progress *progress, double done, const char *what) {
        if (progress && progress->report)
                progress->report(progress->userdata,
                                 progress->from + (progress->to - progress->from) * done, what);
}
