/* Reading: find and pin under the lock, then read and verify without it, then return the pin. What
 * is damaged is quarantined here. Nothing goes through LMDB: a value's place in the file never
 * changes while it exists, and a pinned one exists. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

#include "base/crc32c.h"
#include "memory/kv_private.h"
#include "memory/lmdb_file.h"

static uint32_t n_tokens_of(const struct kv_node *node) {
        return node->kind == KV_FRONTIER ? node->n_tail : node->count * (uint32_t)PAGE_TOKENS;
}

size_t kv_reading_header_bytes(const struct kv_node *node) {
        return kv_value_header_bytes(n_tokens_of(node), node->count);
}

/* -- bytes ---------------------------------------------------------------------------------------
 */

/* Fills the buffers from a place of the value. NULL, or what happened. */
static const char *read_at(const struct kv_store *store, const struct kv_node *node, size_t from,
                           struct iovec *to, int n) {
        off_t at = (off_t)(node->run * LMDB_PAGE_BYTES + LMDB_PAGE_HEADER + from);
        while (n > 0) {
                ssize_t got = preadv(store->data_fd, to, n, at);
                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return strerror(errno);
                if (got == 0)
                        return "the file ends before it";
                at += got;
                for (; n > 0 && (size_t)got >= to->iov_len; to++, n--)
                        got -= (ssize_t)to->iov_len;
                if (n > 0) {
                        to->iov_base = (uint8_t *)to->iov_base + got;
                        to->iov_len -= (size_t)got;
                }
        }
        return NULL;
}

/* -- checks --------------------------------------------------------------------------------------
 */

const char *kv_reading_check(const struct kv_store *store, struct kv_reading *r,
                             const uint8_t *bytes) {
        const struct kv_node *node = r->node;
        struct kv_value_header *header = &r->header;
        const char *wrong = kv_value_decode(bytes, kv_reading_header_bytes(node), header);
        if (wrong)
                return wrong;
        uint64_t payload = node->bytes - kv_reading_header_bytes(node);
        if (header->kind != node->kind || header->owner != node->owner ||
            header->position != node->position || header->n_tokens != n_tokens_of(node) ||
            header->n_parts != node->count ||
            (uint64_t)header->part_bytes * header->n_parts > payload ||
            (node->kind == KV_EXTENT && header->part_bytes != store->page_bytes) ||
            !page_id_equal(&header->fingerprint, &store->fingerprint) ||
            (r->parent_known && !page_id_equal(&header->parent, &r->parent)))
                return "it is another value";

        struct page_id id = header->parent;
        if (node->kind == KV_FRONTIER) {
                page_id_frontier(&store->key, &header->parent, header->position, header->tokens,
                                 header->n_tokens, &id);
                return page_id_equal(&id, &r->id[0]) ? NULL : "its identity";
        }
        for (unsigned i = 0; i < r->first + r->n; i++) {
                page_id_next(&store->key, &id, header->tokens + (size_t)i * PAGE_TOKENS, &id);
                if (i >= r->first && !page_id_equal(&id, &r->id[i - r->first]))
                        return "its identity";
        }
        return NULL;
}

/* -- one value -----------------------------------------------------------------------------------
 */

/* Pins the value that holds ids[0] and says how many of the following ids it holds in a row. */
static bool begin(struct kv_store *store, enum kv_kind kind, const struct kv_page_read *pages,
                  size_t n, struct kv_reading *r) {
        kv_lock(store);
        struct kv_node *node = kv_index_find(&store->index, &pages[0].id, &r->first);
        if (node && node->kind != kind)
                node = NULL;
        if (node) {
                kv_index_pin(node);
                r->node = node;
                r->parent_known = node->live & 1;
                r->parent = node->parent;
                for (r->n = 0; r->n < n && r->first + r->n < node->count; r->n++) {
                        unsigned part = r->first + r->n;
                        if (!(node->live >> part & 1) ||
                            !page_id_equal(&node->id[part], &pages[r->n].id))
                                break;
                        r->id[r->n] = node->id[part];
                }
        }
        kv_unlock(store);
        return node;
}

void kv_reading_end(struct kv_store *store, struct kv_reading *r, const char *wrong,
                    uint64_t bytes) {
        unsigned long long value = r->node->value, run = r->node->run;
        kv_lock(store);
        bool news = wrong && !r->node->doomed;
        if (news)
                kv_quarantine(store, r->node);
        store->statistics.read_bytes += bytes;
        kv_index_unpin(&store->index, r->node);
        if (wrong)
                kv_work_came(store);
        kv_unlock(store);
        if (news)
                kv_report(store, KV_EVENT_DAMAGED_VALUE,
                          "kv.mdb: value %llu at LMDB page %llu is damaged (%s); it and what "
                          "hangs on it is computed anew when needed",
                          value, run, wrong);
}

