/* What clients ask of sessions: from message to result. Loop thread.
 *
 * A request about a session goes through all of these, in this order; in between it is prepared
 * like any other. One that has the session keeps others from it until it leaves. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/seekd.pb-c.h"

struct request;
struct session_table;

/* Whether a type of record is served here: everything about sessions but Generate. */
bool session_requests_serve(uint16_t type);

enum session_turn {
        SESSION_TURN_NOW,     /* go on; also when it is about no session */
        SESSION_TURN_LATER,   /* session_requests_leave() will return it */
        SESSION_TURN_REFUSED, /* there is no such session: request->refusal */
};

/* The model is ready. Puts the request in its session's queue. */
enum session_turn session_requests_enter(struct session_table *table, struct request *request);

/* It was prepared: does what was asked, or lets a generation go on. Leaves a result or a refusal in
 * the request, as request_prepare() does. */
void session_requests_do(struct session_table *table, struct request *request);

/* It is back from the engine thread: a generation's tokens become its session's, an errand's
 * outcome is noted. */
void session_requests_finish(struct request *request);

/* It is about to be freed. Returns the request whose turn it is now, or NULL. */
struct request *session_requests_leave(struct request *request);

/* Forgets all sessions of a uid, with what is remembered, here and in the store. Their ids are the
 * caller's to free. 0 or -ENOMEM: none was forgotten. */
int session_requests_purge(struct session_table *table, uint32_t uid, uint64_t **ret_ids,
                           size_t *ret_n);
