#include "daemon/purge.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/engine_thread.h"
#include "daemon/job.h"
#include "daemon/keeper.h"
#include "daemon/request.h"
#include "daemon/server.h"
#include "daemon/session_requests.h"
#include "memory/kv_store.h"
#include "proto/record_types.h"

#define CODE(name) SEEKD__V1__ERROR_CODE__ERROR_CODE_##name

/* A commit takes a fraction of a second. On a disk that takes nothing it may never come, and who
 * asked wants to know that. */
#define WAIT_NS (30 * NS_PER_S)

/* How often a waiting purge looks whether it is cancelled. */
#define LOOK_NS (100 * NS_PER_MS)

struct purge {
        uint32_t uid;
        uint64_t *sessions; /* [n_sessions] their ids */
        size_t n_sessions;
        uint64_t host_bytes, disk_bytes; /* before */

        pthread_mutex_t lock; /* of what follows: the store's callback may outlive the request */
        pthread_cond_t told;
        unsigned refs;
        bool waits, done; /* for the store; which has called back */
        int status;
};

struct purge *purge_new(uint32_t uid) {
        struct purge *purge = calloc(1, sizeof(*purge));
        if (!purge)
                return NULL;
        purge->uid = uid;
        purge->refs = 1;
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&purge->told, &attributes);
        pthread_condattr_destroy(&attributes);
        pthread_mutex_init(&purge->lock, NULL);
        return purge;
}

uint32_t purge_uid(const struct purge *purge) {
        return purge->uid;
}

void purge_unref(struct purge *purge) {
        if (!purge)
                return;
        pthread_mutex_lock(&purge->lock);
        bool last = --purge->refs == 0;
        pthread_mutex_unlock(&purge->lock);
        if (!last)
                return;
        pthread_cond_destroy(&purge->told);
        pthread_mutex_destroy(&purge->lock);
        free(purge->sessions);
        free(purge);
}

int purge_sessions(struct server *server, struct request *request) {
        struct purge *purge = request->purge;
        if (session_requests_purge(&server->sessions, purge->uid, &purge->sessions,
                                   &purge->n_sessions) < 0)
                return refuse(&request->refusal, CODE(INTERNAL), NULL, "out of memory");
        return 0;
}

/* -------- kept KV -------- */

/* The store's writer. */
static void gone_from_disk(void *context, int status) {
        struct purge *purge = context;
        pthread_mutex_lock(&purge->lock);
        purge->done = true;
        purge->status = status;
        pthread_cond_signal(&purge->told);
        pthread_mutex_unlock(&purge->lock);
        purge_unref(purge);
}

static int purge_disk(struct purge *purge, struct kv_store *store) {
        purge->disk_bytes = kv_store_owner_bytes(store, purge->uid);
        purge->waits = true;
        purge->refs++; /* the callback's: nobody else has it yet */
        int r = kv_store_purge(store, purge->uid, gone_from_disk, purge);
        if (r < 0)
                purge->refs--;
        return r;
}

void purge_kept(struct request *request, struct keeper *keeper) {
        struct purge *purge = request->purge;
        struct kv_store *store = keeper_store(keeper);
        int r = keeper_purge(keeper, purge->uid, purge->sessions, purge->n_sessions,
                             &purge->host_bytes);
        if (r == 0 && store)
                r = purge_disk(purge, store);
        if (r < 0)
                refuse(&request->refusal, CODE(INTERNAL), NULL, "out of memory");
}

/* -------- waiting for the disk -------- */

/* True: gone. */
static bool wait_for_disk(struct purge *purge, const struct job *job) {
        uint64_t end_ns = clock_ns() + WAIT_NS;
        pthread_mutex_lock(&purge->lock);
        while (purge->waits && !purge->done && clock_ns() < end_ns && !job_cancelled(job)) {
                uint64_t until_ns = clock_ns() + LOOK_NS;
                struct timespec until = { (time_t)(until_ns / NS_PER_S),
                                          (long)(until_ns % NS_PER_S) };
                pthread_cond_timedwait(&purge->told, &purge->lock, &until);
        }
        bool gone = !purge->waits || (purge->done && purge->status == 0);
        pthread_mutex_unlock(&purge->lock);
        return gone;
}

void purge_wait(struct job *job) {
        struct request *request = job->request;
        struct purge *purge = request->purge;
        Seekd__V1__CachePurgeResult result = SEEKD__V1__CACHE_PURGE_RESULT__INIT;
        result.request_id = request->id;
        result.uid = purge->uid;
        result.host_bytes = purge->host_bytes;
        result.disk_bytes = purge->disk_bytes;
        result.sessions = purge->n_sessions;
        result.on_disk = wait_for_disk(purge, job);
        if (result.on_disk && engine_thread_store(job->engine))
                kv_store_drop_aside(engine_thread_store(job->engine));
        log_info("user %u asked to forget all of user %u: %llu bytes in memory, %llu on disk, %zu "
                 "sessions%s",
                 request->uid, purge->uid, (unsigned long long)purge->host_bytes,
                 (unsigned long long)purge->disk_bytes, purge->n_sessions,
                 result.on_disk ? "" : "; not yet gone from disk");
        request_set_result(request, RECORD_CACHE_PURGE_RESULT, &result.base);
}
