/* The thread of engram_fetch: takes what is wanted, reads it, hands it out. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "memory/engram_fetch_private.h"

/* Rows that are handed out under one lock: the caller, who may want it for a lookup, waits for no
 * more than that, two microseconds. */
#define LAND_MAX 16

static struct flight *find_flight(struct engram_fetch *f, uint64_t key) {
        for (unsigned i = 0; i < f->options.depth; i++)
                if (f->flying[i] == key + 1)
                        return &f->flight[i];
        return NULL;
}

static void arrive(struct engram_fetch *f, struct request *r) {
        if (++r->n_arrived == r->n_missing)
                pthread_cond_signal(&f->arrived);
}

/* Takes a flight for a row that is neither cached nor under way; false: it is, or is not wanted. */
static bool board(struct engram_fetch *f, uint64_t key, int64_t index) {
        struct request *r = &f->request[KEY_TABLE(key)];
        const uint8_t *cached = row_cache_find(f->cache, key);
        if (cached && index >= 0) {
                memcpy(r->dest + (size_t)index * f->layout->row_bytes, cached,
                       f->layout->row_bytes);
                arrive(f, r);
        }
        if (cached)
                return false;
        struct flight *flight = find_flight(f, key);
        if (flight) {
                if (index >= 0)
                        flight->index = index; /* announced before: it arrives for the request */
                return false;
        }
        unsigned number = f->idle[--f->n_idle];
        f->flying[number] = key + 1;
        f->flight[number].index = index;
        return true;
}

/* Fills the idle flights: requests in the order of their tables, which is that of the layers; then
 * what was announced, in half of the flights, so that a request finds some. The new ones are
 * f->idle[n_idle] ... of before: returns how many n_idle was. */
static unsigned board_all(struct engram_fetch *f) {
        unsigned before = f->n_idle;
        for (unsigned t = 0; t < f->layout->n_tables; t++) {
                struct request *r = &f->request[t];
                while (r->n_begun < r->n_missing && f->n_idle > 0) {
                        const struct missing *m = &r->missing[r->n_begun++];
                        board(f, engram_fetch_key(t, m->row), m->index);
                }
        }
        while (f->n_begun != f->n_announced && f->n_idle > f->options.depth / 2) {
                const struct prefetch *p = &f->announced[f->n_begun++ % PREFETCH_MAX];
                f->stats.n_prefetched += board(f, engram_fetch_key(p->table, p->row), -1);
        }
        return before;
}

/* Directly, a whole page; else no more than the row. */
static void start_reads(struct engram_fetch *f, unsigned n_idle_before) {
        for (unsigned i = f->n_idle; i < n_idle_before; i++) {
                unsigned number = f->idle[i];
                struct flight *flight = &f->flight[number];
                uint64_t key = f->flying[number] - 1;
                uint64_t offset = engram_store_offset(f->store, KEY_TABLE(key), KEY_ROW(key));
                uint64_t skip = f->direct ? offset % ENGRAM_PAGE_BYTES : 0;
                flight->at = flight->buffer + skip;
                disk_reads_start(f->reads, number, offset - skip, flight->buffer,
                                 f->direct ? ENGRAM_PAGE_BYTES : engram_stride(f->layout));
        }
}

/* A row that the store does not have as it should: taken from elsewhere, or its request fails. */
static bool repair(struct engram_fetch *f, uint64_t key, struct flight *flight, int result) {
        unsigned table = KEY_TABLE(key);
        uint64_t row = KEY_ROW(key);
        struct error why = { 0 };
        error_set(&why, result < 0 ? result : -EUCLEAN,
                  "%s: row %" PRIu64 " of table %u, at byte %" PRIu64 ": %s",
                  engram_store_path(f->store), row, table,
                  engram_store_offset(f->store, table, row),
                  result < 0 ? strerror(-result) : "damaged");
        flight->at = flight->buffer;
        bool repaired = f->options.repair &&
                f->options.repair(f->options.userdata, table, row, flight->buffer) == 0;
        if (!f->told_damage)
                log_error("%s%s", why.text,
                          repaired ? "; taken from the checkpoint (import anew: seekd --import)"
                                   : "; remove it and import again (seekd --import)");
        f->told_damage = true;
        struct request *r = &f->request[table];
        pthread_mutex_lock(&f->lock);
        if (!repaired && flight->index >= 0 && r->error.code == 0)
                error_set(&r->error, -EIO, "%s", why.text);
        pthread_mutex_unlock(&f->lock);
        return repaired;
}

/* Checks what was read and copies it to where it is wanted. */
static void unload(struct engram_fetch *f, const struct disk_read *done) {
        struct flight *flight = &f->flight[done->number];
        uint64_t key = f->flying[done->number] - 1;
        const struct request *r = &f->request[KEY_TABLE(key)];
        flight->intact = done->result == 0 &&
                engram_row_intact(f->layout, KEY_TABLE(key), KEY_ROW(key), flight->at);
        flight->good = flight->intact || repair(f, key, flight, done->result);
        if (flight->good && flight->index >= 0)
                memcpy(r->dest + (size_t)flight->index * f->layout->row_bytes, flight->at,
                       f->layout->row_bytes);
        row_cache_expect(f->cache, key);
}

static void land(struct engram_fetch *f, const struct disk_read *done, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                unload(f, &done[i]);
        pthread_mutex_lock(&f->lock);
        for (unsigned i = 0; i < n; i++) {
                const struct flight *flight = &f->flight[done[i].number];
                uint64_t key = f->flying[done[i].number] - 1;
                f->stats.n_damaged += !flight->intact;
                if (flight->good)
                        row_cache_put(f->cache, key, flight->at);
                if (flight->index >= 0) {
                        f->stats.n_read++;
                        arrive(f, &f->request[KEY_TABLE(key)]);
                }
        }
        pthread_mutex_unlock(&f->lock);
        for (unsigned i = 0; i < n; i++) {
                f->flying[done[i].number] = 0;
                f->idle[f->n_idle++] = done[i].number;
        }
}

static bool is_wanted(const struct engram_fetch *f) {
        bool wanted = f->n_begun != f->n_announced;
        for (unsigned t = 0; t < f->layout->n_tables; t++)
                wanted |= f->request[t].n_begun < f->request[t].n_missing;
        return wanted;
}

void *engram_fetch_read(void *fetch) {
        struct engram_fetch *f = fetch;
        struct disk_read done[LAND_MAX];
        pthread_mutex_lock(&f->lock);
        for (;;) {
                while (!f->stop && f->n_idle == f->options.depth && !is_wanted(f))
                        pthread_cond_wait(&f->work, &f->lock);
                if (f->stop)
                        break;
                unsigned before = board_all(f);
                pthread_mutex_unlock(&f->lock);
                start_reads(f, before);
                unsigned n = disk_reads_await(f->reads, true, done, LAND_MAX);
                land(f, done, n);
                pthread_mutex_lock(&f->lock);
        }
        pthread_mutex_unlock(&f->lock);
        return NULL;
}
