/* How far work on engram.mdb has come: an import, or reading the file back. */
#pragma once

#include <stdint.h>

struct engram_progress {
        const char *what;     /* "importing" or "reading back" */
        uint64_t done, total; /* bytes of the file */
        double bytes_per_s;   /* since this phase began, 0 = not known yet */
        double seconds_left;  /* at that rate, for this phase */
};

/* `before`: of `done`, what was there when the phase began, at started_ns of clock_ns(). */
struct engram_progress engram_progress_now(const char *what, uint64_t done, uint64_t total,
                                           uint64_t before, uint64_t started_ns);
