/* From a message to what is done about it. Loop thread. */
#pragma once

struct channel_message;
struct connection;
struct error;
struct request;

/* 0: done, or refused with an Error message. Negative: a violation for which the connection must be
 * closed. */
int dispatch(struct connection *connection, const struct channel_message *message,
             struct error *err);

/* A prepared request is back on the loop: refuses, answers, or gives it to the engine. May free the
 * connection. */
void dispatch_prepared(struct request *request);

/* A request is back from the engine thread. May free the connection. */
void dispatch_finished(struct request *request);
