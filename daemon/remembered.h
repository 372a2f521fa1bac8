/* Token ids that a client keeps under a key of its own, so that it need not send them again nor
 * find them in the text that they had. They are kept as sessions are, with a name instead of an id;
 * a user's least recently used ones make room for new ones, but those tied to a session live as
 * long as that. Loop thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kv_session;
struct refusal;
struct session;
struct session_table;
struct token_list;

struct remembered_key {
        uint32_t uid;
        const char *subject;
        const uint8_t *bytes;
        size_t n; /* 1 to REMEMBERED_KEY_BYTES_MAX: see remembered_check_key() */
};

int remembered_check_key(const struct remembered_key *key, struct refusal *refusal);

/* Keeps the tokens, which it takes over, under the key instead of what was there. `tied_to`: id of
 * a session of the same user, 0 = none. 0, or -1 with *refusal: then nothing is kept under the key.
 */
int remember(struct session_table *table, const struct remembered_key *key,
             struct token_list *tokens, uint64_t tied_to, uint64_t now_s, struct refusal *refusal);

/* NULL: nothing is kept under it. Counts as used. */
struct session *remembered_find(struct session_table *table, const struct remembered_key *key,
                                uint64_t now_s);

/* Out of table and store. */
void remembered_forget(struct session *entry);

/* Its session ends. */
void remembered_forget_tied(struct session_table *table, const struct session *session);

/* One of the store; false: it cannot be one of ours, or no memory. Once all are restored: those
 * whose session is not there any more are forgotten. */
bool remembered_restore(struct session_table *table, const struct kv_session *kept);
void remembered_restored(struct session_table *table);
