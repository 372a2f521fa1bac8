/* Which requests hold a sequence: who may start, who gives way.
 *
 * A request starts when the device has room for all that it may come to: its prompt and what it may
 * generate (memory_plan_commit()). So none fails because another one grows. Those that do not fit
 * wait, in the scheduler's order (schedule_before()), and hold up those behind them; parked
 * sequences give up their room first, then requests whose clients do not read.
 *
 * What is promised counts on pages being lent, and they cannot be while leases hold all of the
 * host's memory. Then one request gives way, of the lowest class the youngest: its state is kept,
 * its sequence freed. It begins again from there, with the same tokens, when another one has ended:
 * between two ends each gives way once at most, and the last one that is left fits, or ends with an
 * error. So all come to their end. Engine thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "daemon/scheduler.h"

struct error;
struct request;
struct runner;

/* Sequences that may run together when the next one is of this class. */
unsigned admission_places(const struct runner *runner, enum schedule_class class);

/* Starts what may start. Places go to whoever waits first in the scheduler's order and is modest: a
 * session that has more of them than are free waits, so that one is left for who comes later. */
void admission_start(struct runner *runner, uint64_t now_ns);

/* Of a step over the first n_picks parts: room for its rows, if parked sequences stand in the way.
 * Else running ones would be spilled before them. */
void admission_before_step(struct runner *runner, size_t n_picks);

/* The device had no room for a step (-ENOSPC): repeat it. `err` says it if nothing can be done. */
void admission_make_room(struct runner *runner, const struct error *err, uint64_t now_ns);

/* The request gives up its sequence, to begin again later. */
void admission_leave(struct request *request);

/* Call when it may have ended: what it was promised is free again. */
void admission_ended(struct runner *runner, struct request *request);
