/* The life of kept KV, by chance: several users' conversations grow, branch, pause, are cancelled,
 * pinned, purged and pushed out, under a store that refuses, delays, loses and damages, with
 * restarts and crashes. Whatever happens, a lease only ever goes on from the bytes that were
 * computed for exactly its user's tokens, and what tests/memory/kept_check.h counts is right.
 *
 *   SEEKD_TEST_SEED   one seed instead of the usual ones; even ones make the same steps in every
 * run SEEKD_TEST_STEPS  of each seed
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/memory/faulty_store.h"
#include "tests/memory/kept.h"
#include "tests/memory/kept_check.h"

#define TOKENS_MAX 2400
#define N_LEASES   6
#define N_PINS     6
#define N_TEXTS    18
#define N_OWNERS   3

/* Less than what six long leases would hold: things must go, and do not always fit. */
#define HOST_BYTES (40 * PAGE_BYTES + 14 * FRONTIER_BYTES)

/* Less than what the texts make in a while, and more than a single extent with its overhead. */
#define DISK_BYTES (64U << 10)

#define PINNED_BYTES_MAX (DISK_BYTES / 8)

/* Steps between two looks at everything. */
#define CHECK_EVERY 64

struct text {
        uint32_t owner;
        const char *subject;
        uint32_t ids[TOKENS_MAX], n;
};

struct running {
        struct text text; /* what it computes: its own copy */
        uint32_t position;
        bool ready;
        uint64_t parked_until;
};

struct simulation {
        uint64_t seed, state, step;
        struct kv_store *store;
        struct kv_cache *cache;
        struct text text[N_TEXTS];
        struct kv_lease *lease[N_LEASES];
        struct running running[N_LEASES];
        struct kv_pin *pin[N_PINS];
        struct text pinned[N_PINS];
        bool waits;     /* for each read at once: the same steps in every run */
        bool faultless; /* since its start */
        size_t acting;  /* number of the lease */
        uint64_t n_leases, n_reused, n_restarts, n_purges, n_pinned, n_ended;
        struct kv_cache_statistics sum;
};

static uint32_t draw(struct simulation *s, uint32_t n) {
        s->state = s->state * 6364136223846793005ULL + 1442695040888963407ULL;
        return (uint32_t)(s->state >> 33) % n;
}

/* One that is parked gives way to the one that acts. */
static bool end_parked(void *context) {
        struct simulation *s = context;
        for (size_t i = 0; i < N_LEASES; i++)
                if (i != s->acting && s->lease[i] && s->running[i].ready &&
                    s->running[i].parked_until > s->step) {
                        s->lease[i] = kv_lease_end(s->lease[i]);
                        s->n_ended++;
                        return true;
                }
        return false;
}

static void open_cache(struct simulation *s) {
        s->cache = kept_open(&(struct kv_cache_config){
                .host_bytes = HOST_BYTES,
                .owner_bytes_max = s->seed % 3 == 0 ? HOST_BYTES / 2 : 0,
                .owner_pinned_bytes_max = PINNED_BYTES_MAX,
                .store = s->store,
                .end_lease = end_parked,
                .end_lease_context = s,
        });
}

/* -- what clients do -----------------------------------------------------------------------------
 */

/* Grows, branches off another of the same user, or begins anew. */
static struct text *next_text(struct simulation *s) {
        struct text *t = &s->text[draw(s, N_TEXTS)];
        uint32_t what = draw(s, 12);
        if (what == 0 || t->n == 0 || t->n > TOKENS_MAX - 400) {
                t->n = 0;
                t->owner = draw(s, 5) % N_OWNERS; /* two ask more than the third */
                t->subject = draw(s, 2) ? "x" : NULL;
        } else if (what == 1) {
                uint32_t n = draw(s, t->n + 1);
                struct text *other = &s->text[draw(s, N_TEXTS)];
                *other = *t;
                other->n = n;
                t = other;
        }
        for (uint32_t grow = 1 + draw(s, 300); grow > 0; grow--)
                t->ids[t->n++] = draw(s, 3);
        return t;
}

static void begin(struct simulation *s, size_t i) {
        struct running *r = &s->running[i];
        *r = (struct running){ .text = *next_text(s) };
        const struct text *t = &r->text;
        assert_int_equal(kv_cache_lease(s->cache, t->owner, t->subject, t->ids, t->n, &s->lease[i]),
                         0);
        s->n_leases++;
        if (s->waits)
                kept_wait(s->lease[i]);
}

static void go_on(struct simulation *s, size_t i) {
        struct running *r = &s->running[i];
        const struct text *t = &r->text;
        if (!r->ready) {
                kept_wait(s->lease[i]);
                kept_check_reused(s->lease[i], t->owner, t->subject, t->ids, t->n);
                r->position = kv_lease_verdict(s->lease[i])->n_reused;
                s->n_reused += r->position > 0;
                r->ready = true;
                if (draw(s, 2)) /* copied */
                        kv_lease_release_frontier(s->lease[i]);
        }
        if (draw(s, 8) == 0)
                kv_lease_retry(s->lease[i]);
        uint32_t left = t->n - r->position;
        r->position += left > 0 ? 1 + draw(s, left) : 0;
        bool last = r->position == t->n;
        kept_extend(s->lease[i], t->owner, t->subject, t->ids, r->position, last || draw(s, 3) == 0,
                    last || draw(s, 2));
}

