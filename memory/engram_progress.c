#include "memory/engram_progress.h"

#include "base/clock.h"

struct engram_progress engram_progress_now(const char *what, uint64_t done, uint64_t total,
                                           uint64_t before, uint64_t started_ns) {
        double seconds = (double)(clock_ns() - started_ns) / (double)NS_PER_S;
        struct engram_progress p = { .what = what, .done = done, .total = total };
        p.bytes_per_s = seconds > 0 ? (double)(done - before) / seconds : 0;
        p.seconds_left = p.bytes_per_s > 0 ? (double)(total - done) / p.bytes_per_s : 0;
        return p;
}
