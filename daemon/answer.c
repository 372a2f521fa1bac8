#include "daemon/answer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "daemon/answer_stream.h"
#include "daemon/request.h"
#include "engine/text_stream.h"
#include "proto/message.h"

static size_t pack(const ProtobufCMessage *message, uint8_t *ret) {
        int64_t n = message_pack(message, ret, ANSWER_BYTES_MAX);
        assert(n >= 0); /* every string below is bounded by its struct */
        return (size_t)n;
}

static void fill_error(Seekd__V1__Error *error, uint32_t request_id,
                       const struct refusal *refusal) {
        error->request_id = request_id;
        error->code = (Seekd__V1__ErrorCode)refusal->code;
        error->message = (char *)(uintptr_t)refusal->text;
        error->field = (char *)(uintptr_t)refusal->field;
        error->retry_after_ms = refusal->retry_after_ms;
}

size_t answer_error(uint32_t request_id, const struct refusal *refusal,
                    uint8_t ret[ANSWER_BYTES_MAX]) {
        Seekd__V1__Error error = SEEKD__V1__ERROR__INIT;
        fill_error(&error, request_id, refusal);
        return pack(&error.base, ret);
}

size_t answer_accepted(const struct request *request, uint8_t ret[ANSWER_BYTES_MAX]) {
        Seekd__V1__Accepted accepted = SEEKD__V1__ACCEPTED__INIT;
        accepted.request_id = request->id;
        accepted.slot = request->slot;
        accepted.seed = request->sampling.seed;
        accepted.prompt_tokens = request->n_prompt;
        return pack(&accepted.base, ret);
}

static double milliseconds(uint64_t from_ns, uint64_t to_ns) {
        return from_ns != 0 && to_ns > from_ns ? (double)(to_ns - from_ns) / (double)NS_PER_MS : 0;
}

static void fill_timing(Seekd__V1__Timing *timing, const struct request *request, uint64_t now_ns) {
        uint64_t started = request->started_ns ? request->started_ns : now_ns;
        uint64_t first = request->first_token_ns ? request->first_token_ns : now_ns;
        timing->queue_ms = milliseconds(request->received_ns, started);
        timing->prefill_ms = milliseconds(request->started_ns, first);
        timing->decode_ms = milliseconds(request->first_token_ns, request->last_token_ns);
        timing->first_token_ms = milliseconds(request->received_ns, request->first_token_ns);
}

/* What is pointed to is the request's. */
static void fill_verdict(Seekd__V1__CacheVerdict *cache, struct request *request) {
        static const Seekd__V1__CacheTier tiers[] = {
                [KV_TIER_NONE] = SEEKD__V1__CACHE_TIER__CACHE_TIER_NONE,
                [KV_TIER_DEVICE] = SEEKD__V1__CACHE_TIER__CACHE_TIER_DEVICE,
                [KV_TIER_HOST] = SEEKD__V1__CACHE_TIER__CACHE_TIER_HOST,
                [KV_TIER_DISK] = SEEKD__V1__CACHE_TIER__CACHE_TIER_DISK,
        };
        static const Seekd__V1__CacheEnd ends[] = {
                [PREFIX_END_COLD] = SEEKD__V1__CACHE_END__CACHE_END_COLD,
                [PREFIX_END_WHOLE] = SEEKD__V1__CACHE_END__CACHE_END_WHOLE,
                [PREFIX_END_DIFFERENT] = SEEKD__V1__CACHE_END__CACHE_END_DIFFERENT_PROMPT,
                [PREFIX_END_EVICTED] = SEEKD__V1__CACHE_END__CACHE_END_EVICTED,
                [PREFIX_END_NO_FRONTIER] = SEEKD__V1__CACHE_END__CACHE_END_NO_FRONTIER,
                [PREFIX_END_OTHER_MODEL] = SEEKD__V1__CACHE_END__CACHE_END_DIFFERENT_MODEL,
        };
        struct kv_verdict *v = &request->verdict;
        cache->tokens_reused = v->n_reused;
        cache->tier = tiers[v->tier];
        cache->ended_by = ends[v->end];
        cache->position = v->differs_at;
        cache->n_prompt_ids = v->n_prompt_ids;
        cache->prompt_ids = v->prompt_ids;
        cache->n_cached_ids = v->n_kept_ids;
        cache->cached_ids = v->kept_ids;
}

