/* Sessions: lists of token ids that outlive the requests that made them.
 *
 * Pure bookkeeping: who owns what, limits, and who has a session when. Loop thread, but for the ids
 * of a session that a request has: they are that request's to read, on whatever thread it is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/limits.h"
#include "daemon/session_store.h"
#include "engine/tokenizer.h"
#include "memory/id_table.h"

struct account_table;
struct refusal;
struct request;

struct session {
        struct session_table *table;
        uint64_t id; /* not 0 */
        uint32_t owner;
        char subject[SUBJECT_BYTES_MAX + 1];
        bool pinned;
        uint64_t created_s, used_s; /* since 1970 */
        uint64_t n_tokens;
        struct token_list tokens;     /* when loaded */
        bool loaded;                  /* else they are in the store alone */
        bool damaged;                 /* they could not be read */
        bool gone;                    /* out of the table; its last request frees it */
        struct request *first, *last; /* who has it, then who waits for it; by session_next */
        struct session_saving saving;

        /* Of one that is found by a key of its owner's instead of its id (daemon/remembered.h). */
        uint8_t *name; /* [n_name], NULL = it has none */
        uint32_t n_name;
        uint64_t tied_to;                /* id of the session with which it ends; 0 = none */
        struct session *later, *earlier; /* of the same owner, by time of last use */
};

struct session_table {
        struct id_table by_id;          /* all */
        struct id_table by_name;        /* those with a name, by its hash */
        uint8_t name_key[16];           /* of that hash */
        struct account_table *accounts; /* borrowed */
        uint32_t context_tokens;        /* of the model */
        struct session_store store;
};

/* `accounts` outlives the table. 0, or -EIO: no source of randomness. */
int session_table_init(struct session_table *table, struct account_table *accounts);
void session_table_deinit(struct session_table *table); /* no request has a session */

/* Functions that can refuse return 0, or -1 with *refusal, having changed nothing. */

/* A new one without tokens, with a random id. */
int session_open(struct session_table *table, uint32_t uid, const char *subject, uint64_t now_s,
                 struct session **ret, struct refusal *refusal);

/* One that was kept, without its ids; false: it cannot be one of ours, or no memory. */
bool session_restore(struct session_table *table, const struct kv_session *kept);

/* NULL: there is none, it is another's, or it has a name. */
struct session *session_find(const struct session_table *table, uint32_t uid, uint64_t id);

/* Whether it may have so many tokens: the model's context, and what its owner may have in all. */
int session_check_room(const struct session *session, uint64_t n_tokens, struct refusal *refusal);

/* It has these tokens from now on. Takes the list over, and gives back an empty one. */
void session_set_tokens(struct session *session, struct token_list *tokens, uint64_t now_s);

/* A new one with the first `position` tokens of this one, 0 = all. */
int session_fork(const struct session *session, uint64_t position, uint64_t now_s,
                 struct session **ret, struct refusal *refusal);
int session_rewind(struct session *session, uint64_t position, uint64_t now_s,
                   struct refusal *refusal);
void session_set_pinned(struct session *session, bool pinned);
void session_touch(struct session *session, uint64_t now_s); /* used; not worth a write */

/* For remembered.c. One more in the table, 0 = with a random id, not yet counted in its owner's
 * account; NULL = no memory. Out of the table, counted no more. */
struct session *session_add(struct session_table *table, uint64_t id, uint32_t uid);
void session_drop(struct session *session);

/* Out of the table; freed now, or with the last request that has it or waits for it. */
void session_forget(struct session *session);

/* Gives the session to the request, or puts it in the session's queue: true = it has it now. */
bool session_enter(struct session *session, struct request *request);
/* The request that had it is done with it. Returns the one that has it now, or NULL. */
struct request *session_leave(struct request *request);
