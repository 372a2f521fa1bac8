/* Requests on their way through the pool threads: few of one user's at a time, so that a flood of
 * long prompts is no queue for others. Loop thread. */
#pragma once

struct request;
struct server;

/* Prepares it on a pool thread, now or when its user's earlier ones are done, then gives it to
 * dispatch_prepared(). The model is ready, and the request has its session if it names one. */
void preparing_start(struct server *server, struct request *request);
