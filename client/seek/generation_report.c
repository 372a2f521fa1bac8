#include <stdio.h>

#include "client/seek/seek.h"

static const char *tier_name(int tier) {
        static const char *const names[] = { "unknown", "none", "device", "host", "disk" };
        return tier >= 0 && tier < (int)(sizeof(names) / sizeof(names[0])) ? names[tier]
                                                                           : "unknown";
}

static const char *cache_end_name(int end) {
        static const char *const names[] = { "unknown",          "whole",   "cold",
                                             "different_prompt", "evicted", "no_frontier",
                                             "different_model" };
        return end >= 0 && end < (int)(sizeof(names) / sizeof(names[0])) ? names[end] : "unknown";
}

/* Tokens per second from the first token to the last; 0 when there were not two. */
static double decode_rate(const struct seekd_result *result) {
        if (result->generated_tokens < 2 || result->decode_ms <= 0)
                return 0;
        return (result->generated_tokens - 1) * 1000.0 / result->decode_ms;
}

static double prefill_rate(const struct seekd_result *result) {
        return result->prefill_ms > 0 ? result->computed_tokens * 1000.0 / result->prefill_ms : 0;
}

static void print_cache_verdict(const struct seekd_result *result) {
        fprintf(stderr, "cache:     %u tokens reused", result->cached_tokens);
        if (result->cached_tokens > 0)
                fprintf(stderr, " (%s)", tier_name(result->cache_tier));
        switch (result->cache_end) {
        case SEEKD_CACHE_END_COLD:
                fputs("; nothing was kept that starts like this prompt", stderr);
                break;
        case SEEKD_CACHE_END_DIFFERENT_PROMPT:
                fprintf(stderr, "; the prompt differs from token %u on", result->cache_position);
                break;
        case SEEKD_CACHE_END_EVICTED: fputs("; the rest was dropped to make room", stderr); break;
        case SEEKD_CACHE_END_NO_FRONTIER: fputs("; no state was kept to go on from", stderr); break;
        case SEEKD_CACHE_END_DIFFERENT_MODEL:
                fputs("; what was kept on disk is of another model", stderr);
                break;
        default: break;
        }
        fputc('\n', stderr);
}

void print_stats(const struct seekd_result *result) {
        fprintf(stderr, "prompt:    %u tokens, %.1f ms (%.1f tokens/s)\n", result->prompt_tokens,
                result->prefill_ms, prefill_rate(result));
        fprintf(stderr, "generated: %u tokens, %.1f ms (%.1f tokens/s), ended by %s\n",
                result->generated_tokens, result->decode_ms, decode_rate(result),
                finish_name(result->finish));
        fprintf(stderr, "first token after %.1f ms, of which %.1f ms in the queue; seed %llu\n",
                result->first_token_ms, result->queue_ms, (unsigned long long)result->seed);
        print_cache_verdict(result);
}

static json_t *ids_json(const uint32_t *ids, size_t n) {
        json_t *array = json_array();
        for (size_t i = 0; i < n; i++)
                json_array_append_new(array, json_integer(ids[i]));
        return array;
}

/* Text: many JSON readers hold numbers as doubles, in which 64 bits would not come back as they
 * were. */
static json_t *seed_json(uint64_t seed) {
        char text[32];
        snprintf(text, sizeof(text), "%llu", (unsigned long long)seed);
        return json_string(text);
}

json_t *generation_json(const struct seekd_result *result, const char *text, size_t text_bytes,
                        const uint32_t *tokens, size_t n_tokens) {
        json_t *usage = json_pack("{s:I, s:I, s:I, s:I}", "prompt_tokens",
                                  (json_int_t)result->prompt_tokens, "cached_tokens",
                                  (json_int_t)result->cached_tokens, "computed_tokens",
                                  (json_int_t)result->computed_tokens, "generated_tokens",
                                  (json_int_t)result->generated_tokens);
        json_t *timings =
                json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "queue_ms", result->queue_ms,
                          "prefill_ms", result->prefill_ms, "decode_ms", result->decode_ms,
                          "first_token_ms", result->first_token_ms, "prefill_tokens_per_second",
                          prefill_rate(result), "decode_tokens_per_second", decode_rate(result));
        json_t *cache = json_pack(
                "{s:I, s:s, s:s}", "tokens_reused", (json_int_t)result->cached_tokens, "tier",
                tier_name(result->cache_tier), "ended_by", cache_end_name(result->cache_end));
        if (result->cache_end == SEEKD_CACHE_END_DIFFERENT_PROMPT) {
                json_object_set_new(cache, "position", json_integer(result->cache_position));
                json_object_set_new(cache, "prompt_ids",
                                    ids_json(result->cache_prompt_ids, result->n_cache_prompt_ids));
                json_object_set_new(cache, "kept_ids",
                                    ids_json(result->cache_kept_ids, result->n_cache_kept_ids));
        }
        json_t *object = json_pack(
                "{s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "text", json_stringn(text, text_bytes),
                "tokens", ids_json(tokens, n_tokens), "finish", finish_name(result->finish), "seed",
                seed_json(result->seed), "usage", usage, "timings", timings, "cache", cache);
        if (object && result->code < 0)
                json_object_set_new(object, "error",
                                    json_pack("{s:i, s:s, s:s}", "code", result->code, "name",
                                              seekd_strerror(result->code), "message",
                                              result->error));
        return object;
}
