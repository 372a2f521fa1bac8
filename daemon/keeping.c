/* One request's part of what is kept: what it goes on from, what it lends from and leaves. */
#include <errno.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/answer_stream.h"
#include "daemon/keeper_private.h"
#include "daemon/request.h"
#include "daemon/session_table.h"
#include "engine/engine.h"

/* A state is kept at the latest after this much work, so that a prompt that turns away late costs
 * no more. A crash costs a second at most: the time until a state is committed (a quarter of a
 * second, KV_COMMIT_NS in memory/) and that of a step come on top. */
#define STATE_TOKENS 8192
#define STATE_NS     (NS_PER_S / 2)

/* -- beginning -----------------------------------------------------------------------------------
 */

/* The sequence stands behind n_reused tokens. What a request goes on from after it gave way is its
 * own: only what it began with is told. */
static void began(struct request *request, const struct kv_verdict *verdict) {
        uint32_t n = verdict->n_reused,
                 n_prompt_done = n < request->n_prompt ? n : request->n_prompt;
        if (!request->began && !request->spare) {
                request->verdict = *verdict;
                if (verdict->end == PREFIX_END_COLD && request->keeper->other_model)
                        request->verdict.end = PREFIX_END_OTHER_MODEL;
                request->keeper->hits[verdict->tier]++;
                request->keeper->asked_tokens += request->n_prompt;
                request->keeper->reused_tokens += n_prompt_done;
        }
        request->began = true;
        request->n_kept = n;
        if (n_prompt_done > atomic_load(&request->live.n_prompt_done))
                atomic_store(&request->live.n_prompt_done, n_prompt_done);
}

/* The cache does not know of what is parked: where its lookup ends earlier, that is not the end. */
static void correct(struct kv_verdict *verdict, uint32_t n) {
        bool differs = verdict->end == PREFIX_END_DIFFERENT && verdict->differs_at >= n;
        if (verdict->n_reused != n && !differs)
                *verdict = (struct kv_verdict){ .end = PREFIX_END_WHOLE };
        verdict->n_reused = n;
        verdict->tier = KV_TIER_DEVICE;
}

uint32_t keeper_known(struct keeper *keeper, const struct request *request) {
        if (!keeper)
                return 0;
        const struct parked *parked = parking_find(&keeper->parking, request);
        uint32_t n_parked = parked ? parked->n : 0,
                 n_kept = kv_cache_known(keeper->cache, request->uid, request->subject,
                                         request->tokens.ids, (uint32_t)request->tokens.n);
        return n_parked > n_kept ? n_parked : n_kept;
}

/* Takes over the sequence of the turn before, if the cache holds no more than that. */
static bool go_on_parked(struct keeper *keeper, struct request *request) {
        struct kv_verdict verdict;
        struct parked *parked = parking_find(&keeper->parking, request);
        if (!parked ||
            kv_cache_look(keeper->cache, request->uid, request->subject, request->tokens.ids,
                          (uint32_t)request->tokens.n, &verdict) < 0 ||
            verdict.n_reused > parked->n)
                return false;
        correct(&verdict, parked->n);
        parking_take(&keeper->parking, parked, request);
        kv_lease_retry(request->lease);
        request->leased = true;
        began(request, &verdict);
        return true;
}

/* What the request holds, in this order: the sequence borrows the lease's pages. */
static void let_go(struct request *request) {
        request->sequence = sequence_free(request->sequence);
        request->lease = kv_lease_end(request->lease);
        request->leased = false;
}

/* Puts what the lease holds into the new sequence. */
static int restore(struct request *request) {
        uint32_t n_pages;
        struct error err = { 0 };
        const uint8_t *const *pages = kv_lease_pages(request->lease, &n_pages);
        int r = sequence_restore(request->sequence, pages, n_pages,
                                 kv_lease_frontier(request->lease), &err);
        if (r == 0)
                kv_lease_release_frontier(request->lease);
        else if (r == -EINVAL)
                log_warning("kept KV cannot be used: %s", err.text);
        return r;
}

/* What is kept cannot be used, so it is computed: without a lease, which would keep it again. */
static int begin_without(struct engine *engine, struct request *request) {
        let_go(request);
        request->leased = true;
        began(request, &(struct kv_verdict){ .end = PREFIX_END_NO_FRONTIER });
        return sequence_new(engine, &request->sequence);
}

static int begin_leased(struct engine *engine, struct request *request) {
        int r = sequence_new(engine, &request->sequence);
        if (r < 0)
                return r;
        const struct kv_verdict *verdict = kv_lease_verdict(request->lease);
        if (verdict->n_reused > 0)
                r = restore(request);
        if (r == -EINVAL)
                return begin_without(engine, request);
        if (r == 0)
                began(request, verdict);
        return r;
}

