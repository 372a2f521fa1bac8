#include "daemon/job.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/dispatch.h"
#include "daemon/outlet.h"
#include "daemon/request.h"
#include "daemon/server.h"
#include "proto/message.h"
#include "proto/slots.h"

#define CODE(name) SEEKD__V1__ERROR_CODE__ERROR_CODE_##name

/* A client draws a bar: this often it looks smooth enough. */
#define TELL_NS (NS_PER_S / 4)

/* As long as verifying some gigabytes takes. */
#define BUSY_RETRY_MS 5000

/* -------- the job's thread -------- */

bool job_cancelled(const struct job *job) {
        const struct request *request = job->request;
        return atomic_load(&job->ending) || atomic_load(&request->outlet->gone) ||
                slot_cancelled(&request->outlet->channel->peer, request->slot, request->id);
}

static void send_progress(struct job *job, const Seekd__V1__Progress *progress) {
        struct request *request = job->request;
        uint8_t bytes[128];
        int64_t n = message_pack(&progress->base, bytes, sizeof(bytes));
        /* What does not fit now is not worth waiting for: the next one says more. */
        if (n > 0 && outbox_flush(&request->outbox, request->outlet) == 0)
                outbox_send(&request->outbox, request->outlet, RECORD_PROGRESS, request->id, false,
                            bytes, (size_t)n);
}

static void show(const struct job *job, const Seekd__V1__Progress *progress, uint64_t now_ns) {
        struct request *request = job->request;
        double left_ms = progress->seconds_left * 1000;
        struct slot_progress slot = {
                .request_id = request->id,
                .phase = SLOT_WORKING,
                .tokens_done = (uint32_t)(progress->done >> 20),
                .tokens_total = (uint32_t)(progress->total >> 20),
                .estimate_ms = left_ms >= 0 && left_ms < (double)SLOT_ESTIMATE_UNKNOWN
                        ? (uint32_t)left_ms
                        : SLOT_ESTIMATE_UNKNOWN,
                .heartbeat_ns = now_ns,
        };
        atomic_store(&request->live.n_prompt_done, slot.tokens_done);
        atomic_store(&request->live.n_prompt, slot.tokens_total);
        slot_store(&request->outlet->channel->own, request->slot, &slot);
}

void job_tell(struct job *job, const char *what, uint64_t done, uint64_t total) {
        uint64_t now_ns = clock_ns();
        if (!job->what || strcmp(job->what, what) != 0) {
                job->what = what;
                job->before = done;
                job->began_ns = now_ns;
        } else if (now_ns - job->told_ns < TELL_NS && done < total) {
                return;
        }
        job->told_ns = now_ns;
        double seconds = (double)(now_ns - job->began_ns) / (double)NS_PER_S;
        Seekd__V1__Progress progress = SEEKD__V1__PROGRESS__INIT;
        progress.request_id = job->request->id;
        progress.what = (char *)(uintptr_t)what;
        progress.done = done;
        progress.total = total;
        progress.bytes_per_s = seconds > 0 ? (double)(done - job->before) / seconds : 0;
        progress.seconds_left =
                progress.bytes_per_s > 0 ? (double)(total - done) / progress.bytes_per_s : -1;
        show(job, &progress, now_ns);
        send_progress(job, &progress);
}

static void *job_main(void *userdata) {
        struct job *job = userdata;
        struct request *request = job->request;
        job->run(job);
        if (atomic_load(&job->ending))
                refuse(&request->refusal, CODE(SHUTTING_DOWN), NULL, "the daemon is stopping");
        uv_async_send(&job->over);
        return NULL;
}

/* -------- loop thread -------- */

static void free_job(uv_handle_t *handle) {
        free(handle->data);
}

static void on_over(uv_async_t *handle) {
        struct job *job = handle->data, **at = &job->server->jobs;
        struct request *request = job->request;
        pthread_join(job->thread, NULL);
        while (*at != job)
                at = &(*at)->next;
        *at = job->next;
        uv_close((uv_handle_t *)handle, free_job);
        dispatch_finished(request);
}

static int check_busy(const struct server *server, struct request *request) {
        unsigned n = 0;
        for (const struct job *job = server->jobs; job; job = job->next) {
                n++;
                if (job->request->uid != request->uid || job->request->type != request->type)
                        continue;
                refuse(&request->refusal, CODE(BUSY), NULL,
                       "the same is already being done for this user");
                request->refusal.retry_after_ms = BUSY_RETRY_MS;
                return -1;
        }
        if (n < JOBS_MAX)
                return 0;
        refuse(&request->refusal, CODE(BUSY), NULL, "%u such requests are running, the limit", n);
        request->refusal.retry_after_ms = BUSY_RETRY_MS;
        return -1;
}

int job_start(struct server *server, struct request *request) {
        if (server->draining)
                return refuse(&request->refusal, CODE(SHUTTING_DOWN), NULL,
                              "the daemon is stopping and takes no new requests");
        if (check_busy(server, request) < 0)
                return -1;
        struct job *job = calloc(1, sizeof(*job));
        if (!job)
                return refuse(&request->refusal, CODE(INTERNAL), NULL, "out of memory");
        job->request = request;
        job->engine = server->engine;
        job->run = request->job;
        job->server = server;
        job->over.data = job;
        request->job = NULL;
        atomic_store(&request->live.phase, SEEKD__V1__PHASE__PHASE_WORKING);
        if (uv_async_init(&server->loop, &job->over, on_over) < 0) {
                free(job);
                return refuse(&request->refusal, CODE(INTERNAL), NULL, "out of memory");
        }
        if (pthread_create(&job->thread, NULL, job_main, job) != 0) {
                uv_close((uv_handle_t *)&job->over, free_job);
                return refuse(&request->refusal, CODE(INTERNAL), NULL, "no thread can be started");
        }
        job->next = server->jobs;
        server->jobs = job;
        return 0;
}

void jobs_end(struct server *server) {
        for (struct job *job = server->jobs; job; job = job->next)
                atomic_store(&job->ending, true);
}
