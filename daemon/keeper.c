#include "daemon/keeper.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/request.h"
#include "engine/engine.h"
#include "engine/identity.h"
#include "engine/numerics.h"
#include "memory/kv_store.h"
#include "memory/secret.h"

/* A state is kept at the latest after this much work, so that a crash or a prompt that turns away
 * late costs no more. */
#define STATE_TOKENS 8192
#define STATE_NS     NS_PER_S

/* What one user may pin, as a share of the disk for kept KV (of memory without a disk): half is
 * left to everybody when two users pin what they can. */
#define PINNED_SHARE 4

/* Version of what engine_state_bytes() and engine_page_bytes() hold. */
#define KV_FORMAT "fp8 windows, fp4 latents and keys, 1"

struct keeper {
        struct kv_store *store;
        struct kv_cache *cache;
};

static void hash_more(void *context, const void *data, size_t n) {
        crypto_generichash_update(context, data, n);
}

static int fingerprint(const struct engine *engine, const char *model_dir, struct page_id *ret,
                       struct error *err) {
        crypto_generichash_state hash;
        struct page_format format = {
                .architecture = "deepseek_v41",
                .kv_format = KV_FORMAT,
                .numerics_version = NUMERICS_VERSION,
                .backend = engine_numerics_class(engine),
        };
        crypto_generichash_init(&hash, NULL, 0, sizeof(format.weights));
        int r = engine_identity(engine, model_dir, hash_more, &hash, err);
        if (r < 0)
                return r;
        crypto_generichash_final(&hash, format.weights, sizeof(format.weights));
        page_format_fingerprint(&format, ret);
        return 0;
}

static void report(void *context, enum kv_event event, const char *text) {
        (void)context;
        if (event == KV_EVENT_RECOVERED)
                log_info("kept KV: %s", text);
        else
                log_warning("kept KV: %s", text);
}

static int open_store(const struct keeper_options *options, const struct engine *engine,
                      const struct page_key *key, const struct page_id *format,
                      struct kv_store **ret, struct error *err) {
        struct kv_store_config config = {
                .folder = options->state_dir,
                .key = key,
                .fingerprint = *format,
                .page_bytes = (uint32_t)engine_page_bytes(engine),
                .frontier_bytes_max = (uint32_t)engine_state_bytes(engine),
                .bytes_max = options->disk_bytes,
                .report = report,
        };
        return kv_store_open(&config, ret, err);
}

int keeper_open(const struct keeper_options *options, const struct engine *engine,
                struct keeper **ret, struct error *err) {
        struct page_key key;
        bool on_disk = options->state_dir[0] != '\0' && options->disk_bytes > 0;
        *ret = NULL;
        if (options->host_bytes == 0 || engine_page_bytes(engine) == 0)
                return 0;
        if (sodium_init() < 0)
                return error_set(err, -EIO, "libsodium has no source of randomness");
        struct keeper *keeper = calloc(1, sizeof(*keeper));
        if (!keeper)
                return error_set(err, -ENOMEM, "out of memory");
        int r = 0;
        if (on_disk)
                r = secret_open(options->state_dir, &key, err);
        else
                randombytes_buf(&key, sizeof(key));
        struct kv_cache_config config = {
                .key = &key,
                .page_bytes = engine_page_bytes(engine),
                .frontier_bytes = engine_state_bytes(engine),
                .host_bytes = options->host_bytes,
                .owner_pinned_bytes_max =
                        (on_disk ? options->disk_bytes : options->host_bytes) / PINNED_SHARE,
                .notify = options->notify,
                .context = options->context,
        };
        if (r == 0)
                r = fingerprint(engine, options->model_dir, &config.fingerprint, err);
        if (r == 0 && on_disk)
                r = open_store(options, engine, &key, &config.fingerprint, &keeper->store, err);
        config.store = keeper->store;
        if (r == 0)
                r = kv_cache_open(&config, &keeper->cache, err);
        sodium_memzero(&key, sizeof(key));
        if (r < 0) {
                keeper_close(keeper);
                return r;
        }
        *ret = keeper;
        return 0;
}

