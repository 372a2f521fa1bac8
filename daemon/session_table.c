#include "daemon/session_table.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/account.h"
#include "daemon/refusal.h"
#include "daemon/remembered.h"
#include "daemon/request.h"

#define CODE(name) SEEKD__V1__ERROR_CODE__ERROR_CODE_##name

int session_table_init(struct session_table *table, struct account_table *accounts) {
        *table = (struct session_table){ .accounts = accounts };
        session_store_init(&table->store);
        if (sodium_init() < 0)
                return -EIO;
        randombytes_buf(table->name_key, sizeof(table->name_key));
        return 0;
}

static void session_free(struct session *session) {
        token_list_deinit(&session->tokens);
        free(session->name);
        free(session);
}

void session_table_deinit(struct session_table *table) {
        struct session *session;
        for (size_t at = 0; (session = id_table_next(&table->by_id, &at));)
                session_free(session);
        id_table_deinit(&table->by_id);
        id_table_deinit(&table->by_name);
        session_store_deinit(&table->store);
}

static uint64_t random_id(const struct session_table *table) {
        uint64_t id;
        do
                randombytes_buf(&id, sizeof(id));
        while (id == 0 || id_table_get(&table->by_id, id));
        return id;
}

struct session *session_add(struct session_table *table, uint64_t id, uint32_t uid) {
        struct account *account = account_get(table->accounts, uid);
        struct session *session = calloc(1, sizeof(*session));
        id = id != 0 ? id : random_id(table);
        if (!account || !session || id_table_set(&table->by_id, id, session) < 0) {
                free(session);
                return NULL;
        }
        session->table = table;
        session->id = id;
        session->owner = uid;
        return session;
}

void session_drop(struct session *session) {
        id_table_remove(&session->table->by_id, session->id);
        session->gone = true;
        if (!session->first)
                session_free(session);
}

/* NULL = no memory. */
static struct session *add(struct session_table *table, uint64_t id, uint32_t uid) {
        struct session *session = session_add(table, id, uid);
        if (session)
                account_get(table->accounts, uid)->n_sessions++;
        return session;
}

static void charge(const struct session *session, uint64_t before, uint64_t after) {
        struct account *account = account_get(session->table->accounts, session->owner);
        assert(account && account->session_tokens >= before); /* made with the session */
        account->session_tokens += after - before;
}

static int check_number(const struct session_table *table, uint32_t uid, struct refusal *refusal) {
        const struct account *account = account_get(table->accounts, uid);
        if (account && account->n_sessions >= SESSIONS_PER_UID_MAX)
                return refuse(refusal, CODE(BUSY), NULL,
                              "this user has %u sessions, the limit: close some with `forget`",
                              account->n_sessions);
        if (table->by_id.n >= SESSIONS_MAX)
                return refuse(refusal, CODE(BUSY), NULL,
                              "there are %zu sessions of all users, the limit", table->by_id.n);
        return 0;
}

int session_open(struct session_table *table, uint32_t uid, const char *subject, uint64_t now_s,
                 struct session **ret, struct refusal *refusal) {
        size_t n = strlen(subject);
        if (n > SUBJECT_BYTES_MAX)
                return refuse(refusal, CODE(INVALID), "subject", "subject: %zu bytes, at most %d",
                              n, SUBJECT_BYTES_MAX);
        if (check_number(table, uid, refusal) < 0)
                return -1;
        struct session *session = add(table, 0, uid);
        if (!session)
                return refuse(refusal, CODE(INTERNAL), NULL, "out of memory");
        memcpy(session->subject, subject, n);
        session->created_s = session->used_s = now_s;
        session->loaded = true;
        *ret = session;
        return 0;
}

bool session_restore(struct session_table *table, const struct kv_session *kept) {
        if (strlen(kept->subject) > SUBJECT_BYTES_MAX || kept->id == 0 ||
            id_table_get(&table->by_id, kept->id))
                return false;
        struct session *session = add(table, kept->id, kept->owner);
        if (!session)
                return false;
        strcpy(session->subject, kept->subject); /* fits: checked */
        session->pinned = kept->flags & SESSION_PINNED;
        session->created_s = kept->created_s;
        session->used_s = kept->used_s;
        session->n_tokens = kept->n_tokens;
        session->loaded = kept->n_tokens == 0;
        charge(session, 0, kept->n_tokens);
        return true;
}

