#include "daemon/remembered.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/account.h"
#include "daemon/refusal.h"
#include "daemon/session_table.h"
#include "proto/seekd.pb-c.h"

#define CODE(name) SEEKD__V1__ERROR_CODE__ERROR_CODE_##name

static struct account *account_of(const struct session *entry) {
        struct account *account = account_get(entry->table->accounts, entry->owner);
        assert(account); /* made with the first of its entries */
        return account;
}

int remembered_check_key(const struct remembered_key *key, struct refusal *refusal) {
        size_t n_subject = strlen(key->subject);
        if (n_subject > SUBJECT_BYTES_MAX)
                return refuse(refusal, CODE(INVALID), "subject", "subject: %zu bytes, at most %d",
                              n_subject, SUBJECT_BYTES_MAX);
        if (key->n == 0 || key->n > REMEMBERED_KEY_BYTES_MAX)
                return refuse(refusal, CODE(INVALID), "key", "key: %zu bytes, 1 to %d are possible",
                              key->n, REMEMBERED_KEY_BYTES_MAX);
        return 0;
}

/* -------- by name -------- */

static_assert(crypto_shorthash_KEYBYTES == sizeof(((struct session_table *)NULL)->name_key), "");

/* Keyed anew in each process: nobody can make two names meet. */
static uint64_t hash_of(const struct session_table *table, const struct remembered_key *key) {
        uint8_t bytes[sizeof(key->uid) + SUBJECT_BYTES_MAX + 1 + REMEMBERED_KEY_BYTES_MAX];
        size_t n_subject = strlen(key->subject) + 1;
        uint64_t hash;
        memcpy(bytes, &key->uid, sizeof(key->uid));
        memcpy(bytes + sizeof(key->uid), key->subject, n_subject);
        memcpy(bytes + sizeof(key->uid) + n_subject, key->bytes, key->n);
        crypto_shorthash((uint8_t *)&hash, bytes, sizeof(key->uid) + n_subject + key->n,
                         table->name_key);
        return hash;
}

static struct remembered_key key_of(const struct session *entry) {
        return (struct remembered_key){
                .uid = entry->owner,
                .subject = entry->subject,
                .bytes = entry->name,
                .n = entry->n_name,
        };
}

static struct session *find(const struct session_table *table, const struct remembered_key *key) {
        struct session *entry = id_table_get(&table->by_name, hash_of(table, key));
        return entry && entry->owner == key->uid && strcmp(entry->subject, key->subject) == 0 &&
                        entry->n_name == key->n && memcmp(entry->name, key->bytes, key->n) == 0
                ? entry
                : NULL;
}

/* -------- by time of use: the account's list, latest first -------- */

static void unlink_used(struct session *entry) {
        struct account *account = account_of(entry);
        if (entry->later)
                entry->later->earlier = entry->earlier;
        else
                account->remembered_latest = entry->earlier;
        if (entry->earlier)
                entry->earlier->later = entry->later;
        else
                account->remembered_earliest = entry->later;
        entry->later = entry->earlier = NULL;
}

static void link_used(struct session *entry) {
        struct account *account = account_of(entry);
        struct session *later = NULL, *earlier = account->remembered_latest;
        while (earlier && earlier->used_s > entry->used_s) { /* at start alone */
                later = earlier;
                earlier = earlier->earlier;
        }
        entry->later = later;
        entry->earlier = earlier;
        *(later ? &later->earlier : &account->remembered_latest) = entry;
        *(earlier ? &earlier->later : &account->remembered_earliest) = entry;
}

/* -------- forgetting -------- */

void remembered_forget(struct session *entry) {
        struct session_table *table = entry->table;
        struct account *account = account_of(entry);
        const struct remembered_key key = key_of(entry);
        uint64_t hash = hash_of(table, &key);
        if (id_table_get(&table->by_name, hash) == entry)
                id_table_remove(&table->by_name, hash);
        unlink_used(entry);
        account->n_remembered--;
        account->remembered_tokens -= entry->n_tokens;
        session_unsave(entry);
        session_drop(entry);
}

void remembered_forget_tied(struct session_table *table, const struct session *session) {
        struct account *account = account_get(table->accounts, session->owner);
        struct session *earlier;
        for (struct session *e = account ? account->remembered_latest : NULL; e; e = earlier) {
                earlier = e->earlier;
                if (e->tied_to == session->id)
                        remembered_forget(e);
        }
}

