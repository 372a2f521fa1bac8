#include "daemon/cache_requests.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/background.h"
#include "base/error.h"
#include "daemon/engine_thread.h"
#include "daemon/job.h"
#include "daemon/keeper.h"
#include "daemon/purge.h"
#include "daemon/request.h"
#include "daemon/server.h"
#include "memory/kv_store.h"
#include "memory/kv_verify.h"
#include "proto/message.h"

#define CODE(name) SEEKD__V1__ERROR_CODE__ERROR_CODE_##name

/* As seekd.proto promises; at most 70 bytes each. */
#define OWNERS_MAX 1024

static bool is_operator(const struct request *request) {
        return request->uid == 0 || request->uid == geteuid();
}

static int forbid(struct request *request, const char *what) {
        return refuse(&request->refusal, CODE(FORBIDDEN), NULL,
                      "%s: only root and the daemon's own user may do that", what);
}

/* -------- list -------- */

struct listing {
        const struct request *request;
        Seekd__V1__CacheOwner owner[OWNERS_MAX];
        Seekd__V1__CacheOwner *pointer[OWNERS_MAX];
        size_t n;
};

/* NULL: not the caller's to see, or too many. */
static Seekd__V1__CacheOwner *entry_of(struct listing *listing, uint32_t uid) {
        for (size_t i = 0; i < listing->n; i++)
                if (listing->owner[i].uid == uid)
                        return &listing->owner[i];
        if (listing->n == OWNERS_MAX ||
            (uid != listing->request->uid && !is_operator(listing->request)))
                return NULL;
        Seekd__V1__CacheOwner *owner = &listing->owner[listing->n];
        seekd__v1__cache_owner__init(owner);
        owner->uid = uid;
        listing->pointer[listing->n++] = owner;
        return owner;
}

static void take_memory(void *context, const struct kv_cache_owner *owner) {
        Seekd__V1__CacheOwner *entry = entry_of(context, owner->owner);
        if (!entry)
                return;
        entry->host_bytes = owner->bytes;
        entry->pinned_bytes = owner->pinned_bytes;
}

static void take_disk(void *context, const struct kv_owner_statistics *owner) {
        Seekd__V1__CacheOwner *entry = entry_of(context, owner->owner);
        if (!entry)
                return;
        entry->disk_bytes = owner->bytes;
        entry->disk_pages = owner->n_pages;
        entry->disk_states = owner->n_frontiers;
}

static int by_uid(const void *a, const void *b) {
        uint32_t x = (*(Seekd__V1__CacheOwner *const *)a)->uid;
        uint32_t y = (*(Seekd__V1__CacheOwner *const *)b)->uid;
        return x < y ? -1 : x > y;
}

/* Engine thread. */
static void list(struct request *request, struct keeper *keeper) {
        struct listing *listing = calloc(1, sizeof(*listing));
        struct kv_store *store = keeper_store(keeper);
        struct keeper_limits limits = keeper_user_limits(keeper);
        if (!listing) {
                refuse(&request->refusal, CODE(INTERNAL), NULL, "out of memory");
                return;
        }
        listing->request = request;
        keeper_each_owner(keeper, take_memory, listing);
        if (store)
                kv_store_each_owner(store, take_disk, listing);
        qsort(listing->pointer, listing->n, sizeof(Seekd__V1__CacheOwner *), by_uid);
        Seekd__V1__CacheListResult result = SEEKD__V1__CACHE_LIST_RESULT__INIT;
        result.request_id = request->id;
        result.n_owners = listing->n;
        result.owners = listing->pointer;
        result.host_bytes_max = limits.host_bytes;
        result.disk_bytes_max = limits.disk_bytes;
        request_set_result(request, RECORD_CACHE_LIST_RESULT, &result.base);
        free(listing);
}

/* -------- verify -------- */

static void tell_kept(void *userdata, uint64_t done, uint64_t total) {
        job_tell(userdata, "kept KV", done, total);
}

static bool is_cancelled(void *userdata) {
        return job_cancelled(userdata);
}

static int verify_kept(struct job *job, Seekd__V1__CacheVerifyResult *result) {
        struct kv_store *store = engine_thread_store(job->engine);
        if (!store)
                return 0;
        struct kv_verify_options options = {
                .one_owner = !is_operator(job->request),
                .owner = job->request->uid,
                .background = true,
                .progress = tell_kept,
                .cancelled = is_cancelled,
                .userdata = job,
        };
        struct kv_verified verified;
        int r = kv_store_verify(store, &options, &verified);
        result->values = verified.n_values;
        result->bytes = verified.bytes;
        result->damaged = verified.n_damaged;
        return r;
}

