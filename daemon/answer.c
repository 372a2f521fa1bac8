#include "daemon/answer.h"

#include <assert.h>

#include "base/clock.h"
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

size_t answer_done(const struct request *request, const struct refusal *error, uint64_t now_ns,
                   uint8_t ret[ANSWER_BYTES_MAX]) {
        Seekd__V1__Usage usage = SEEKD__V1__USAGE__INIT;
        Seekd__V1__Timing timing = SEEKD__V1__TIMING__INIT;
        Seekd__V1__CacheVerdict cache = SEEKD__V1__CACHE_VERDICT__INIT;
        Seekd__V1__Error failure = SEEKD__V1__ERROR__INIT;
        Seekd__V1__Done done = SEEKD__V1__DONE__INIT;

        usage.prompt_tokens = request->n_prompt;
        usage.computed_tokens = atomic_load(&request->live.n_prompt_done);
        usage.generated_tokens = atomic_load(&request->live.n_generated);
        fill_timing(&timing, request, now_ns);
        cache.tier = SEEKD__V1__CACHE_TIER__CACHE_TIER_NONE;
        cache.ended_by = SEEKD__V1__CACHE_END__CACHE_END_COLD;

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
        return pack(&done.base, ret);
}
