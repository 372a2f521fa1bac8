#include "memory/kv_verify.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/background.h"
#include "base/cleanup.h"
#include "base/crc32c.h"
#include "memory/kv_private.h"

struct plan {
        uint64_t *values; /* [n] their numbers, ascending */
        size_t n;
        uint64_t bytes, bytes_max; /* of all; of the largest */
};

static int by_number(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
        return x < y ? -1 : x > y;
}

/* In the order in which they were written, which is roughly that of the file. */
static int make_plan(struct kv_store *store, const struct kv_verify_options *options,
                     struct plan *ret) {
        const struct kv_node *node;
        kv_lock(store);
        ret->values = malloc((store->index.by_value.n + 1) * sizeof(*ret->values));
        for (size_t at = 0; ret->values && (node = id_table_next(&store->index.by_value, &at));) {
                if (node->doomed || (options->one_owner && node->owner != options->owner))
                        continue;
                ret->values[ret->n++] = node->value;
                ret->bytes += node->bytes;
                ret->bytes_max = node->bytes > ret->bytes_max ? node->bytes : ret->bytes_max;
        }
        kv_unlock(store);
        if (!ret->values)
                return -ENOMEM;
        qsort(ret->values, ret->n, sizeof(*ret->values), by_number);
        return 0;
}

/* -- one value -----------------------------------------------------------------------------------
 */

struct look {
        struct kv_reading reading;
        unsigned live; /* as node->live, when it was pinned */
        struct page_id id[KV_EXTENT_PAGES_MAX];
};

static bool begin(struct kv_store *store, uint64_t value, struct look *look) {
        kv_lock(store);
        struct kv_node *node = kv_index_find_value(&store->index, value);
        if (node && node->doomed)
                node = NULL;
        if (node) {
                kv_index_pin(node);
                look->reading.node = node;
                look->reading.parent_known = node->live & 1;
                look->reading.parent = node->parent;
                look->live = node->live;
                memcpy(look->id, node->id, node->count * sizeof(node->id[0]));
        }
        kv_unlock(store);
        return node;
}

/* LMDB's header and the value: whole LMDB pages, as direct reads want them. */
static const char *read_run(int fd, const struct kv_node *node, uint8_t *buffer) {
        size_t n = LMDB_PAGE_HEADER + (size_t)node->bytes;
        for (size_t done = 0; done < n;) {
                ssize_t r = pread(fd, buffer + done, n - done,
                                  (off_t)(node->run * LMDB_PAGE_BYTES + done));
                if (r < 0 && errno == EINTR)
                        continue;
                if (r <= 0)
                        return r < 0 ? strerror(errno) : "the file ends before it";
                done += (size_t)r;
        }
        return NULL;
}

/* NULL, or what is wrong. Only what can be asked for counts: parts that a larger extent has
 * replaced have no identity any more. */
static const char *check(const struct kv_store *store, struct look *look, const uint8_t *value) {
        struct kv_reading *r = &look->reading;
        const struct kv_node *node = r->node;
        const char *wrong = NULL;
        for (unsigned i = 0; i < node->count && !wrong; i++) {
                if (!(look->live >> i & 1))
                        continue;
                r->first = i;
                r->n = 1;
                r->id[0] = look->id[i];
                wrong = kv_reading_check(store, r, value);
                if (wrong)
                        break;
                const uint8_t *part =
                        value + kv_reading_header_bytes(node) + (size_t)i * r->header.part_bytes;
                if (crc32c(0, part, r->header.part_bytes) != r->header.part_crc[i])
                        wrong = node->kind == KV_FRONTIER ? "a frontier's checksum"
                                                          : "a page's checksum";
        }
        return wrong;
}

/* -- all of them ---------------------------------------------------------------------------------
 */

/* The store's file once more, for direct reads; the kernel's memory where that is refused. */
static int open_direct(const struct kv_store *store) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", store->data_fd);
        int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
        return fd >= 0 ? fd : open(path, O_RDONLY | O_CLOEXEC);
}

int kv_store_verify(struct kv_store *store, const struct kv_verify_options *options,
                    struct kv_verified *ret) {
        struct plan plan = { 0 };
        *ret = (struct kv_verified){ 0 };
        if (options->background)
                background_thread();
        int r = make_plan(store, options, &plan);
        CLEANUP_FREE uint64_t *values = plan.values;
        CLEANUP_CLOSE int direct = open_direct(store);
        int fd = direct >= 0 ? direct : store->data_fd;
        /* Values fill whole pages with LMDB's header; one page when there is none. */
        uint64_t n_pages = lmdb_run_pages(plan.bytes_max);
        CLEANUP_FREE uint8_t *buffer = aligned_alloc(LMDB_PAGE_BYTES, n_pages * LMDB_PAGE_BYTES);
        if (r < 0 || !buffer)
                return -ENOMEM;
        for (size_t i = 0; i < plan.n; i++) {
                struct look look = { 0 };
                if (options->cancelled && options->cancelled(options->userdata))
                        return -ECANCELED;
                if (!begin(store, values[i], &look))
                        continue;
                const struct kv_node *node = look.reading.node;
                uint64_t bytes = node->bytes;
                const char *wrong = read_run(fd, node, buffer);
                if (!wrong)
                        wrong = check(store, &look, buffer + LMDB_PAGE_HEADER);
                kv_reading_end(store, &look.reading, wrong, bytes);
                ret->n_values++;
                ret->bytes += bytes;
                ret->n_damaged += wrong != NULL;
                if (options->progress)
                        options->progress(options->userdata, ret->bytes, plan.bytes);
        }
        return 0;
}
