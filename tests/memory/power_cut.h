/* A file as a disk may hold it after the power failed: all that was synced, and of what was written
 * since then any part. From the events that faulty_disk.h recorded. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* What became of writes that were not yet synced. */
enum power_mood {
        POWER_ALL_WRITTEN,
        POWER_SOME_WRITTEN,
        POWER_TORN, /* of each write any of its sectors */
        POWER_NONE_WRITTEN,
        POWER_MOODS
};

/* Makes `path` anew as it is when the power fails before event number `cut`. Returns the last mark
 * that was passed, -1 = none. */
int power_cut(const char *path, size_t cut, enum power_mood mood, uint64_t *random);
