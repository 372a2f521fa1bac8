/* The list of sessions: asked for in parts, given as one block of memory. */
#include <stdlib.h>
#include <string.h>

#include "client/client.h"

/* What has come so far; subjects are copies. */
struct gathering {
        struct seekd_session *sessions;
        size_t n, capacity, subject_bytes;
        bool more;
};

static void gathering_deinit(struct gathering *gathering) {
        for (size_t i = 0; i < gathering->n; i++)
                free((void *)(uintptr_t)gathering->sessions[i].subject);
        free(gathering->sessions);
}

static bool gather(struct gathering *gathering, const Seekd__V1__SessionEntry *entry) {
        if (gathering->n == gathering->capacity) {
                size_t more = gathering->capacity ? 2 * gathering->capacity : 64;
                void *grown = reallocarray(gathering->sessions, more, sizeof(struct seekd_session));
                if (!grown)
                        return false;
                gathering->sessions = grown;
                gathering->capacity = more;
        }
        char *subject = strdup(entry->subject);
        if (!subject)
                return false;
        gathering->subject_bytes += strlen(subject) + 1;
        gathering->sessions[gathering->n++] = (struct seekd_session){
                .id = entry->session,
                .subject = subject,
                .tokens = entry->tokens,
                .created_s = entry->created,
                .used_s = entry->used,
                .uid = entry->uid,
                .pinned = entry->pinned,
                .running = entry->running,
                .durable = entry->durable,
        };
        return true;
}

static int take_part(void *userdata, const ProtobufCMessage *answer, struct error *err) {
        const Seekd__V1__SessionListResult *result = (const Seekd__V1__SessionListResult *)answer;
        struct gathering *gathering = userdata;
        gathering->more = result->more && result->n_sessions > 0;
        for (size_t i = 0; i < result->n_sessions; i++)
                if (!gather(gathering, result->sessions[i]))
                        return error_set(err, SEEKD_E_NO_MEMORY, "no memory for the sessions");
        return 0;
}

static int ask_for_all(struct seekd_client *client, bool all, struct gathering *gathering) {
        Seekd__V1__SessionList list = SEEKD__V1__SESSION_LIST__INIT;
        list.all = all;
        do {
                struct seekd_request *request =
                        client_question(client, RECORD_SESSION_LIST_RESULT, take_part, gathering);
                if (!request)
                        return client->error.code;
                list.request_id = request->id;
                list.after = gathering->n > 0 ? gathering->sessions[gathering->n - 1].id : 0;
                int code = client_ask(client, request, RECORD_SESSION_LIST, &list.base);
                if (code < 0)
                        return code;
        } while (gathering->more);
        return 0;
}

static int latest_first(const void *a, const void *b) {
        const struct seekd_session *x = a, *y = b;
        if (x->used_s != y->used_s)
                return x->used_s > y->used_s ? -1 : 1;
        return x->id < y->id ? -1 : x->id > y->id;
}

/* List, pointers, sessions, subjects, so that one free() frees all. NULL = no memory. */
static struct seekd_session_list *make_list(struct gathering *gathering) {
        size_t n = gathering->n;
        struct seekd_session_list *list =
                malloc(sizeof(*list) + n * (sizeof(void *) + sizeof(struct seekd_session)) +
                       gathering->subject_bytes);
        if (!list)
                return NULL;
        const struct seekd_session **pointers = (const struct seekd_session **)(list + 1);
        struct seekd_session *sessions = (struct seekd_session *)(pointers + n);
        char *subject = (char *)(sessions + n);
        if (n > 0)
                qsort(gathering->sessions, n, sizeof(*sessions), latest_first);
        for (size_t i = 0; i < n; i++) {
                size_t bytes = strlen(gathering->sessions[i].subject) + 1;
                sessions[i] = gathering->sessions[i];
                sessions[i].subject = memcpy(subject, gathering->sessions[i].subject, bytes);
                subject += bytes;
                pointers[i] = &sessions[i];
        }
        *list = (struct seekd_session_list){ sizeof(*list), pointers, n };
        return list;
}

int seekd_session_list(struct seekd_client *client, int all, struct seekd_session_list **ret_list) {
        struct gathering gathering = { 0 };
        int code = ask_for_all(client, all != 0, &gathering);
        if (code == 0 && !(*ret_list = make_list(&gathering)))
                code = client_fail(client, SEEKD_E_NO_MEMORY, "no memory for the sessions");
        gathering_deinit(&gathering);
        return code;
}
