#include "daemon/engram.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"

struct engram {
        struct engram_options options;
        char path[PATH_MAX];
        const struct engram_tables *tables; /* the engine's */
        struct engram_store *store;
        struct engram_fetch *fetch;
};

_Static_assert(ENGRAM_LAYERS_MAX <= ENGRAM_TABLES_MAX && NGRAM_MAX <= ENGRAM_MULTIPLIERS_MAX,
               "whatever the engine accepts can be stored");

/* -------- the checkpoint as a source -------- */

static int read_planes(void *context, unsigned table, uint64_t first, uint64_t n, uint8_t *dest,
                       size_t stride, struct error *err) {
        const struct engram *engram = context;
        const struct engram_tables *t = engram->tables;
        const uint8_t *codes = t->table[table].codes + first * t->code_bytes;
        const uint8_t *scales = t->table[table].scales + first * t->scale_bytes;
        const uint8_t *bad = memchr(scales, 255, n * t->scale_bytes);
        if (bad)
                return error_set(err, -EINVAL,
                                 "the scale at [%" PRIu64 ", %" PRIu64
                                 "] of Engram table %u is 255 (NaN)",
                                 first + (uint64_t)(bad - scales) / t->scale_bytes,
                                 (uint64_t)(bad - scales) % t->scale_bytes, table);
        for (uint64_t i = 0; i < n; i++, dest += stride) {
                memcpy(dest, codes + i * t->code_bytes, t->code_bytes);
                memcpy(dest + t->code_bytes, scales + i * t->scale_bytes, t->scale_bytes);
        }
        return 0;
}

static int repair(void *userdata, unsigned table, uint64_t row, uint8_t *dest) {
        return read_planes(userdata, table, row, 1, dest, 0, NULL);
}

static int describe(const struct engram_tables *tables, struct engram_about *ret,
                    struct error *err) {
        if (tables->n_primes > ENGRAM_PRIMES_MAX)
                return error_set(err, -ENOTSUP, "Engram tables of %u rows a token cannot be stored",
                                 tables->n_primes);
        *ret = (struct engram_about){
                .n_tables = tables->n_tables,
                .code_bytes = tables->code_bytes,
                .scale_bytes = tables->scale_bytes,
                .n_multipliers = tables->n_multipliers,
                .n_primes = tables->n_primes,
        };
        for (uint32_t t = 0; t < tables->n_tables; t++) {
                const struct engram_table *table = &tables->table[t];
                ret->n_rows[t] = table->n_rows;
                memcpy(ret->multiplier[t], table->multiplier,
                       tables->n_multipliers * sizeof(int64_t));
                memcpy(ret->prime[t], table->prime, tables->n_primes * sizeof(int64_t));
        }
        memcpy(ret->fingerprint, tables->fingerprint, sizeof(ret->fingerprint));
        return 0;
}

static bool has_planes(const struct engram_tables *tables) {
        for (uint32_t t = 0; t < tables->n_tables; t++)
                if (!tables->table[t].codes)
                        return false;
        return true;
}

static uint64_t bytes_of(const struct engram_tables *tables) {
        uint64_t rows = 0;
        for (uint32_t t = 0; t < tables->n_tables; t++)
                rows += tables->table[t].n_rows;
        return rows * (tables->code_bytes + tables->scale_bytes);
}

/* -------- opening -------- */

static int import(const struct engram *engram, const struct engram_about *about,
                  const struct engram_making *making, struct error *err) {
        CLEANUP_FREE struct engram_source *source = malloc(sizeof(*source));
        if (!source)
                return error_set(err, -ENOMEM, "no memory for an import");
        *source = (struct engram_source){ *about, read_planes, (void *)(uintptr_t)engram };
        struct engram_import_options options = {
                .path = engram->path,
                .progress = making->progress,
                .cancelled = making->cancelled,
                .userdata = making->userdata,
        };
        if (!has_planes(engram->tables))
                return error_set(err, -ENOENT, "%s: the checkpoint has no Engram tables to import",
                                 engram->path);
        return engram_import(source, &options, err);
}

static int open_store(struct engram *engram, const struct engram_about *about, struct error *err) {
        enum engram_import when = engram->options.import;
        int was_there = 0;
        int r = engram_store_open(engram->path, about, &engram->store, err);
        if (r == -ENOENT && when != ENGRAM_IMPORT_NEVER &&
            (when == ENGRAM_IMPORT_NOW || bytes_of(engram->tables) <= ENGRAM_AUTO_BYTES)) {
                r = was_there =
                        import(engram, about,
                               &(struct engram_making){ .progress = engram->options.progress,
                                                        .userdata = engram->options.userdata },
                               err);
                if (r >= 0)
                        r = engram_store_open(engram->path, about, &engram->store, err);
        } else if (r == 0) {
                was_there = 1;
        }
        if (r == 0 && was_there && when == ENGRAM_IMPORT_NOW)
                r = engram_store_verify(
                        engram->store,
                        &(struct engram_verify_options){ .progress = engram->options.progress,
                                                         .userdata = engram->options.userdata },
                        err);
        return r;
}