/* Until there is room for n tokens more of the user. */
static int make_room(struct session_table *table, uint32_t uid, uint64_t n,
                     struct refusal *refusal) {
        struct account *account = account_get(table->accounts, uid);
        struct session *entry = account ? account->remembered_earliest : NULL;
        while (account &&
               (account->n_remembered >= REMEMBERED_PER_UID_MAX ||
                account->remembered_tokens + n > REMEMBERED_TOKENS_PER_UID_MAX ||
                table->by_id.n >= SESSIONS_MAX)) {
                while (entry && entry->tied_to != 0)
                        entry = entry->later;
                if (!entry)
                        return refuse(refusal, CODE(BUSY), "key",
                                      "key: this user's sessions hold %u keys with %llu tokens, at "
                                      "most %u keys with %u tokens are kept",
                                      account->n_remembered,
                                      (unsigned long long)account->remembered_tokens,
                                      REMEMBERED_PER_UID_MAX, REMEMBERED_TOKENS_PER_UID_MAX);
                struct session *later = entry->later;
                remembered_forget(entry);
                entry = later;
        }
        return 0;
}

/* -------- keeping -------- */

/* NULL = no memory. Without tokens. */
static struct session *add(struct session_table *table, uint64_t id,
                           const struct remembered_key *key, uint64_t used_s) {
        uint64_t hash = hash_of(table, key);
        struct session *before = id_table_get(&table->by_name, hash);
        if (id_table_reserve(&table->by_name, table->by_name.n + 1) < 0)
                return NULL;
        struct session *entry = session_add(table, id, key->uid);
        uint8_t *name = malloc(key->n);
        if (!entry || !name) {
                free(name);
                if (entry)
                        session_drop(entry);
                return NULL;
        }
        if (before)
                remembered_forget(before);
        strcpy(entry->subject, key->subject); /* fits: checked */
        entry->name = memcpy(name, key->bytes, key->n);
        entry->n_name = (uint32_t)key->n;
        entry->used_s = used_s;
        id_table_set(&table->by_name, hash, entry); /* there is room */
        account_of(entry)->n_remembered++;
        link_used(entry);
        return entry;
}

int remember(struct session_table *table, const struct remembered_key *key,
             struct token_list *tokens, uint64_t tied_to, uint64_t now_s, struct refusal *refusal) {
        if (tokens->n > REMEMBERED_TOKENS_PER_UID_MAX)
                return refuse(refusal, CODE(TOO_LARGE), "tokens.ids",
                              "tokens.ids: %zu token ids, at most %u are kept of one user",
                              tokens->n, REMEMBERED_TOKENS_PER_UID_MAX);
        struct session *before = find(table, key);
        if (before)
                remembered_forget(before);
        if (make_room(table, key->uid, tokens->n, refusal) < 0)
                return -1;
        struct session *entry = add(table, 0, key, now_s);
        if (!entry)
                return refuse(refusal, CODE(INTERNAL), NULL, "out of memory");
        entry->created_s = now_s;
        entry->tied_to = tied_to;
        entry->tokens = *tokens;
        entry->n_tokens = tokens->n;
        entry->loaded = true;
        *tokens = (struct token_list){ 0 };
        account_of(entry)->remembered_tokens += entry->n_tokens;
        session_save(entry);
        return 0;
}

struct session *remembered_find(struct session_table *table, const struct remembered_key *key,
                                uint64_t now_s) {
        struct session *entry = find(table, key);
        if (!entry)
                return NULL;
        unlink_used(entry);
        /* Never before what was used meanwhile, also when the clock goes back. */
        const struct session *latest = account_of(entry)->remembered_latest;
        entry->used_s = latest && latest->used_s > now_s ? latest->used_s : now_s;
        link_used(entry);
        return entry;
}

/* -------- at start -------- */

bool remembered_restore(struct session_table *table, const struct kv_session *kept) {
        const struct remembered_key key = {
                .uid = kept->owner,
                .subject = kept->subject,
                .bytes = kept->name,
                .n = kept->n_name,
        };
        struct refusal refusal;
        if (remembered_check_key(&key, &refusal) < 0 || id_table_get(&table->by_id, kept->id))
                return false;
        struct session *entry = add(table, kept->id, &key, kept->used_s);
        if (!entry)
                return false;
        entry->created_s = kept->created_s;
        entry->tied_to = kept->tied_to;
        entry->n_tokens = kept->n_tokens;
        entry->loaded = kept->n_tokens == 0;
        account_of(entry)->remembered_tokens += entry->n_tokens;
        return true;
}

/* Forgetting changes the table, so it begins again after each; there are few, and seldom. */
static struct session *find_orphan(const struct session_table *table) {
        struct session *entry;
        for (size_t at = 0; (entry = id_table_next(&table->by_name, &at));)
                if (entry->tied_to != 0 && !session_find(table, entry->owner, entry->tied_to))
                        return entry;
        return NULL;
}

void remembered_restored(struct session_table *table) {
        for (struct session *entry; (entry = find_orphan(table));)
                remembered_forget(entry);
}
