/* Forgetting all that a user has: sessions on the loop thread, kept KV in memory on the engine's,
 * then waiting until it is gone from disk. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct job;
struct keeper;
struct request;
struct server;

struct purge;

/* NULL: out of memory. */
struct purge *purge_new(uint32_t uid);
uint32_t purge_uid(const struct purge *purge); /* whose */
void purge_unref(struct purge *purge);         /* NULL-safe */

/* The three steps, in this order. What fails leaves a refusal in the request; the last one leaves
 * the result. */
int purge_sessions(struct server *server, struct request *request); /* loop thread; 0 or -1 */
void purge_kept(struct request *request, struct keeper *keeper);    /* an errand */
void purge_wait(struct job *job);                                   /* a job */