/* How many of the pages from the front are good. */
static size_t read_extent(struct kv_store *store, struct kv_reading *r,
                          const struct kv_page_read *pages) {
        const struct kv_node *node = r->node;
        uint8_t bytes[KV_VALUE_HEADER_MAX];
        size_t header_bytes = kv_reading_header_bytes(node);
        struct iovec to[1 + KV_EXTENT_PAGES_MAX] = { { bytes, header_bytes } };
        for (unsigned i = 0; i < r->n; i++)
                to[1 + i] = (struct iovec){ pages[i].data, store->page_bytes };

        const char *wrong;
        if (r->first == 0) {
                wrong = read_at(store, node, 0, to, 1 + (int)r->n);
        } else {
                wrong = read_at(store, node, 0, to, 1);
                if (!wrong)
                        wrong = read_at(store, node,
                                        header_bytes + (size_t)r->first * store->page_bytes, to + 1,
                                        (int)r->n);
        }
        if (!wrong)
                wrong = kv_reading_check(store, r, bytes);
        size_t good = 0;
        for (; !wrong && good < r->n; good++) {
                unsigned part = r->first + (unsigned)good;
                /* Equal identities with other tokens are a collision or a wrong question, not
                 * damage: the page is good, but not for this caller. */
                if (memcmp(r->header.tokens + (size_t)part * PAGE_TOKENS, pages[good].tokens,
                           PAGE_TOKENS * sizeof(uint32_t)) != 0)
                        break;
                if (crc32c(0, pages[good].data, store->page_bytes) != r->header.part_crc[part])
                        wrong = "a page's checksum";
                if (wrong)
                        break;
        }
        kv_reading_end(store, r, wrong, header_bytes + (uint64_t)r->n * store->page_bytes);
        return good;
}

/* The kernel takes no more of one announcement than its largest transfer, at least this much. */
#define EXPECT_BYTES (128U << 10)

/* Without a pin: when the value goes meanwhile, its place was announced for nothing. Returns how
 * many of the ids' pages may lie in it, at least 1. */
static unsigned expect(struct kv_store *store, const struct page_id *id) {
        unsigned part, n = 1;
        uint64_t at = 0, bytes = 0;
        kv_lock(store);
        const struct kv_node *node = kv_index_find(&store->index, id, &part);
        if (node) {
                at = node->run * LMDB_PAGE_BYTES;
                bytes = LMDB_PAGE_HEADER + node->bytes;
                n = node->count - part;
        }
        kv_unlock(store);
        for (uint64_t done = 0; done < bytes; done += EXPECT_BYTES) {
                uint64_t some = bytes - done < EXPECT_BYTES ? bytes - done : EXPECT_BYTES;
                posix_fadvise(store->data_fd, (off_t)(at + done), (off_t)some, POSIX_FADV_WILLNEED);
        }
        return n;
}

void kv_store_expect(struct kv_store *store, const struct kv_page_read *pages, size_t n,
                     const struct page_id *frontier) {
        for (size_t i = 0; i < n; i += expect(store, &pages[i].id))
                ;
        if (frontier)
                expect(store, frontier);
}

size_t kv_store_read_pages(struct kv_store *store, const struct kv_page_read *pages, size_t n) {
        size_t done = 0;
        while (done < n) {
                struct kv_reading r = { 0 };
                if (!begin(store, KV_EXTENT, pages + done, n - done, &r))
                        break;
                size_t good = read_extent(store, &r, pages + done);
                done += good;
                if (good < r.n)
                        break;
        }
        return done;
}

int kv_store_read_frontier(struct kv_store *store, const struct page_id *id, const uint32_t *tail,
                           uint32_t n_tail, void *data, size_t capacity, uint32_t *ret_bytes) {
        struct kv_reading r = { 0 };
        const struct kv_page_read wanted = { .id = *id };
        if (!begin(store, KV_FRONTIER, &wanted, 1, &r))
                return -ENOENT;
        uint8_t bytes[KV_VALUE_HEADER_MAX];
        size_t header_bytes = kv_reading_header_bytes(r.node);
        const char *wrong = read_at(store, r.node, 0, &(struct iovec){ bytes, header_bytes }, 1);
        if (!wrong)
                wrong = kv_reading_check(store, &r, bytes);
        int result = wrong ? -ENOENT : 0;
        uint32_t part_bytes = wrong ? 0 : r.header.part_bytes;
        if (!wrong &&
            (n_tail != r.header.n_tokens ||
             (n_tail > 0 && memcmp(tail, r.header.tokens, n_tail * sizeof(uint32_t)) != 0)))
                result = -ENOENT;
        if (result == 0 && part_bytes > capacity)
                result = -ENOBUFS;
        if (result == 0) {
                wrong = read_at(store, r.node, header_bytes, &(struct iovec){ data, part_bytes },
                                1);
                if (!wrong && crc32c(0, data, part_bytes) != r.header.part_crc[0])
                        wrong = "a frontier's checksum";
                if (wrong)
                        result = -ENOENT;
                else
                        *ret_bytes = part_bytes;
        }
        kv_reading_end(store, &r, wrong, header_bytes + part_bytes);
        return result;
}

int kv_store_read_tokens(struct kv_store *store, const struct page_id *id,
                         uint32_t ret[PAGE_TOKENS]) {
        struct kv_reading r = { 0 };
        const struct kv_page_read wanted = { .id = *id };
        if (!begin(store, KV_EXTENT, &wanted, 1, &r) && !begin(store, KV_FRONTIER, &wanted, 1, &r))
                return -ENOENT;
        uint8_t bytes[KV_VALUE_HEADER_MAX];
        size_t header_bytes = kv_reading_header_bytes(r.node);
        const char *wrong = read_at(store, r.node, 0, &(struct iovec){ bytes, header_bytes }, 1);
        if (!wrong)
                wrong = kv_reading_check(store, &r, bytes);
        int n = r.node->kind == KV_FRONTIER ? r.node->n_tail : PAGE_TOKENS;
        if (!wrong)
                memcpy(ret, r.header.tokens + (size_t)r.first * PAGE_TOKENS,
                       (size_t)n * sizeof(uint32_t));
        kv_reading_end(store, &r, wrong, header_bytes);
        return wrong ? -ENOENT : n;
}