struct keeper *keeper_close(struct keeper *keeper) {
        if (!keeper)
                return NULL;
        kv_cache_close(keeper->cache);
        if (keeper->store)
                kv_store_close(keeper->store);
        free(keeper);
        return NULL;
}

void keeper_statistics(const struct keeper *keeper, struct kv_cache_statistics *ret) {
        *ret = (struct kv_cache_statistics){ 0 };
        if (keeper)
                kv_cache_statistics(keeper->cache, ret);
}

void keeper_stepped(struct keeper *keeper, uint32_t n_tokens, uint64_t ns) {
        if (keeper)
                kv_cache_computed(keeper->cache, n_tokens, (double)ns / 1e6);
}

/* -- one request ---------------------------------------------------------------------------------
 */

/* Puts what the lease holds into the new sequence. What cannot be used is computed instead. */
static int restore(struct request *request) {
        uint32_t n_pages;
        struct error err = { 0 };
        const uint8_t *const *pages = kv_lease_pages(request->lease, &n_pages);
        int r = sequence_restore(request->sequence, pages, n_pages,
                                 kv_lease_frontier(request->lease), &err);
        if (r < 0)
                log_warning("kept KV cannot be used: %s", err.text);
        return r;
}

int keeper_begin(struct keeper *keeper, struct engine *engine, struct request *request) {
        int r;
        /* Without memory for a lease the request is computed from the start. */
        if (keeper && !request->leased &&
            kv_cache_lease(keeper->cache, request->uid, request->subject, request->tokens.ids,
                           request->n_prompt, &request->lease) < 0)
                request->lease = NULL;
        request->leased = true;
        if (request->lease && !kv_lease_ready(request->lease))
                return -EAGAIN;
        r = sequence_new(engine, &request->sequence);
        if (r < 0 || !request->lease)
                return r;
        request->verdict = *kv_lease_verdict(request->lease);
        if (request->verdict.n_reused > 0 && (r = restore(request)) < 0) {
                request->sequence = sequence_free(request->sequence);
                request->lease = kv_lease_end(request->lease);
                request->verdict = (struct kv_verdict){ .end = PREFIX_END_NO_FRONTIER };
                return r == -ENOMEM ? r : sequence_new(engine, &request->sequence);
        }
        request->n_kept = request->verdict.n_reused;
        atomic_store(&request->live.n_prompt_done, request->verdict.n_reused);
        return 0;
}

static void keep_pages(struct request *request, uint32_t position) {
        uint32_t page;
        uint8_t *room;
        while ((room = kv_lease_add_page(request->lease, request->tokens.ids, position, &page)))
                sequence_save_page(request->sequence, page, room);
}

static void keep_state(struct request *request, uint32_t position, bool lasting, uint64_t now_ns) {
        uint8_t *room =
                kv_lease_add_frontier(request->lease, request->tokens.ids, position, lasting);
        if (room)
                sequence_save_state(request->sequence, room);
        request->n_kept = position;
        request->kept_ns = now_ns;
}

void keeper_computed(struct request *request, uint64_t now_ns) {
        if (!request->lease)
                return;
        uint32_t position = (uint32_t)sequence_position(request->sequence), n = request->n_prompt;
        if (request->kept_ns == 0)
                request->kept_ns = request->started_ns;
        keep_pages(request, position);
        /* The end of the prompt; and the last page's end before it, because the same prompt sent
         * again needs at least one token to compute. */
        bool lasting = position == n ||
                (position < n && position % PAGE_TOKENS == 0 && n - position <= PAGE_TOKENS);
        if (lasting || position - request->n_kept >= STATE_TOKENS ||
            now_ns - request->kept_ns >= STATE_NS)
                keep_state(request, position, lasting, now_ns);
}

void keeper_end(struct request *request) {
        if (request->lease && request->sequence && kv_lease_ready(request->lease)) {
                uint32_t position = (uint32_t)sequence_position(request->sequence);
                keep_pages(request, position);
                if (position > request->n_kept)
                        keep_state(request, position, true, 0);
        }
        request->lease = kv_lease_end(request->lease);
}
