/* The index from the file: walks it page by page (memory/lmdb_file.h), gathers the entries whose
 * checksums hold, and keeps those that agree with each other. What does not is dropped: it is a
 * miss at once, and the first commit deletes it from disk. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "memory/kv_private.h"
#include "memory/lmdb_file.h"

struct found_place {
        struct page_id id;
        struct kv_place place;
};

struct found_value {
        uint64_t value;
        uint64_t run;
        uint64_t bytes;
};

struct load {
        struct kv_store *store;
        struct error *err;
        struct found_place *places;
        size_t n_places, places_capacity;
        struct found_value *values;
        size_t n_values, values_capacity;
        struct kv_meta meta;
        bool has_meta;
        size_t n_entries;
        uint64_t dropped;
};

static void *grown(void *list, size_t n, size_t *capacity, size_t each) {
        if (n < *capacity)
                return list;
        size_t more = *capacity ? 2 * *capacity : 256;
        void *bigger = reallocarray(list, more, each);
        if (bigger)
                *capacity = more;
        return bigger;
}

static int drop_entry(struct load *load, enum kv_database database, const void *key, size_t bytes) {
        struct kv_stale *stale = malloc(sizeof(*stale) + bytes);
        if (!stale)
                return error_set(load->err, -ENOMEM, "no memory for the index");
        stale->database = database;
        stale->bytes = bytes;
        memcpy(stale->key, key, bytes);
        stale->next = load->store->stale;
        load->store->stale = stale;
        load->dropped++;
        return 0;
}

/* -- entries as they come ------------------------------------------------------------------------
 */

static int take_place(struct load *load, const struct lmdb_node *node) {
        struct found_place found;
        if (node->key_bytes == PAGE_ID_BYTES)
                memcpy(found.id.bytes, node->key, PAGE_ID_BYTES);
        if (node->key_bytes != PAGE_ID_BYTES || !node->data ||
            !kv_place_decode(&found.id, node->data, node->data_bytes, &found.place) ||
            (found.place.kind == KV_FRONTIER) != (node->database == KV_FRONTIERS))
                return drop_entry(load, node->database, node->key, node->key_bytes);
        void *list = grown(load->places, load->n_places, &load->places_capacity, sizeof(found));
        if (!list)
                return error_set(load->err, -ENOMEM, "no memory for the index");
        load->places = list;
        load->places[load->n_places++] = found;
        return 0;
}

static int take_value(struct load *load, const struct lmdb_node *node) {
        struct found_value found = { .run = node->run, .bytes = node->data_bytes };
        memcpy(&found.value, node->key, sizeof(found.value)); /* the walk checked the key's size */
        if (node->data)                                       /* ours do not fit into a node */
                return error_set(load->err, -EUCLEAN, "value %llu is too small",
                                 (unsigned long long)found.value);
        void *list = grown(load->values, load->n_values, &load->values_capacity, sizeof(found));
        if (!list)
                return error_set(load->err, -ENOMEM, "no memory for the index");
        load->values = list;
        load->values[load->n_values++] = found;
        return 0;
}

static int take_session(struct load *load, const struct lmdb_node *node) {
        struct kv_index *index = &load->store->index;
        struct kv_session session;
        if (!node->data || index->n_sessions == KV_SESSIONS_MAX ||
            !kv_session_decode(node->key, node->key_bytes, node->data, node->data_bytes, &session))
                return drop_entry(load, KV_SESSIONS, node->key, node->key_bytes);
        struct kv_session *copy = malloc(sizeof(*copy));
        if (!copy || kv_index_reserve_sessions(index, 1) < 0) {
                free(copy);
                return error_set(load->err, -ENOMEM, "no memory for the index");
        }
        *copy = session;
        kv_index_put_session(index, copy);
        return 0;
}

/* A session lacks ids: it is dropped, with the chunks before this one. */
static int drop_session(struct load *load, uint64_t id, uint32_t n_chunks) {
        struct kv_chunk_key key = kv_chunk_key(id, 0);
        kv_index_remove_session(&load->store->index, id);
        int r = drop_entry(load, KV_SESSIONS, key.bytes, KV_SESSION_KEY_BYTES);
        for (uint32_t i = 0; i < n_chunks && r == 0; i++) {
                key = kv_chunk_key(id, i);
                r = drop_entry(load, KV_TOKENS, key.bytes, sizeof(key.bytes));
        }
        return r;
}

/* Sessions come before their ids (by the databases' names), and chunks by number. That some are
 * missing is noticed when they are read. */