static void look(struct simulation *s) {
        const struct text *t = &s->text[draw(s, N_TEXTS)];
        struct kv_verdict verdict;
        if (t->n == 0)
                return;
        uint32_t n_known = kv_cache_known(s->cache, t->owner, t->subject, t->ids, t->n);
        assert_int_equal(kv_cache_look(s->cache, t->owner, t->subject, t->ids, t->n, &verdict), 0);
        assert_true(verdict.n_reused < t->n);
        assert_int_equal(n_known, verdict.n_reused);
}

static void pin(struct simulation *s) {
        size_t i = draw(s, N_PINS);
        s->pin[i] = kv_cache_unpin(s->pin[i]);
        struct text *t = &s->pinned[i];
        *t = s->text[draw(s, N_TEXTS)];
        if (draw(s, 3) == 0 ||
            kv_cache_pin(s->cache, t->owner, t->subject, t->ids, t->n, &s->pin[i]) < 0)
                return;
        s->n_pinned++;
        assert_true(kv_pin_tokens(s->pin[i]) <= t->n);
}

/* A user's will: leases run on, and whatever was kept of him is found no more. */
static void purge(struct simulation *s) {
        uint32_t owner = draw(s, N_OWNERS);
        for (int i = 0; i < N_PINS; i++)
                if (s->pin[i] && s->pinned[i].owner == owner)
                        s->pin[i] = kv_cache_unpin(s->pin[i]);
        assert_int_equal(kv_cache_purge(s->cache, owner), 0);
        faulty_store_purge(s->store, owner);
        for (int i = 0; i < N_TEXTS; i++) {
                const struct text *t = &s->text[i];
                struct kv_verdict verdict;
                if (t->n == 0 || t->owner != owner)
                        continue;
                assert_int_equal(kv_cache_look(s->cache, owner, t->subject, t->ids, t->n, &verdict),
                                 0);
                assert_int_equal(verdict.n_reused, 0);
        }
        s->n_purges++;
}

/* -- what happens to the daemon ------------------------------------------------------------------
 */

static void end_all(struct simulation *s) {
        for (int i = 0; i < N_LEASES; i++)
                s->lease[i] = kv_lease_end(s->lease[i]);
        for (int i = 0; i < N_PINS; i++)
                s->pin[i] = kv_cache_unpin(s->pin[i]);
        kept_check(s->cache, s->lease, N_LEASES, s->pin, N_PINS);
}

static void close_cache(struct simulation *s) {
        struct kv_cache_statistics now;
        kv_cache_statistics(s->cache, &now);
        s->sum.evicted_nodes += now.evicted_nodes;
        s->sum.deleted_values += now.deleted_values;
        s->sum.thinned += now.thinned;
        s->sum.refused_adds += now.refused_adds;
        s->sum.failed_reads += now.failed_reads;
        s->cache = kv_cache_close(s->cache);
}

static void restart(struct simulation *s) {
        end_all(s);
        close_cache(s);
        if (draw(s, 2))
                faulty_store_crash(s->store);
        else
                faulty_store_write(s->store);
        open_cache(s);
        s->n_restarts++;
}

/* Weather of the disk: every few hundred steps another. */
static void change_faults(struct simulation *s) {
        static const struct faulty_store_rates weather[] = {
                { 0 },
                { .late = 200 },
                { .put = 10, .read = 10, .late = 100 },
                { .put = 100, .commit = 50, .late = 50 },
                { .read = 80 },
                { .full = true },
        };
        uint32_t i = draw(s, s->faultless ? 2 : 6);
        faulty_store_set(s->store, weather[i]);
        faulty_store_limit(s->store, draw(s, 2) ? DISK_BYTES / 2 : 0,
                           draw(s, 4) ? 0 : DISK_BYTES / 4);
        faulty_store_next_day(s->store);
        kv_cache_computed(s->cache, 128 + draw(s, 1000), 1 + draw(s, 1000));
}

/* -- what must hold ------------------------------------------------------------------------------
 */

struct shares {
        uint64_t bytes[N_OWNERS];
        bool purged[N_OWNERS]; /* a lease of his still holds what was purged */
        uint32_t n;
};

static void get_shares(const struct simulation *s, struct shares *ret) {
        *ret = (struct shares){ 0 };
        for (const struct prefix_account *a = s->cache->prefix.accounts; a; a = a->next) {
                ret->bytes[a->owner] = a->data_bytes;
                ret->n++;
        }
        for (int i = 0; i < N_LEASES; i++)
                if (s->lease[i] && s->lease[i]->root->purged)
                        ret->purged[s->lease[i]->root->owner] = true;
}

