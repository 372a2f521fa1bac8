#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/keeper_private.h"
#include "daemon/session_table.h"
#include "engine/engine.h"
#include "engine/identity.h"
#include "engine/numerics.h"
#include "memory/kv_store.h"
#include "memory/secret.h"

/* What one user may pin, as a share of the disk for kept KV (of memory without a disk): half is
 * left to everybody when two users pin what they can. */
#define PINNED_SHARE 4

static void hash_more(void *context, const void *data, size_t n) {
        crypto_generichash_update(context, data, n);
}

static int fingerprint(const struct engine *engine, const char *model_dir, struct page_id *ret,
                       struct error *err) {
        crypto_generichash_state hash;
        struct page_format format = {
                .architecture = engine_config(engine)->architecture,
                .kv_format = ENGINE_KV_FORMAT,
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
        if (event == KV_EVENT_RECOVERED || event == KV_EVENT_SHARE || event == KV_EVENT_OTHER_MODEL)
                log_info("kept KV: %s", text);
        else
                log_warning("kept KV: %s", text);
}

uint64_t keeper_user_bytes(uint64_t bytes, unsigned percent) {
        return bytes / 100 * percent + bytes % 100 * percent / 100;
}

static int open_store(const struct keeper_options *options, const struct engine *engine,
                      const struct page_key *key, const struct page_id *format,
                      struct keeper *keeper, struct error *err) {
        struct kv_store_statistics statistics;
        struct kv_store_config config = {
                .folder = options->state_dir,
                .key = key,
                .fingerprint = *format,
                .page_bytes = (uint32_t)engine_page_bytes(engine),
                .frontier_bytes_max = (uint32_t)engine_state_bytes(engine),
                .bytes_max = options->disk_bytes,
                .owner_bytes_max = keeper_user_bytes(options->disk_bytes, options->user_percent),
                .write_bytes_per_day = options->disk_writes_per_day,
                .report = report,
        };
        int r = kv_store_open(&config, &keeper->store, err);
        if (r < 0)
                return r;
        kv_store_statistics(keeper->store, &statistics);
        keeper->other_model = statistics.other_model;
        return 0;
}

/* What a parked sequence holds in memory stands in nobody's way. */
static bool end_parked(void *context) {
        struct keeper *keeper = context;
        return parking_drop(&keeper->parking, NULL, clock_ns());
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
        keeper->parking.bytes_max = options->parked_bytes;
        keeper->limits.host_bytes = keeper_user_bytes(options->host_bytes, options->user_percent);
        keeper->limits.disk_bytes =
                on_disk ? keeper_user_bytes(options->disk_bytes, options->user_percent) : 0;
        keeper->pinned_bytes_max =
                keeper_user_bytes(on_disk ? options->disk_bytes : options->host_bytes,
                                  options->user_percent) /
                PINNED_SHARE;
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
                .owner_bytes_max = keeper_user_bytes(options->host_bytes, options->user_percent),
                .owner_pinned_bytes_max = keeper->pinned_bytes_max,
                .notify = options->notify,
                .context = options->context,
                .end_lease = end_parked,
                .end_lease_context = keeper,
        };
        if (r == 0)
                r = fingerprint(engine, options->model_dir, &config.fingerprint, err);
        if (r == 0 && on_disk)
                r = open_store(options, engine, &key, &config.fingerprint, keeper, err);
        config.store = keeper->store;
        if (r == 0)
                r = kv_cache_open(&config, &keeper->cache, err);
        sodium_memzero(&key, sizeof(key));
        if (r < 0) {
                keeper_close(keeper);
                return r;
        }
        keeper->pins.cache = keeper->cache;
        if (keeper->store)
                session_pins_restore(&keeper->pins, keeper->store);
        *ret = keeper;
        return 0;
}

struct keeper *keeper_close(struct keeper *keeper) {
        if (!keeper)
                return NULL;
        while (parking_drop(&keeper->parking, NULL, clock_ns()))
                ;
        session_pins_deinit(&keeper->pins);
        kv_cache_close(keeper->cache);
        if (keeper->store)
                kv_store_close(keeper->store);
        free(keeper);
        return NULL;
}

void keeper_statistics(const struct keeper *keeper, const struct engine *engine,
                       struct keeper_statistics *ret) {
        *ret = (struct keeper_statistics){ 0 };
        engine_kv_statistics(engine, &ret->device);
        if (!keeper)
                return;
        kv_cache_statistics(keeper->cache, &ret->cache);
        memcpy(ret->hits, keeper->hits, sizeof(ret->hits));
        ret->asked_tokens = keeper->asked_tokens;
        ret->reused_tokens = keeper->reused_tokens;
        ret->n_parked = keeper->parking.n;
        ret->parked_bytes = parking_bytes(&keeper->parking, NULL);
}

struct keeper_limits keeper_user_limits(const struct keeper *keeper) {
        return keeper ? keeper->limits : (struct keeper_limits){ 0 };
}

void keeper_each_owner(const struct keeper *keeper,
                       void (*visit)(void *context, const struct kv_cache_owner *owner),
                       void *context) {
        if (keeper)
                kv_cache_each_owner(keeper->cache, visit, context);
}

struct owner_bytes {
        uint32_t uid;
        uint64_t bytes;
};

static void find_bytes(void *context, const struct kv_cache_owner *owner) {
        struct owner_bytes *of = context;
        if (owner->owner == of->uid)
                of->bytes = owner->bytes;
}

int keeper_purge(struct keeper *keeper, uint32_t uid, const uint64_t *sessions, size_t n_sessions,
                 uint64_t *ret_bytes) {
        struct owner_bytes of = { .uid = uid };
        keeper_each_owner(keeper, find_bytes, &of);
        *ret_bytes = of.bytes;
        if (!keeper)
                return 0;
        for (size_t i = 0; i < n_sessions; i++)
                session_pins_drop(&keeper->pins, sessions[i]);
        parking_drop_user(&keeper->parking, uid);
        tool_pauses_forget(&keeper->pauses, uid);
        return kv_cache_purge(keeper->cache, uid);
}

struct kv_store *keeper_store(const struct keeper *keeper) {
        return keeper ? keeper->store : NULL;
}

int keeper_pin(struct keeper *keeper, const struct session *session) {
        if (!keeper)
                return 0;
        return session_pins_set(&keeper->pins, session->id, session->owner, session->subject,
                                session->tokens.ids, (uint32_t)session->tokens.n);
}

void keeper_unpin(struct keeper *keeper, const struct session *session) {
        if (keeper)
                session_pins_drop(&keeper->pins, session->id);
}

uint64_t keeper_pinned_bytes_max(const struct keeper *keeper) {
        return keeper ? keeper->pinned_bytes_max : 0;
}

uint64_t keeper_version(const struct keeper *keeper) {
        return keeper ? kv_cache_version(keeper->cache) : 0;
}

void keeper_stepped(struct keeper *keeper, uint32_t n_tokens, uint64_t ns) {
        if (keeper)
                kv_cache_computed(keeper->cache, n_tokens, (double)ns / 1e6);
}

/* -- parked sequences ----------------------------------------------------------------------------
 */

static const struct parked *next_of(struct keeper *keeper, const struct request *request) {
        return request ? parking_find(&keeper->parking, request) : NULL;
}

uint64_t keeper_parked_bytes(struct keeper *keeper, const struct request *except) {
        return keeper ? parking_bytes(&keeper->parking, next_of(keeper, except)) : 0;
}

bool keeper_drop_parked(struct keeper *keeper, const struct request *except) {
        return keeper && parking_drop(&keeper->parking, next_of(keeper, except), clock_ns());
}
