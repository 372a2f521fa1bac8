/* `seek top` on a terminal: frames, keys, and the terminal as it was at the end. */
#pragma once

#include "client/seek/top_reader.h"

#define TOP_INTERVAL_MIN_S 0.1
#define TOP_INTERVAL_MAX_S 3600.0

/* Until q or a signal. Takes over the source's connection. Returns the exit code. */
int top_screen_run(struct top_source *source, double interval_s);