/* Of one allocation in an arena, what it is rounded up by at most. */
#define ROUNDING 16

/* The calls of a conversation's answer; what `done` then points to lies in the arena or is the
 * answer's.
 */
static int fill_calls(Seekd__V1__Done *done, struct answer_stream *answer, struct arena *arena) {
        struct chat_text raw;
        size_t n, bytes = 2 * ROUNDING;
        const struct chat_call *calls = answer_stream_calls(answer, &n);
        for (size_t i = 0; i < n; i++)
                bytes += sizeof(Seekd__V1__ToolCall) + sizeof(void *) + CALL_ID_BYTES +
                        calls[i].name.n + 1 + 2 * ROUNDING;
        if (arena_init(arena, bytes) < 0)
                return -ENOMEM;
        Seekd__V1__ToolCall *list = arena_alloc(arena, n * sizeof(*list));
        done->tool_calls = arena_alloc(arena, n * sizeof(Seekd__V1__ToolCall *));
        done->n_tool_calls = n;
        for (size_t i = 0; i < n; i++) {
                seekd__v1__tool_call__init(&list[i]);
                list[i].id = arena_alloc(arena, CALL_ID_BYTES);
                list[i].name = arena_alloc(arena, calls[i].name.n + 1);
                answer_stream_call_id(answer, i, list[i].id);
                memcpy(list[i].name, calls[i].name.data, calls[i].name.n);
                list[i].arguments.len = calls[i].arguments.n;
                list[i].arguments.data = (uint8_t *)(uintptr_t)calls[i].arguments.data;
                done->tool_calls[i] = &list[i];
        }
        done->tool_call_incomplete = answer_stream_incomplete(answer, &raw);
        if (done->tool_call_incomplete) {
                done->tool_call_raw.len = raw.n;
                done->tool_call_raw.data = (uint8_t *)(uintptr_t)raw.data;
        }
        return 0;
}

static uint8_t *pack_allocated(const ProtobufCMessage *message, size_t *ret_n) {
        size_t bytes = message_packed_bytes(message);
        uint8_t *ret = malloc(bytes);
        if (ret && message_pack(message, ret, bytes) < 0) {
                free(ret);
                return NULL;
        }
        *ret_n = bytes;
        return ret;
}

uint8_t *answer_done(struct request *request, const struct refusal *error, uint64_t now_ns,
                     size_t *ret_n) {
        CLEANUP(arena_deinit) struct arena arena = { 0 };
        Seekd__V1__Usage usage = SEEKD__V1__USAGE__INIT;
        Seekd__V1__Timing timing = SEEKD__V1__TIMING__INIT;
        Seekd__V1__CacheVerdict cache = SEEKD__V1__CACHE_VERDICT__INIT;
        Seekd__V1__Error failure = SEEKD__V1__ERROR__INIT;
        Seekd__V1__Done done = SEEKD__V1__DONE__INIT;

        usage.prompt_tokens = request->n_prompt;
        usage.cached_tokens = request->verdict.n_reused;
        usage.computed_tokens = atomic_load(&request->live.n_prompt_done) - usage.cached_tokens;
        usage.generated_tokens = atomic_load(&request->live.n_generated);
        fill_timing(&timing, request, now_ns);
        fill_verdict(&cache, request);

        done.request_id = request->id;
        done.finish_reason = (Seekd__V1__FinishReason)request->finish_reason;
        done.usage = &usage;
        done.timing = &timing;
        done.cache = &cache;
        if (request->finish_reason == SEEKD__V1__FINISH_REASON__FINISH_REASON_STOP)
                done.stop = (char *)(uintptr_t)text_stream_stop(request->text);
        if (error) {
                fill_error(&failure, request->id, error);
                done.error = &failure;
        }
        if (request->answer && fill_calls(&done, request->answer, &arena) < 0)
                return NULL;
        return pack_allocated(&done.base, ret_n);
}
