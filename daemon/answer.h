/* The answers to a generation, packed. No state, any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct refusal;
struct request;

/* An Error with its longest texts: 512 + 64 + 256 bytes of strings, the
 * rest is numbers. */
#define ANSWER_BYTES_MAX 1536

/* Both return the bytes written. */
size_t answer_error(uint32_t request_id, const struct refusal *refusal,
                    uint8_t ret[ANSWER_BYTES_MAX]);
size_t answer_accepted(const struct request *request, uint8_t ret[ANSWER_BYTES_MAX]);

/* Usage and timings from the request; `error` is NULL, or what FINISH_REASON_ERROR is about.
 * Allocated, since a conversation's Done holds the tool calls; the caller frees it. NULL: no
 * memory. */
uint8_t *answer_done(struct request *request, const struct refusal *error, uint64_t now_ns,
                     size_t *ret_n);
