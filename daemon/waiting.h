/* What clients see of their generations before the engine thread has them: while the model loads,
 * while they wait for their session, while their text becomes tokens. Loop thread. */
#pragma once

struct request;
struct server;

/* The timer of `server`, who closes it. */
void waiting_init(struct server *server);

/* Writes the request's slot, once. */
void waiting_show(const struct request *request);

/* Writes it now, and again and again until waiting_end() or the request's end. */
void waiting_begin(struct request *request);

/* Its slot is another thread's from now on. */
void waiting_end(struct request *request);
