/* The daemon's final messages in the terms of seekd.h. Enum values of both sides are the same
 * numbers, asserted here; values that this version does not know are passed on. */
#include "client/client.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)SEEKD_FINISH_ERROR == (int)SEEKD__V1__FINISH_REASON__FINISH_REASON_ERROR,
               "same numbers");
_Static_assert((int)SEEKD_FINISH_TOOL_CALLS ==
                       (int)SEEKD__V1__FINISH_REASON__FINISH_REASON_TOOL_CALLS,
               "same numbers");
_Static_assert((int)SEEKD_FINISH_SHUTDOWN == (int)SEEKD__V1__FINISH_REASON__FINISH_REASON_SHUTDOWN,
               "same numbers");
_Static_assert((int)SEEKD_FINISH_CANCELLED ==
                       (int)SEEKD__V1__FINISH_REASON__FINISH_REASON_CANCELLED,
               "same numbers");
_Static_assert((int)SEEKD_TIER_DISK == (int)SEEKD__V1__CACHE_TIER__CACHE_TIER_DISK, "same numbers");
_Static_assert((int)SEEKD_CACHE_END_DIFFERENT_MODEL ==
                       (int)SEEKD__V1__CACHE_END__CACHE_END_DIFFERENT_MODEL,
               "same numbers");
_Static_assert((int)SEEKD_CLASS_BACKGROUND == (int)SEEKD__V1__CLASS__CLASS_BACKGROUND,
               "same numbers");

int result_code_of(Seekd__V1__ErrorCode code) {
        switch (code) {
        case SEEKD__V1__ERROR_CODE__ERROR_CODE_INVALID: return SEEKD_E_INVALID;
        case SEEKD__V1__ERROR_CODE__ERROR_CODE_TOO_LARGE: return SEEKD_E_TOO_LARGE;
        case SEEKD__V1__ERROR_CODE__ERROR_CODE_UNSUPPORTED: return SEEKD_E_UNSUPPORTED;
        case SEEKD__V1__ERROR_CODE__ERROR_CODE_BUSY: return SEEKD_E_BUSY;
        case SEEKD__V1__ERROR_CODE__ERROR_CODE_NOT_READY: return SEEKD_E_NOT_READY;
        case SEEKD__V1__ERROR_CODE__ERROR_CODE_FORBIDDEN: return SEEKD_E_FORBIDDEN;
        case SEEKD__V1__ERROR_CODE__ERROR_CODE_NOT_FOUND: return SEEKD_E_NOT_FOUND;
        case SEEKD__V1__ERROR_CODE__ERROR_CODE_DEADLINE: return SEEKD_E_DEADLINE;
        case SEEKD__V1__ERROR_CODE__ERROR_CODE_SHUTTING_DOWN: return SEEKD_E_STOPPING;
        default: return SEEKD_E_DAEMON;
        }
}

void result_from_code(struct seekd_result *result, int code, const char *text) {
        result->code = code;
        result->finish = SEEKD_FINISH_ERROR;
        snprintf(result->error, sizeof(result->error), "%s", text);
}

void result_from_error(struct seekd_result *result, const Seekd__V1__Error *error) {
        int code = result_code_of(error->code);
        result_from_code(result, code, error->message[0] ? error->message : seekd_strerror(code));
        result->retry_after_ms = error->retry_after_ms;
}

static double milliseconds(double value) {
        return isfinite(value) && value > 0 ? value : 0;
}

static uint32_t copy_ids(uint32_t *ret, const uint32_t *ids, size_t n) {
        size_t n_max = sizeof(((struct seekd_result *)NULL)->cache_prompt_ids) / sizeof(uint32_t);
        n = n < n_max ? n : n_max;
        if (n > 0)
                memcpy(ret, ids, n * sizeof(*ids));
        return (uint32_t)n;
}

static char *copy_string(char **at, const void *string, size_t n) {
        char *copy = *at;
        if (n > 0)
                memcpy(copy, string, n);
        copy[n] = '\0';
        *at += n + 1;
        return copy;
}

/* One block: pointers, calls, strings. False: no memory. */
static bool copy_calls(struct seekd_result *result, const Seekd__V1__Done *done) {
        size_t n = done->n_tool_calls, bytes = 0;
        for (size_t i = 0; i < n; i++)
                bytes += strlen(done->tool_calls[i]->id) + strlen(done->tool_calls[i]->name) +
                        done->tool_calls[i]->arguments.len + 3;
        if (n == 0)
                return true;
        const struct seekd_tool_call **list =
                malloc(n * (sizeof(*list) + sizeof(struct seekd_tool_call)) + bytes);
        if (!list)
                return false;
        struct seekd_tool_call *calls = (struct seekd_tool_call *)(void *)(list + n);
        char *at = (char *)(calls + n);
        for (size_t i = 0; i < n; i++) {
                const Seekd__V1__ToolCall *from = done->tool_calls[i];
                calls[i] = (struct seekd_tool_call)SEEKD_TOOL_CALL_INIT;
                calls[i].id = copy_string(&at, from->id, strlen(from->id));
                calls[i].name = copy_string(&at, from->name, strlen(from->name));
                calls[i].arguments_bytes = from->arguments.len;
                calls[i].arguments = copy_string(&at, from->arguments.data, from->arguments.len);
                list[i] = &calls[i];
        }
        result->tool_calls = list;
        result->n_tool_calls = n;
        return true;
}

void result_from_done(struct seekd_result *result, const Seekd__V1__Done *done) {
        result->finish = (int)done->finish_reason;
        if (done->finish_reason == SEEKD__V1__FINISH_REASON__FINISH_REASON_ERROR) {
                if (done->error)
                        result_from_error(result, done->error);
                else
                        result_from_code(result, SEEKD_E_DAEMON,
                                         "the daemon failed and does not say why");
        }
        result->tool_call_incomplete = done->tool_call_incomplete;
        if (!copy_calls(result, done))
                result_from_code(result, SEEKD_E_NO_MEMORY, "no memory for the tool calls");
        const Seekd__V1__Usage *usage = done->usage;
        if (usage) {
                result->prompt_tokens = usage->prompt_tokens;
                result->cached_tokens = usage->cached_tokens;
                result->computed_tokens = usage->computed_tokens;
                result->generated_tokens = usage->generated_tokens;
        }
        const Seekd__V1__Timing *timing = done->timing;
        if (timing) {
                result->queue_ms = milliseconds(timing->queue_ms);
                result->prefill_ms = milliseconds(timing->prefill_ms);
                result->decode_ms = milliseconds(timing->decode_ms);
                result->first_token_ms = milliseconds(timing->first_token_ms);
        }
        const Seekd__V1__CacheVerdict *cache = done->cache;
        if (cache) {
                result->cache_tier = (int)cache->tier;
                result->cache_end = (int)cache->ended_by;
                result->cache_position = cache->position;
                result->n_cache_prompt_ids =
                        copy_ids(result->cache_prompt_ids, cache->prompt_ids, cache->n_prompt_ids);
                result->n_cache_kept_ids =
                        copy_ids(result->cache_kept_ids, cache->cached_ids, cache->n_cached_ids);
        }
}
