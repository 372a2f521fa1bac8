#include "daemon/retention.h"

#include <stdbool.h>

static size_t count_of(const struct retained *retained, size_t n, uint32_t uid) {
        size_t count = 0;
        for (size_t i = 0; i < n; i++)
                count += retained[i].uid == uid;
        return count;
}

static size_t count_users(const struct retained *retained, size_t n) {
        size_t count = 0;
        for (size_t i = 0; i < n; i++)
                count += count_of(retained, i, retained[i].uid) == 0;
        return count;
}

/* True: its user has more than an equal share. One alone has all. */
static bool has_more(const struct retained *retained, size_t n, uint32_t uid) {
        size_t n_users = count_users(retained, n);
        return count_of(retained, n, uid) * n_users > n + n_users - 1;
}

/* What goes first: the least of these two, in this order. */
struct claim {
        unsigned rank;
        uint64_t within; /* among those of one rank */
};

static struct claim claim_of(const struct retained *retained, size_t n, size_t i, uint64_t now_ns) {
        const struct retained *r = &retained[i];
        if (r->until_ns != 0 && r->until_ns <= now_ns)
                return (struct claim){ 0, r->until_ns };
        unsigned person = has_more(retained, n, r->uid) ? 1 : 3, tool = person + 1;
        if (r->until_ns != 0)
                return (struct claim){ tool, UINT64_MAX - r->until_ns };
        return (struct claim){ person, i };
}

size_t retention_choose(const struct retained *retained, size_t n, size_t except, uint64_t now_ns) {
        size_t first = SIZE_MAX;
        struct claim least = { 0, 0 };
        for (size_t i = 0; i < n; i++) {
                struct claim claim = claim_of(retained, n, i, now_ns);
                bool less = claim.rank < least.rank ||
                        (claim.rank == least.rank && claim.within < least.within);
                if (i == except || (first != SIZE_MAX && !less))
                        continue;
                first = i;
                least = claim;
        }
        return first;
}
