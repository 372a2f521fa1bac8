/* A cache of small pages, and the engine's part played by arithmetic: the bytes of a page or state
 * follow from owner, subject and every token before its end, so that any other bytes are noticed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "memory/kv_cache.h"

#define PAGE_BYTES     64
#define FRONTIER_BYTES 192

extern const struct page_key kept_key;

/* Key, fingerprint and sizes are filled in. */
struct kv_cache *kept_open(const struct kv_cache_config *config);

void kept_wait(struct kv_lease *lease);

/* That a ready lease goes on from the right bytes. */
void kept_check_reused(struct kv_lease *lease, uint32_t owner, const char *subject,
                       const uint32_t *ids, uint32_t n);

/* The sequence has got to `position`: keeps its pages, and its state when asked. */
void kept_extend(struct kv_lease *lease, uint32_t owner, const char *subject, const uint32_t *ids,
                 uint32_t position, bool frontier, bool lasting);

/* Computes ids[0..n) and keeps all of it. */
void kept_remember(struct kv_cache *cache, uint32_t owner, const char *subject, const uint32_t *ids,
                   uint32_t n);

/* Looks up ids[0..n), checks what is found, and lets go of it. */
struct kv_verdict kept_ask(struct kv_cache *cache, uint32_t owner, const char *subject,
                           const uint32_t *ids, uint32_t n);