static int take_chunk(struct load *load, const struct lmdb_node *node) {
        struct kv_chunk_key key;
        uint32_t ids[KV_CHUNK_TOKENS], number = UINT32_MAX;
        uint64_t id = 0;
        if (node->key_bytes == sizeof(key.bytes)) {
                memcpy(key.bytes, node->key, sizeof(key.bytes));
                kv_chunk_key_split(&key, &id, &number);
        }
        const struct kv_session *session = kv_index_session(&load->store->index, id);
        if (session && number < kv_chunks(session->n_tokens)) {
                uint64_t left = session->n_tokens - (uint64_t)number * KV_CHUNK_TOKENS;
                size_t n = left < KV_CHUNK_TOKENS ? (size_t)left : KV_CHUNK_TOKENS;
                if (node->data && kv_chunk_decode(&key, node->data, node->data_bytes, ids) == n)
                        return 0;
                int r = drop_session(load, id, number);
                if (r < 0)
                        return r;
        }
        return drop_entry(load, KV_TOKENS, node->key, node->key_bytes);
}

static int take_meta(struct load *load, const struct lmdb_node *node) {
        if (node->key_bytes != strlen(KV_META_KEY) ||
            memcmp(node->key, KV_META_KEY, node->key_bytes) != 0 || !node->data ||
            !kv_meta_decode(node->data, node->data_bytes, &load->meta))
                return error_set(load->err, -EUCLEAN, "the store's description is damaged");
        load->has_meta = true;
        /* Before anything else is judged by rules that a newer format may not follow. */
        if (load->meta.version > KV_META_VERSION)
                return error_set(
                        load->err, -EPROTONOSUPPORT,
                        "written in format %u; this program knows formats up to %u: use the "
                        "later one, or name another state folder",
                        load->meta.version, KV_META_VERSION);
        return 0;
}

static int take(void *context, const struct lmdb_node *node) {
        struct load *load = context;
        load->n_entries++;
        switch (node->database) {
        case KV_META: return take_meta(load, node);
        case KV_SESSIONS: return take_session(load, node);
        case KV_TOKENS: return take_chunk(load, node);
        case KV_VALUES: return take_value(load, node);
        default: return take_place(load, node);
        }
}

/* -- putting them together -----------------------------------------------------------------------
 */

static int by_value_and_index(const void *a, const void *b) {
        const struct kv_place *x = &((const struct found_place *)a)->place;
        const struct kv_place *y = &((const struct found_place *)b)->place;
        if (x->value != y->value)
                return x->value < y->value ? -1 : 1;
        return x->index - y->index;
}

/* Whether entries of one value tell one story, and one that fits its size. */
static bool places_agree(const struct found_place *places, size_t n,
                         const struct found_value *value, const struct kv_store *store) {
        const struct kv_place *first = &places[0].place;
        uint32_t n_tokens =
                first->kind == KV_FRONTIER ? first->n_tail : (uint32_t)first->count * PAGE_TOKENS;
        uint64_t bytes = store->frontier_value_bytes;
        if (first->kind == KV_EXTENT)
                bytes = kv_value_round(kv_value_header_bytes(n_tokens, first->count) +
                                       (uint64_t)store->page_bytes * first->count);
        if (value->bytes != bytes)
                return false;
        for (size_t i = 1; i < n; i++) {
                const struct kv_place *place = &places[i].place;
                uint32_t distance = (uint32_t)(place->index - first->index);
                if (distance == 0 || place->kind != first->kind || place->count != first->count ||
                    place->owner != first->owner ||
                    place->position != first->position + distance * PAGE_TOKENS ||
                    (place->index == places[i - 1].place.index + 1 &&
                     !page_id_equal(&place->parent, &places[i - 1].id)))
                        return false;
        }
        return true;
}

/* A value without entries (n = 0) was replaced before the end, or its entries are damaged. */
static int add_node(struct load *load, const struct found_value *value,
                    const struct found_place *places, size_t n) {
        struct kv_index *index = &load->store->index;
        bool good = n > 0;
        const struct kv_place *first = n > 0 ? &places[0].place : NULL;
        struct kv_node *node = kv_node_new(good ? first->count : 1);
        struct kv_owner *owner = kv_index_owner(index, good ? first->owner : 0);
        if (!node || !owner || kv_index_reserve(index, node->count) < 0) {
                free(node);
                return error_set(load->err, -ENOMEM, "no memory for the index");
        }
        node->value = value->value;
        node->run = value->run;
        node->bytes = (uint32_t)value->bytes;
        node->kind = KV_EXTENT;
        node->owner = owner->uid;
        if (good) {
                node->kind = first->kind;
                node->n_tail = first->n_tail;
                node->position = first->position - first->index * (uint32_t)PAGE_TOKENS;
                node->parent = first->parent;
        }
        for (size_t i = 0; good && i < n; i++) {
                node->id[places[i].place.index] = places[i].id;
                node->live |= (uint8_t)(1U << places[i].place.index);
        }
        kv_index_charge(index, owner, node->bytes);
        kv_index_insert(index, node);
        if (!node->live)
                kv_index_doom(index, node);
        return 0;
}

