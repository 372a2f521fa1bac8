#include "daemon/account.h"

#include <stdlib.h>

#include "base/clock.h"
#include "daemon/limits.h"

struct account *account_get(struct account_table *table, uid_t uid) {
        struct account **bucket = &table->buckets[uid % ACCOUNT_BUCKETS];
        for (struct account *a = *bucket; a; a = a->next)
                if (a->uid == uid)
                        return a;
        struct account *account = calloc(1, sizeof(*account));
        if (!account)
                return NULL;
        account->uid = uid;
        account->next = *bucket;
        *bucket = account;
        return account;
}

void account_table_deinit(struct account_table *table) {
        for (unsigned i = 0; i < ACCOUNT_BUCKETS; i++) {
                while (table->buckets[i]) {
                        struct account *account = table->buckets[i];
                        table->buckets[i] = account->next;
                        free(account);
                }
        }
}

bool account_may_log(struct account *account, uint64_t now_ns, uint64_t *ret_unlogged) {
        if (account->logged_at_ns != 0 &&
            now_ns - account->logged_at_ns < LOG_INTERVAL_PER_UID_S * NS_PER_S) {
                account->n_unlogged++;
                return false;
        }
        *ret_unlogged = account->n_unlogged;
        account->n_unlogged = 0;
        account->logged_at_ns = now_ns;
        return true;
}