struct engram_check {
        struct job *job;
        Seekd__V1__CacheVerifyResult *result;
};

static void tell_engram(void *userdata, const struct engram_progress *progress) {
        struct engram_check *check = userdata;
        check->result->engram_bytes = progress->done;
        job_tell(check->job, progress->what, progress->done, progress->total);
}

static void count_damage(void *userdata, const struct engram_damage *damage) {
        (void)damage;
        ((struct engram_check *)userdata)->result->engram_damaged++;
}

static bool is_check_cancelled(void *userdata) {
        return job_cancelled(((struct engram_check *)userdata)->job);
}

/* `why`: about damage. */
static int verify_engram(struct job *job, Seekd__V1__CacheVerifyResult *result, struct error *why) {
        struct engram_check check = { job, result };
        struct engram_verify_options options = {
                .background = true,
                .progress = tell_engram,
                .damaged = count_damage,
                .cancelled = is_check_cancelled,
                .userdata = &check,
        };
        int r = engram_verify(engine_thread_engram(job->engine), &options, why);
        result->engram = r != -ENOENT;
        return r == -ENOENT || r == -EUCLEAN ? 0 : r;
}

static void verify(struct job *job) {
        struct request *request = job->request;
        struct error why = { 0 };
        Seekd__V1__CacheVerifyResult result = SEEKD__V1__CACHE_VERIFY_RESULT__INIT;
        result.request_id = request->id;
        int r = verify_kept(job, &result);
        if (r == 0 && is_operator(request))
                r = verify_engram(job, &result, &why);
        if (r < 0 && r != -ECANCELED) {
                refuse(&request->refusal, CODE(INTERNAL), NULL, "%s",
                       r == -ENOMEM ? "out of memory" : why.text);
                return;
        }
        result.complete = r == 0;
        if (result.engram_damaged > 0)
                result.engram_message = why.text;
        request_set_result(request, RECORD_CACHE_VERIFY_RESULT, &result.base);
}

/* -------- purge -------- */

static void purge(struct server *server, struct request *request) {
        const Seekd__V1__CachePurge *message = (const Seekd__V1__CachePurge *)request->message;
        uint32_t uid = message->uid_given ? message->uid : request->uid;
        if (uid != request->uid && !is_operator(request)) {
                forbid(request, "uid");
                return;
        }
        request->purge = purge_new(uid);
        if (!request->purge) {
                refuse(&request->refusal, CODE(INTERNAL), NULL, "out of memory");
                return;
        }
        if (purge_sessions(server, request) < 0)
                return;
        request->errand = purge_kept;
        request->job = purge_wait;
}

/* -------- import -------- */

static void tell_import(void *userdata, const struct engram_progress *progress) {
        job_tell(userdata, progress->what, progress->done, progress->total);
}

static int import_code(int r) {
        switch (r) {
        case -ENOTSUP:
        case -ENOENT: return CODE(UNSUPPORTED);
        case -EBUSY: return CODE(BUSY);
        default: return CODE(INTERNAL);
        }
}

static void import(struct job *job) {
        struct request *request = job->request;
        struct error err = { 0 };
        const struct engram *engram = engine_thread_engram(job->engine);
        struct engram_making making = { tell_import, is_cancelled, job };
        background_thread();
        int r = engram_make(engram, &making, &err);
        if (r < 0 && r != -ECANCELED) {
                refuse(&request->refusal, import_code(r), NULL, "%s", err.text);
                return;
        }
        Seekd__V1__ImportResult result = SEEKD__V1__IMPORT_RESULT__INIT;
        result.request_id = request->id;
        result.complete = r >= 0;
        result.already = r == 1;
        result.in_use = engram_in_use(engram);
        result.path = (char *)(uintptr_t)engram_path(engram);
        request_set_result(request, RECORD_IMPORT_RESULT, &result.base);
}

/* -------- which -------- */

bool cache_requests_serve(uint16_t type) {
        switch (type) {
        case RECORD_CACHE_LIST:
        case RECORD_CACHE_VERIFY:
        case RECORD_CACHE_PURGE:
        case RECORD_IMPORT: return true;
        default: return false;
        }
}

void cache_requests_do(struct server *server, struct request *request) {
        if (request->refusal.code != 0)
                return;
        switch (request->type) {
        case RECORD_CACHE_LIST: request->errand = list; break;
        case RECORD_CACHE_VERIFY: request->job = verify; break;
        case RECORD_CACHE_PURGE: purge(server, request); break;
        case RECORD_IMPORT:
                if (!is_operator(request))
                        forbid(request, "import");
                else
                        request->job = import;
                break;
        default: break;
        }
}

void cache_requests_leave(struct request *request) {
        purge_unref(request->purge);
        request->purge = NULL;
}