/* Entries [from, to) of one value, or of none. */
static int drop_places(struct load *load, size_t from, size_t to) {
        for (; from < to; from++) {
                const struct found_place *found = &load->places[from];
                int r = drop_entry(load, found->place.kind == KV_FRONTIER ? KV_FRONTIERS : KV_PAGES,
                                   found->id.bytes, PAGE_ID_BYTES);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int build_index(struct load *load) {
        struct kv_index *index = &load->store->index;
        if (load->n_places > 0)
                qsort(load->places, load->n_places, sizeof(load->places[0]), by_value_and_index);
        size_t at = 0;
        for (size_t i = 0; i < load->n_values; i++) {
                const struct found_value *value = &load->values[i]; /* ascending, by the walk */
                size_t from = at, to;
                while (at < load->n_places && load->places[at].place.value < value->value)
                        at++;
                for (to = at; to < load->n_places; to++)
                        if (load->places[to].place.value != value->value)
                                break;
                bool good = to > at && places_agree(load->places + at, to - at, value, load->store);
                int r = drop_places(load, from, good ? at : to);
                if (r == 0)
                        r = add_node(load, value, load->places + at, good ? to - at : 0);
                if (r < 0)
                        return r;
                at = to;
        }
        int r = drop_places(load, at, load->n_places);
        if (r < 0)
                return r;

        /* All are there: now each finds what it hangs on, or is of no use. */
        for (size_t i = 0; i < load->n_values; i++) {
                struct kv_node *node = kv_index_find_value(index, load->values[i].value);
                if (!node->doomed && !kv_index_link(index, node))
                        load->dropped += kv_index_doom(index, node);
        }
        return 0;
}

static int check_meta(struct load *load) {
        const struct kv_store *store = load->store;
        if (!load->has_meta)
                return load->n_entries == 0
                        ? -ENODATA
                        : error_set(load->err, -EUCLEAN, "it does not say what it is");
        if (!page_id_equal(&load->meta.fingerprint, &store->fingerprint))
                return error_set(load->err, -ESTALE,
                                 "written for another model, format or numerics "
                                 "(fingerprint %02x%02x%02x%02x..., not %02x%02x%02x%02x...)",
                                 load->meta.fingerprint.bytes[0], load->meta.fingerprint.bytes[1],
                                 load->meta.fingerprint.bytes[2], load->meta.fingerprint.bytes[3],
                                 store->fingerprint.bytes[0], store->fingerprint.bytes[1],
                                 store->fingerprint.bytes[2], store->fingerprint.bytes[3]);
        if (load->meta.page_bytes != store->page_bytes ||
            load->meta.frontier_bytes_max != store->frontier_bytes_max)
                return error_set(load->err, -ESTALE,
                                 "pages of %u and frontiers of %u bytes, not %u and %u; remove it, "
                                 "or name another state folder",
                                 load->meta.page_bytes, load->meta.frontier_bytes_max,
                                 store->page_bytes, store->frontier_bytes_max);
        return 0;
}

int kv_load(struct kv_store *store, int fd, struct page_id *ret_fingerprint, struct error *err) {
        struct load load = { .store = store, .err = err };
        int r = lmdb_file_walk(fd, KV_ENV_FLAGS, kv_databases, KV_DATABASES, take, &load, err);
        if (r == 0)
                r = check_meta(&load);
        *ret_fingerprint = load.meta.fingerprint;
        if (r == 0)
                r = build_index(&load);
        if (r == 0) {
                store->next_value = load.meta.next_value;
                if (load.n_values > 0 && load.values[load.n_values - 1].value >= store->next_value)
                        store->next_value = load.values[load.n_values - 1].value + 1;
                store->day = load.meta.day;
                store->day_bytes = load.meta.day_bytes;
                store->statistics.dropped_entries = load.dropped;
        } else {
                kv_index_deinit(&store->index);
                kv_stale_free(store->stale);
                store->stale = NULL;
        }
        free(load.places);
        free(load.values);
        return r;
}
