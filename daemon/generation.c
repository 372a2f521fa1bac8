#include "daemon/generation.h"

#include <assert.h>
#include <errno.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "daemon/answer.h"
#include "daemon/answer_stream.h"
#include "daemon/keeper.h"
#include "daemon/limits.h"
#include "daemon/outlet.h"
#include "daemon/request.h"
#include "engine/engine.h"
#include "engine/text_stream.h"
#include "proto/record_types.h"
#include "proto/slots.h"
#include "proto/token_delta.h"

#define REASON(name) SEEKD__V1__FINISH_REASON__FINISH_REASON_##name
#define PHASE(name)  SEEKD__V1__PHASE__PHASE_##name

/* A delta with its text: a token's text and what a stop string can hold back fit the stack buffer
 * in all but freak vocabularies, whose text goes out in several deltas. */
#define DELTA_TEXT_BYTES 2048

/* -EPIPE is not an error here: the loop finds out by itself and then tells us with `gone`. */
static void post(struct request *request, uint16_t type, bool urgent, const uint8_t *bytes,
                 size_t n) {
        if (outbox_send(&request->outbox, request->outlet, type, request->id, urgent, bytes, n) ==
            -ENOMEM)
                atomic_store(&request->outlet->broken, true);
}

/* At most DELTA_TEXT_BYTES of the text, not ending within a character. */
static uint32_t piece_bytes(const char *text, size_t n) {
        if (n <= DELTA_TEXT_BYTES)
                return (uint32_t)n;
        size_t end = DELTA_TEXT_BYTES;
        while (end > 0 && ((uint8_t)text[end] & 0xc0) == 0x80)
                end--;
        return (uint32_t)end;
}

static void send_delta(struct request *request, struct token_delta delta, const char *text,
                       size_t n) {
        uint8_t buffer[sizeof(struct token_delta) + DELTA_TEXT_BYTES];
        for (;;) {
                delta.text_bytes = piece_bytes(text, n);
                int64_t bytes = token_delta_put(buffer, sizeof(buffer), &delta, NULL, text);
                assert(bytes > 0);
                post(request, RECORD_TOKENS, false, buffer, (size_t)bytes);
                n -= delta.text_bytes;
                if (n == 0) /* `text` may be NULL without any */
                        return;
                text += delta.text_bytes;
                delta = (struct token_delta){ .channel = delta.channel,
                                              .flags = TOKEN_FLAG_TEXT_ONLY,
                                              .position = delta.position };
        }
}

static void send_answer_delta(void *userdata, const struct token_delta *delta, const char *text,
                              size_t n) {
        send_delta(userdata, *delta, text, n);
}

/* Sends the token with the text that became safe to show. True: a stop string was completed. */
static bool send_token(struct request *request, const struct token_delta *delta) {
        if (request->answer)
                return answer_stream_token(request->answer, request->text, delta, send_answer_delta,
                                           request);
        const char *text;
        size_t n;
        bool stopped = text_stream_push(request->text, delta->id, &text, &n);
        send_delta(request, *delta, text, n);
        return stopped;
}

/* Sends the text that was held back; `cut`: not what the stream of text holds, which does not
 * belong to the output. 0 or -ENOMEM. */
static int send_rest(struct request *request, bool cut) {
        if (request->answer)
                return answer_stream_finish(request->answer, cut ? NULL : request->text,
                                            request->tokens.n, send_answer_delta, request);
        if (cut)
                return 0;
        const char *text;
        size_t n;
        text_stream_finish(request->text, &text, &n);
        struct token_delta delta = { .flags = TOKEN_FLAG_TEXT_ONLY, .position = request->tokens.n };
        if (n > 0)
                send_delta(request, delta, text, n);
        return 0;
}

static uint32_t n_generated(const struct request *request) {
        return (uint32_t)request->tokens.n - request->n_prompt;
}

void generation_token(struct request *request, uint32_t id, bool is_eos, bool is_special,
                      float logprob, uint64_t now_ns) {
        struct token_delta delta = { .id = id, .position = request->tokens.n };
        if (request->logprobs) {
                delta.flags |= TOKEN_FLAG_LOGPROB;
                delta.logprob = logprob;
        }
        if (is_special)
                delta.flags |= TOKEN_FLAG_SPECIAL;

        if (token_list_append(&request->tokens, &id, 1) < 0) {
                struct refusal refusal;
                refuse(&refusal, SEEKD__V1__ERROR_CODE__ERROR_CODE_INTERNAL, NULL, "out of memory");
                generation_finish(request, REASON(ERROR), &refusal, now_ns);
                return;
        }
        if (request->first_token_ns == 0)
                request->first_token_ns = now_ns;
        request->last_token_ns = now_ns;
        atomic_store(&request->live.n_generated, n_generated(request));
        atomic_store(&request->live.phase, PHASE(DECODE));

        if (send_token(request, &delta))
                generation_finish(request, REASON(STOP), NULL, now_ns);
        else if (is_eos)
                generation_finish(request, REASON(EOS), NULL, now_ns);
        else if (request->tokens.n >= request->context_tokens)
                generation_finish(request, REASON(CONTEXT), NULL, now_ns);
        else if (n_generated(request) >= request->n_generate_max)
                generation_finish(request, REASON(LENGTH), NULL, now_ns);
}

static bool has_calls(const struct request *request) {
        size_t n = 0;
        if (request->answer)
                answer_stream_calls(request->answer, &n);
        return n > 0;
}

void generation_finish(struct request *request, int reason, const struct refusal *error,
                       uint64_t now_ns) {
        assert(!request->finished);
        request->finished = true;
        request->finish_reason = reason;
        bool cut = reason == REASON(STOP) || reason == REASON(ERROR);
        struct refusal lost;
        if (send_rest(request, cut) < 0 && reason != REASON(ERROR)) {
                refuse(&lost, SEEKD__V1__ERROR_CODE__ERROR_CODE_INTERNAL, NULL, "out of memory");
                request->finish_reason = REASON(ERROR);
                error = &lost;
        }
        /* The character that the last token left unfinished can complete a stop string. */
        if (!cut && !error && text_stream_stop(request->text))
                request->finish_reason = REASON(STOP);
        if (request->finish_reason == REASON(EOS) && has_calls(request))
                request->finish_reason = REASON(TOOL_CALLS);
        keeper_end(request); /* what comes next depends on how it ended */
        size_t n = 0;
        CLEANUP_FREE uint8_t *bytes = answer_done(request, error, now_ns, &n);
        if (bytes)
                post(request, RECORD_DONE, true, bytes, n);
        else
                atomic_store(&request->outlet->broken, true);
}

int generation_must_end(const struct request *request, uint64_t now_ns) {
        if (slot_cancelled(&request->outlet->channel->peer, request->slot, request->id))
                return REASON(CANCELLED);
        if (request->deadline_ns != 0 && now_ns >= request->deadline_ns)
                return REASON(DEADLINE);
        if (request->paused_ns != 0 && now_ns - request->paused_ns > SLOW_CONSUMER_S * NS_PER_S)
                return REASON(SLOW_CONSUMER);
        return 0;
}

bool generation_flush(struct request *request, uint64_t now_ns) {
        if (outbox_flush(&request->outbox, request->outlet) != -EAGAIN) {
                request->unpaused_ns = request->paused_ns ? now_ns : request->unpaused_ns;
                request->paused_ns = 0;
                return true;
        }
        if (request->paused_ns == 0)
                request->paused_ns = now_ns;
        return false;
}