struct session *session_find(const struct session_table *table, uint32_t uid, uint64_t id) {
        struct session *session = id_table_get(&table->by_id, id);
        return session && session->owner == uid && !session->name ? session : NULL;
}

int session_check_room(const struct session *session, uint64_t n_tokens, struct refusal *refusal) {
        const struct session_table *table = session->table;
        const struct account *account = account_get(table->accounts, session->owner);
        if (n_tokens > table->context_tokens)
                return refuse(refusal, CODE(TOO_LARGE), "session",
                              "session: %llu tokens and %llu more do not fit the context of %u",
                              (unsigned long long)session->n_tokens,
                              (unsigned long long)(n_tokens - session->n_tokens),
                              table->context_tokens);
        if (n_tokens > session->n_tokens && account &&
            account->session_tokens + (n_tokens - session->n_tokens) > SESSION_TOKENS_PER_UID_MAX)
                return refuse(refusal, CODE(BUSY), "session",
                              "session: this user's sessions have %llu tokens, %llu more would "
                              "pass the limit of %u: close some with `forget`",
                              (unsigned long long)account->session_tokens,
                              (unsigned long long)(n_tokens - session->n_tokens),
                              SESSION_TOKENS_PER_UID_MAX);
        return 0;
}

void session_set_tokens(struct session *session, struct token_list *tokens, uint64_t now_s) {
        struct token_list before = session->tokens;
        charge(session, session->n_tokens, tokens->n);
        session->tokens = *tokens;
        session->n_tokens = tokens->n;
        session->loaded = true;
        session->used_s = now_s;
        *tokens = (struct token_list){ 0 };
        token_list_deinit(&before);
}

static int check_position(const struct session *session, uint64_t position,
                          struct refusal *refusal) {
        if (position <= session->n_tokens)
                return 0;
        return refuse(refusal, CODE(INVALID), "position",
                      "position: is %llu, the session has %llu tokens",
                      (unsigned long long)position, (unsigned long long)session->n_tokens);
}

int session_fork(const struct session *session, uint64_t position, uint64_t now_s,
                 struct session **ret, struct refusal *refusal) {
        struct session_table *table = session->table;
        struct token_list tokens = { 0 };
        struct session *fork;
        assert(session->loaded);
        if (check_position(session, position, refusal) < 0)
                return -1;
        size_t n = position > 0 ? position : session->n_tokens;
        const struct session empty = { .table = table, .owner = session->owner };
        if (session_check_room(&empty, n, refusal) < 0)
                return -1;
        if (n > 0 && token_list_append(&tokens, session->tokens.ids, n) < 0)
                return refuse(refusal, CODE(INTERNAL), NULL, "out of memory");
        if (session_open(table, session->owner, session->subject, now_s, &fork, refusal) < 0) {
                token_list_deinit(&tokens);
                return -1;
        }
        session_set_tokens(fork, &tokens, now_s);
        *ret = fork;
        return 0;
}

int session_rewind(struct session *session, uint64_t position, uint64_t now_s,
                   struct refusal *refusal) {
        assert(session->loaded);
        if (position == 0)
                return refuse(refusal, CODE(INVALID), "position",
                              "position: is 0, at least the first token (BOS) stays");
        if (check_position(session, position, refusal) < 0)
                return -1;
        charge(session, session->n_tokens, position);
        session->tokens.n = session->n_tokens = position;
        session->used_s = now_s;
        return 0;
}

void session_set_pinned(struct session *session, bool pinned) {
        session->pinned = pinned;
}

void session_touch(struct session *session, uint64_t now_s) {
        session->used_s = now_s;
}

void session_forget(struct session *session) {
        struct session_table *table = session->table;
        remembered_forget_tied(table, session);
        charge(session, session->n_tokens, 0);
        account_get(table->accounts, session->owner)->n_sessions--;
        session_drop(session);
}

/* -------- who has it -------- */

bool session_enter(struct session *session, struct request *request) {
        request->session = session;
        request->session_next = NULL;
        if (session->last)
                session->last->session_next = request;
        else
                session->first = request;
        session->last = request;
        return session->first == request;
}

struct request *session_leave(struct request *request) {
        struct session *session = request->session;
        assert(session->first == request);
        session->first = request->session_next;
        request->session = NULL;
        if (session->first)
                return session->first;
        session->last = NULL;
        if (session->gone)
                session_free(session);
        return NULL;
}