/* Without memory for a lease the request is computed from the start. */
static void take_lease(struct keeper *keeper, struct request *request) {
        int (*lease)(struct kv_cache * cache, uint32_t owner, const char *subject,
                     const uint32_t *ids, uint32_t n, struct kv_lease **ret) =
                request->spare ? kv_cache_lease_spare : kv_cache_lease;
        if (lease(keeper->cache, request->uid, request->subject, request->tokens.ids,
                  (uint32_t)request->tokens.n, &request->lease) < 0)
                request->lease = NULL;
}

int keeper_begin(struct keeper *keeper, struct engine *engine, struct request *request) {
        request->keeper = keeper;
        if (keeper && !request->leased && !request->spare && go_on_parked(keeper, request))
                return 0;
        if (keeper && !request->leased)
                take_lease(keeper, request);
        request->leased = true;
        if (!request->lease)
                return sequence_new(engine, &request->sequence);
        if (!kv_lease_ready(request->lease))
                return -EAGAIN;
        int r = begin_leased(engine, request);
        if (r < 0)
                let_go(request);
        return r;
}

/* -- going on, and leaving -----------------------------------------------------------------------
 */

/* True: there was something to lend. */
static bool keep_pages(struct request *request, uint32_t position) {
        struct kv_lease_page page;
        bool any = false;
        while (kv_lease_add_page(request->lease, request->tokens.ids, position, &page)) {
                if (page.unwritten)
                        sequence_save_page(request->sequence, page.number, page.data);
                sequence_lend_page(request->sequence, page.number, page.data);
                any = true;
        }
        return any;
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

bool keeper_is_reading(struct request *request) {
        return request->lease && !kv_lease_ready(request->lease);
}

bool keeper_keeps(const struct request *request) {
        return request->lease && kv_lease_keeps(request->lease);
}

bool keeper_lend(struct request *request) {
        if (!request->lease || !request->sequence)
                return false;
        kv_lease_retry(request->lease);
        return keep_pages(request, (uint32_t)sequence_position(request->sequence));
}

/* True: all of it is kept, and on its way to the disk. */
static bool keep_all(struct request *request) {
        if (!request->lease || !request->sequence)
                return false;
        uint32_t position = (uint32_t)sequence_position(request->sequence);
        keep_pages(request, position);
        if (position > request->n_kept)
                keep_state(request, position, true, 0);
        kv_lease_flush(request->lease);
        return true;
}

/* A completion at a keystroke is followed by another prompt, not by one that goes on from it. */
static bool has_next_turn(const struct request *request) {
        return request->finish_reason != SEEKD__V1__FINISH_REASON__FINISH_REASON_ERROR &&
                atomic_load(&request->live.class) != SEEKD__V1__CLASS__CLASS_INTERACTIVE;
}

/* What the turn has added to a pinned session is pinned as well. Over the quota what was pinned
 * before it stays. */
static void pin_turn(struct request *request) {
        const struct session *session = request->session;
        if (session && session->pinned)
                session_pins_set(&request->keeper->pins, session->id, session->owner,
                                 session->subject, request->tokens.ids,
                                 (uint32_t)request->tokens.n);
}

/* The tool that the next turn waits for: of the answer's calls the one that takes longest. */
static uint64_t slowest_tool(const struct tool_pauses *pauses, const struct request *request) {
        size_t n = 0;
        const struct chat_call *calls = answer_stream_calls(request->answer, &n);
        uint64_t slowest = 0, most_ns = 0;
        for (size_t i = 0; i < n; i++) {
                uint64_t tool = tool_id(calls[i].name.data, calls[i].name.n),
                         ns = tool_pauses_bound_ns(pauses, request->uid, tool);
                if (ns > most_ns) {
                        slowest = tool;
                        most_ns = ns;
                }
        }
        return slowest;
}

/* Until when its tool's answer is expected; 0: it waits for none. The pause begins. */
static uint64_t expect(struct tool_pauses *pauses, const struct request *request) {
        uint64_t since_ns = request->last_token_ns;
        if (request->finish_reason != SEEKD__V1__FINISH_REASON__FINISH_REASON_TOOL_CALLS)
                return 0;
        uint64_t tool = slowest_tool(pauses, request);
        tool_pauses_begin(pauses, request->uid, request->subject, request->tokens.ids,
                          (uint32_t)sequence_position(request->sequence), tool, since_ns);
        return since_ns + tool_pauses_bound_ns(pauses, request->uid, tool);
}

void keeper_arrived(struct keeper *keeper, const struct request *request) {
        if (keeper)
                tool_pauses_end(&keeper->pauses, request->uid, request->subject,
                                request->tokens.ids, (uint32_t)request->tokens.n,
                                request->received_ns);
}

void keeper_end(struct request *request) {
        struct keeper *keeper = request->keeper;
        bool kept = keep_all(request);
        if (kept)
                pin_turn(request);
        if (kept && has_next_turn(request))
                parking_add(&keeper->parking, request, expect(&keeper->pauses, request),
                            clock_ns());
        let_go(request);
}

void keeper_leave(struct request *request) {
        keep_all(request);
        let_go(request);
}
