/* One generation's way through the engine: it gets tokens, streams their text, ends. Engine thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct refusal;
struct request;

/* Takes the token drawn for the end of the sequence: appends it, sends its delta, and ends the
 * generation when the token ends it. `logprob` is used when the request asked for it. */
void generation_token(struct request *request, uint32_t id, bool is_eos, bool is_special,
                      float logprob, uint64_t now_ns);

/* Ends it: the text that was held back (unless a stop string was found or something failed), then
 * Done. Gives up the sequence. `error` with FINISH_REASON_ERROR. Once. */
void generation_finish(struct request *request, int reason, const struct refusal *error,
                       uint64_t now_ns);

/* The reason why it must end now though nothing went wrong inside it: cancelled, past its deadline,
 * its client reads nothing for too long. 0 = go on. */
int generation_must_end(const struct request *request, uint64_t now_ns);

/* Sends what waits for room. True: nothing waits any more, or nothing can be sent any more. Keeps
 * `paused_ns` and `unpaused_ns`. */
bool generation_flush(struct request *request, uint64_t now_ns);
