/* Readings of the daemon's statistics, also of one that goes away and comes back. */
#pragma once

#include <stdbool.h>

#include "client/seek/top_model.h"

struct top_source {
        const char *socket_path;     /* borrowed; NULL as for seekd_connect() */
        struct seekd_client *client; /* NULL: not connected, the next reading tries */
        struct seekd_model_info model;
        bool model_known;
};

/* Connects if need be and asks; waits, for a daemon that hangs without end. *ret is the caller's:
 * top_reading_deinit(). */
void top_source_read(struct top_source *source, struct top_reading *ret);
void top_source_deinit(struct top_source *source);

/* Reads in a thread of its own, so that a daemon that hangs delays no key. */
struct top_reader;

/* Takes over the source's connection (also on failure); its path stays borrowed until the program
 * ends. The first reading comes at once. 0 or -errno. */
int top_reader_start(struct top_source *source, double interval_s, struct top_reader **ret);
/* Readable while a reading waits. Stays the reader's. */
int top_reader_fd(const struct top_reader *reader);
/* The latest reading, which is then the caller's; false: none has come since. */
bool top_reader_take(struct top_reader *reader, struct top_reading *ret);
/* Also of the wait that has begun. */
void top_reader_set_interval(struct top_reader *reader, double interval_s);
/* Ends the thread. One that waits for a daemon that hangs is left behind, for the end of the
 * program to end. */
void top_reader_stop(struct top_reader *reader);