/* Nobody but the acting user has lost what lay within his share. */
static void check_shares(const struct simulation *s, const struct shares *before, uint32_t acting) {
        struct shares now;
        get_shares(s, &now);
        uint32_t n = now.n > before->n ? now.n : before->n;
        for (uint32_t i = 0; i < N_OWNERS; i++)
                if (i != acting && !before->purged[i] && now.bytes[i] < before->bytes[i])
                        assert_true(now.bytes[i] + FRONTIER_BYTES > HOST_BYTES / n);
}

/* With a disk that loses nothing, what is pinned is there to the last page. */
static void check_pinned(struct simulation *s) {
        if (!s->faultless)
                return;
        for (int i = 0; i < N_PINS; i++) {
                const struct text *t = &s->pinned[i];
                struct kv_pin *again;
                if (!s->pin[i])
                        continue;
                assert_int_equal(kv_cache_pin(s->cache, t->owner, t->subject, t->ids, t->n, &again),
                                 0);
                assert_true(kv_pin_tokens(again) >= kv_pin_tokens(s->pin[i]));
                kv_cache_unpin(again);
        }
}

static void check(struct simulation *s) {
        kept_check(s->cache, s->lease, N_LEASES, s->pin, N_PINS);
        check_pinned(s);
        struct kv_store_statistics disk;
        kv_store_statistics(s->store, &disk);
        assert_true(disk.value_bytes <= disk.bytes_max);
        if (s->waits) /* else a value that another lease could not read may be there again */
                assert_int_equal(faulty_store_collateral(s->store), 0);
}

/* -- one step ------------------------------------------------------------------------------------
 */

static void act(struct simulation *s) {
        size_t i = s->acting = draw(s, N_LEASES);
        struct running *r = &s->running[i];
        uint32_t what = draw(s, 2000);
        struct shares before;
        get_shares(s, &before);
        if (what == 0)
                restart(s);
        else if (what < 6)
                change_faults(s);
        else if (what < 7)
                purge(s);
        else if (what < 40)
                pin(s);
        else if (what < 50)
                look(s);
        else if (what < 60)
                faulty_store_write(s->store);
        else if (!s->lease[i])
                begin(s, i);
        else if (r->parked_until > s->step)
                return;
        else if (what < 100 && r->ready)
                kv_lease_flush(s->lease[i]);
        else if (what < 200) /* waits for a tool */
                r->parked_until = s->step + draw(s, draw(s, 10) ? 40 : 1000);
        else if (what < 700) /* wherever it is, a read in flight or a state not written yet */
                s->lease[i] = kv_lease_end(s->lease[i]);
        else
                go_on(s, i);
        if (what >= 60)
                check_shares(s, &before, r->text.owner);
}

static void simulate(uint64_t seed, uint64_t n_steps) {
        struct simulation *s = calloc(1, sizeof(*s));
        assert_non_null(s);
        printf("seed %llu, %llu steps\n", (unsigned long long)seed, (unsigned long long)n_steps);
        fflush(stdout); /* there even when the run aborts */
        s->seed = s->state = seed;
        s->waits = seed % 2 == 0;
        s->faultless = seed % 4 == 0;
        s->store = faulty_store_new(seed, &kept_key, PAGE_BYTES, FRONTIER_BYTES, DISK_BYTES);
        open_cache(s);
        for (s->step = 0; s->step < n_steps; s->step++) {
                act(s);
                if (s->step % CHECK_EVERY == 0)
                        check(s);
        }
        end_all(s);
        close_cache(s);
        printf("  %llu leases, %llu went on from something; %llu restarts, %llu purges, %llu pins, "
               "%llu leases ended for others, %llu evicted, %llu deleted, %llu thinned, "
               "%llu refused, %llu failed reads\n",
               (unsigned long long)s->n_leases, (unsigned long long)s->n_reused,
               (unsigned long long)s->n_restarts, (unsigned long long)s->n_purges,
               (unsigned long long)s->n_pinned, (unsigned long long)s->n_ended,
               (unsigned long long)s->sum.evicted_nodes, (unsigned long long)s->sum.deleted_values,
               (unsigned long long)s->sum.thinned, (unsigned long long)s->sum.refused_adds,
               (unsigned long long)s->sum.failed_reads);
        assert_true(s->n_reused > s->n_leases / 20);
        faulty_store_free(s->store);
        free(s);
}

static void only_what_was_computed_comes_back(void **state) {
        (void)state;
        const char *seed = getenv("SEEKD_TEST_SEED"), *steps = getenv("SEEKD_TEST_STEPS");
        uint64_t n_steps = steps ? strtoull(steps, NULL, 10) : 20000;
        if (seed) {
                simulate(strtoull(seed, NULL, 10), n_steps);
                return;
        }
        for (uint64_t i = 1; i <= 4; i++)
                simulate(i, n_steps);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(only_what_was_computed_comes_back),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
