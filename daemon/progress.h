/* What clients see of their generations in the request slots (proto/slots.h): phase, tokens, place
 * in the queue, how long it will take. Engine thread; before it has the request, daemon/waiting.h
 * does it. */
#pragma once

#include <stdint.h>

struct request;
struct runner;

/* After each turn: all requests' slots, phases and places, and the runner's counts of them. */
void progress_show(struct runner *runner, uint64_t now_ns);

/* For engine_watch(): during a step that takes long. `userdata` is the runner. */
void progress_layer(void *userdata, uint32_t done, uint32_t total);

/* The last of a request that is given back. */
void progress_end(const struct runner *runner, const struct request *request, uint64_t now_ns);