/* The checkpoint serves as well, only slower: a store is no reason not to start. */
static int do_without(struct engram *engram, int code, struct error *err) {
        bool asked = engram->options.import == ENGRAM_IMPORT_NOW;
        if (asked || !has_planes(engram->tables))
                return code;
        engram->store = engram_store_close(engram->store);
        if (code != -ENOENT)
                log_warning("%s; Engram rows are read from the checkpoint", err->text);
        *err = (struct error){ 0 };
        return ENGRAM_ROWS_OF_CHECKPOINT;
}

static int open_rows(void *context, const struct engram_tables *tables, struct error *err) {
        struct engram *engram = context;
        struct error why = { 0 };
        CLEANUP_FREE struct engram_about *about = malloc(sizeof(*about));
        engram->tables = tables;
        if (engram->options.state_dir[0] == '\0')
                return has_planes(tables)
                        ? ENGRAM_ROWS_OF_CHECKPOINT
                        : error_set(err, -ENOENT,
                                    "the checkpoint has no Engram tables, and there is no state "
                                    "folder that could have them");
        int r = about ? describe(tables, about, &why) : error_set(&why, -ENOMEM, "no memory");
        if (r == 0)
                r = open_store(engram, about, &why);
        struct engram_fetch_options options = {
                .cache_rows = engram->options.cache_rows,
                .repair = has_planes(tables) ? repair : NULL,
                .userdata = engram,
        };
        if (r == 0)
                r = engram_fetch_new(engram->store, &options, &engram->fetch, &why);
        if (r < 0)
                r = do_without(engram, r, &why);
        if (r < 0)
                return error_set(err, r, "%s", why.text);
        if (r == 0)
                log_info("%s: %.1f MB of Engram tables, read by %s", engram->path,
                         (double)engram_store_bytes(engram->store) / 1e6,
                         engram_fetch_reads_name(engram->fetch));
        return r;
}

/* -------- the engine's calls -------- */

static void request(void *context, unsigned table, const uint64_t *rows, uint32_t n,
                    uint8_t *dest) {
        engram_fetch_request(((struct engram *)context)->fetch, table, rows, n, dest);
}

static int collect(void *context, unsigned table, struct error *err) {
        return engram_fetch_collect(((struct engram *)context)->fetch, table, err);
}

static void prefetch(void *context, unsigned table, const uint64_t *rows, uint32_t n) {
        engram_fetch_prefetch(((struct engram *)context)->fetch, table, rows, n);
}

static const struct engram_rows_operations operations = {
        .open = open_rows,
        .request = request,
        .collect = collect,
        .prefetch = prefetch,
};

int engram_new(const struct engram_options *options, struct engram **ret) {
        struct engram *engram = calloc(1, sizeof(*engram));
        if (!engram)
                return -ENOMEM;
        engram->options = *options;
        int n = snprintf(engram->path, sizeof(engram->path), "%s/engram.mdb", options->state_dir);
        if (n < 0 || (size_t)n >= sizeof(engram->path)) {
                free(engram);
                return -ENAMETOOLONG;
        }
        *ret = engram;
        return 0;
}

struct engram_rows engram_rows(struct engram *engram) {
        return (struct engram_rows){ &operations, engram };
}

bool engram_statistics(const struct engram *engram, struct engram_fetch_stats *ret) {
        if (!engram->fetch)
                return false;
        engram_fetch_stats(engram->fetch, ret);
        return true;
}

int engram_verify(const struct engram *engram, const struct engram_verify_options *options,
                  struct error *err) {
        if (!engram->store)
                return error_set(err, -ENOENT, "%s is not in use", engram->path);
        return engram_store_verify(engram->store, options, err);
}

int engram_make(const struct engram *engram, const struct engram_making *making,
                struct error *err) {
        CLEANUP_FREE struct engram_about *about = malloc(sizeof(*about));
        if (!about)
                return error_set(err, -ENOMEM, "no memory for an import");
        if (engram->store)
                return 1;
        if (!engram->tables)
                return error_set(err, -ENOTSUP, "the model has no Engram tables");
        if (engram->options.state_dir[0] == '\0')
                return error_set(err, -ENOENT, "the daemon has no state folder for Engram tables");
        int r = describe(engram->tables, about, err);
        return r < 0 ? r : import(engram, about, making, err);
}

bool engram_in_use(const struct engram *engram) {
        return engram->store != NULL;
}

const char *engram_path(const struct engram *engram) {
        return engram->path;
}

struct engram *engram_free(struct engram *engram) {
        if (!engram)
                return NULL;
        engram_fetch_free(engram->fetch);
        engram_store_close(engram->store);
        free(engram);
        return NULL;
}
