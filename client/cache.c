/* Questions about kept KV and Engram tables. */
#include <stdio.h>
#include <stdlib.h>

#include "client/client.h"

static int take_list(void *userdata, const ProtobufCMessage *answer, struct error *err) {
        const Seekd__V1__CacheListResult *result = (const Seekd__V1__CacheListResult *)answer;
        size_t n = result->n_owners;
        struct seekd_cache_list *list =
                malloc(sizeof(*list) + n * (sizeof(void *) + sizeof(struct seekd_cache_owner)));
        if (!list)
                return error_set(err, SEEKD_E_NO_MEMORY, "no memory for the list");
        const struct seekd_cache_owner **pointers = (const struct seekd_cache_owner **)(list + 1);
        struct seekd_cache_owner *owners = (struct seekd_cache_owner *)(pointers + n);
        for (size_t i = 0; i < n; i++) {
                const Seekd__V1__CacheOwner *from = result->owners[i];
                owners[i] = (struct seekd_cache_owner){
                        .uid = from->uid,
                        .host_bytes = from->host_bytes,
                        .pinned_bytes = from->pinned_bytes,
                        .disk_bytes = from->disk_bytes,
                        .disk_pages = from->disk_pages,
                        .disk_states = from->disk_states,
                };
                pointers[i] = &owners[i];
        }
        *list = (struct seekd_cache_list){ sizeof(*list), pointers, n, result->host_bytes_max,
                                           result->disk_bytes_max };
        *(struct seekd_cache_list **)userdata = list;
        return 0;
}

int seekd_cache_list(struct seekd_client *client, struct seekd_cache_list **ret_list) {
        Seekd__V1__CacheList question = SEEKD__V1__CACHE_LIST__INIT;
        struct seekd_cache_list *list = NULL;
        struct seekd_request *request =
                client_question(client, RECORD_CACHE_LIST_RESULT, take_list, &list);
        if (!request)
                return client->error.code;
        question.request_id = request->id;
        int code = client_ask(client, request, RECORD_CACHE_LIST, &question.base);
        if (code == 0)
                *ret_list = list;
        return code;
}

/* -------- what takes long -------- */

struct long_question {
        seekd_work_fn work;
        void *userdata;
        void *ret; /* ours, of the question's kind */
};

static int pass_work(void *userdata, const struct seekd_work *work) {
        const struct long_question *question = userdata;
        return question->work ? question->work(question->userdata, work) : 0;
}

static struct seekd_request *long_question(struct seekd_client *client, unsigned answer_type,
                                           answer_fn answer, struct long_question *question) {
        struct seekd_request *request = client_question(client, answer_type, answer, question);
        if (!request)
                return NULL;
        request->takes_long = true;
        request->work = pass_work;
        return request;
}

static int give(struct seekd_client *client, int code, void *theirs, const void *ours, size_t bytes,
                const char *what) {
        if (code == 0 && versioned_write(theirs, ours, bytes, bytes) < 0)
                code = client_fail(client, SEEKD_E_INVALID, "%s: not initialised with its *_INIT",
                                   what);
        return code;
}

static int take_verified(void *userdata, const ProtobufCMessage *answer, struct error *err) {
        (void)err;
        const Seekd__V1__CacheVerifyResult *result = (const Seekd__V1__CacheVerifyResult *)answer;
        struct seekd_cache_verified *ret = ((struct long_question *)userdata)->ret;
        ret->complete = result->complete;
        ret->values = result->values;
        ret->bytes = result->bytes;
        ret->damaged = result->damaged;
        ret->engram = result->engram;
        ret->engram_bytes = result->engram_bytes;
        ret->engram_damaged = result->engram_damaged;
        snprintf(ret->engram_message, sizeof(ret->engram_message), "%s", result->engram_message);
        return 0;
}

int seekd_cache_verify(struct seekd_client *client, seekd_work_fn work, void *userdata,
                       struct seekd_cache_verified *ret) {
        Seekd__V1__CacheVerify question = SEEKD__V1__CACHE_VERIFY__INIT;
        struct seekd_cache_verified ours = SEEKD_CACHE_VERIFIED_INIT;
        struct long_question asked = { work, userdata, &ours };
        struct seekd_request *request =
                long_question(client, RECORD_CACHE_VERIFY_RESULT, take_verified, &asked);
        if (!request)
                return client->error.code;
        question.request_id = request->id;
        int code = client_ask(client, request, RECORD_CACHE_VERIFY, &question.base);
        return give(client, code, ret, &ours, sizeof(ours), "verified");
}

static int take_purged(void *userdata, const ProtobufCMessage *answer, struct error *err) {
        (void)err;
        const Seekd__V1__CachePurgeResult *result = (const Seekd__V1__CachePurgeResult *)answer;
        struct seekd_cache_purged *ret = ((struct long_question *)userdata)->ret;
        ret->uid = result->uid;
        ret->host_bytes = result->host_bytes;
        ret->disk_bytes = result->disk_bytes;
        ret->sessions = result->sessions;
        ret->on_disk = result->on_disk;
        return 0;
}

int seekd_cache_purge(struct seekd_client *client, int64_t uid, struct seekd_cache_purged *ret) {
        Seekd__V1__CachePurge question = SEEKD__V1__CACHE_PURGE__INIT;
        struct seekd_cache_purged ours = SEEKD_CACHE_PURGED_INIT;
        struct long_question asked = { .ret = &ours };
        if (uid < SEEKD_OWN_UID || uid > (int64_t)UINT32_MAX)
                return client_fail(client, SEEKD_E_INVALID, "uid: %lld is none", (long long)uid);
        struct seekd_request *request =
                long_question(client, RECORD_CACHE_PURGE_RESULT, take_purged, &asked);
        if (!request)
                return client->error.code;
        question.request_id = request->id;
        question.uid_given = uid != SEEKD_OWN_UID;
        question.uid = question.uid_given ? (uint32_t)uid : 0;
        int code = client_ask(client, request, RECORD_CACHE_PURGE, &question.base);
        return give(client, code, ret, &ours, sizeof(ours), "purged");
}

static int take_imported(void *userdata, const ProtobufCMessage *answer, struct error *err) {
        (void)err;
        const Seekd__V1__ImportResult *result = (const Seekd__V1__ImportResult *)answer;
        struct seekd_imported *ret = ((struct long_question *)userdata)->ret;
        ret->complete = result->complete;
        ret->already = result->already;
        ret->in_use = result->in_use;
        snprintf(ret->path, sizeof(ret->path), "%s", result->path);
        return 0;
}

int seekd_import(struct seekd_client *client, seekd_work_fn work, void *userdata,
                 struct seekd_imported *ret) {
        Seekd__V1__Import question = SEEKD__V1__IMPORT__INIT;
        struct seekd_imported ours = SEEKD_IMPORTED_INIT;
        struct long_question asked = { work, userdata, &ours };
        struct seekd_request *request =
                long_question(client, RECORD_IMPORT_RESULT, take_imported, &asked);
        if (!request)
                return client->error.code;
        question.request_id = request->id;
        int code = client_ask(client, request, RECORD_IMPORT, &question.base);
        return give(client, code, ret, &ours, sizeof(ours), "imported");
}
