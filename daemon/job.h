/* Something long that a client asked for: on a thread of its own, which leaves processor and disk
 * to others. It has a slot like a generation: progress is there and in Progress messages, and its
 * cancel word, the end of its client or of the daemon ends it.
 *
 * The request is the job's thread's until it is over. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct engine_thread;
struct request;
struct server;

/* All users' together: each is a thread, and reads what the disk can give. One user has one of each
 * kind. */
#define JOBS_MAX 8

struct job {
        struct request *request;
        struct engine_thread *engine; /* the server's */
        void (*run)(struct job *job); /* leaves a result or a refusal in the request */
        atomic_bool ending;           /* the daemon stops */
        const char *what;             /* phase, */
        uint64_t before, began_ns;    /* what was done of it when it began, and when */
        uint64_t told_ns;             /* when its client last heard of it */

        /* Loop thread. */
        struct server *server;
        struct job *next; /* the server's list */
        pthread_t thread;
        uv_async_t over;
};

/* Loop thread. Runs request->job, whose request has a slot, and gives it to dispatch_finished()
 * then. 0, or -1 with a refusal. */
int job_start(struct server *server, struct request *request);

/* Loop thread: all end soon, with SHUTTING_DOWN. */
void jobs_end(struct server *server);

/* The job's thread. */
bool job_cancelled(const struct job *job);
/* `what`: a literal; when it changes a phase begins. Now and then, for each piece of work. */
void job_tell(struct job *job, const char *what, uint64_t done, uint64_t total);
