/* A day of coding agents on a memory that is too small for them: how much of their prompts need not
 * be computed, with the policy and with recency alone (the same code with a half-life of nothing).
 *
 * Three agents share a system prompt. Each turn appends an answer and the output of a tool, and
 * then the tool takes its time; one agent's client leaves its reasoning out of the next prompt.
 * Contexts that have grown too long are summed up and begun anew. Agents send sub-agents for a few
 * turns, and an editor asks for completions, in bursts, that nobody asks again. Sizes are V4.1's, a
 * byte for each KiB. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/kv_cache_private.h"

#define PAGE_BYTES     111
#define FRONTIER_BYTES 2750

#define SYSTEM_TOKENS 8000
#define CONTEXT_MAX   60000
#define N_AGENTS      3
#define N_EVENTS      3000

static const struct page_key key = { { 3 } };

struct agent {
        uint32_t *ids; /* [CONTEXT_MAX + 8192] */
        uint32_t n;
        uint32_t reasoning; /* of 100 tokens of an answer, not in the next prompt */
        uint32_t pause;     /* events until the tool is done */
};

struct trace {
        uint64_t state;
        struct kv_cache *cache;
        uint32_t system[SYSTEM_TOKENS];
        uint64_t asked, reused;
};

static uint32_t draw(struct trace *t, uint32_t n) {
        t->state = t->state * 6364136223846793005ULL + 1442695040888963407ULL;
        return (uint32_t)(t->state >> 33) % n;
}

static uint32_t between(struct trace *t, uint32_t min, uint32_t max) {
        return min + draw(t, max - min + 1);
}

static void append(struct trace *t, struct agent *agent, uint32_t n) {
        while (n-- > 0)
                agent->ids[agent->n++] = draw(t, 100000);
}

static void keep(struct kv_lease *lease, const uint32_t *ids, uint32_t position) {
        struct kv_lease_page page;
        uint8_t *data;
        while (kv_lease_add_page(lease, ids, position, &page))
                if (page.unwritten)
                        memset(page.data, 1, PAGE_BYTES);
        if ((data = kv_lease_add_frontier(lease, ids, position, true)))
                memset(data, 2, FRONTIER_BYTES);
}

/* A prompt, then an answer: states are kept as the daemon keeps them. */
static void turn(struct trace *t, struct agent *agent, uint32_t n_answer) {
        struct kv_lease *lease;
        uint32_t n = agent->n, page_end = (n - 1) / PAGE_TOKENS * PAGE_TOKENS;
        assert_int_equal(kv_cache_lease(t->cache, 1, NULL, agent->ids, n, &lease), 0);
        uint32_t n_reused = kv_lease_verdict(lease)->n_reused;
        t->asked += n;
        t->reused += n_reused;
        if (page_end > n_reused)
                keep(lease, agent->ids, page_end);
        keep(lease, agent->ids, n);
        append(t, agent, n_answer);
        keep(lease, agent->ids, agent->n);
        kv_lease_end(lease);
}

static void begin_anew(struct trace *t, struct agent *agent) {
        memcpy(agent->ids, t->system, sizeof(t->system));
        agent->n = SYSTEM_TOKENS;
        append(t, agent, between(t, 1000, 4000));
}

static void agent_turn(struct trace *t, struct agent *agent) {
        uint32_t n_answer = between(t, 200, 1200), n = agent->n;
        turn(t, agent, n_answer);
        uint32_t left_out = n_answer * agent->reasoning / 100;
        memmove(agent->ids + n, agent->ids + n + left_out,
                (n_answer - left_out) * sizeof(*agent->ids));
        agent->n -= left_out;
        append(t, agent, between(t, 100, 4000));
        if (agent->n > CONTEXT_MAX)
                begin_anew(t, agent);
        agent->pause = draw(t, 4) ? draw(t, 4) : draw(t, 60);
}

static void sub_agent(struct trace *t, struct agent *sub) {
        begin_anew(t, sub);
        for (uint32_t n = between(t, 2, 5); n > 0; n--) {
                turn(t, sub, between(t, 100, 600));
                append(t, sub, between(t, 200, 2000));
        }
}

static void completions(struct trace *t, struct agent *editor) {
        for (uint32_t n = between(t, 10, 50); n > 0; n--) {
                editor->n = 0;
                append(t, editor, between(t, 300, 2000));
                turn(t, editor, between(t, 5, 60));
        }
}

static double hit_rate(uint64_t seed, uint64_t host_bytes, bool recency) {
        struct trace *t = calloc(1, sizeof(*t));
        struct agent agent[N_AGENTS + 1] = { { .reasoning = 70 } };
        struct kv_cache_config config = {
                .key = &key,
                .page_bytes = PAGE_BYTES,
                .frontier_bytes = FRONTIER_BYTES,
                .host_bytes = host_bytes,
        };
        assert_non_null(t);
        t->state = seed;
        assert_int_equal(kv_cache_open(&config, &t->cache, NULL), 0);
        if (recency)
                t->cache->prefix.half_life[PREFIX_MEMORY] = 1e-6;
        for (uint32_t i = 0; i < SYSTEM_TOKENS; i++)
                t->system[i] = draw(t, 100000);
        for (size_t i = 0; i <= N_AGENTS; i++) {
                agent[i].ids = calloc(CONTEXT_MAX + 8192, sizeof(uint32_t));
                assert_non_null(agent[i].ids);
                begin_anew(t, &agent[i]);
        }
        for (uint32_t event = 0; event < N_EVENTS; event++) {
                uint32_t what = draw(t, 100);
                struct agent *a = &agent[draw(t, N_AGENTS)];
                if (what < 4)
                        completions(t, &agent[N_AGENTS]);
                else if (what < 10)
                        sub_agent(t, &agent[N_AGENTS]);
                else if (a->pause > 0)
                        a->pause--;
                else
                        agent_turn(t, a);
        }
        double rate = (double)t->reused / (double)t->asked;
        for (size_t i = 0; i <= N_AGENTS; i++)
                free(agent[i].ids);
        kv_cache_close(t->cache);
        free(t);
        return rate;
}

static void the_policy_saves_more_than_recency(void **state) {
        (void)state;
        const uint64_t mib = 200; /* three long contexts and the system prompt need about 300 */
        double policy = hit_rate(1, mib << 10, false), recency = hit_rate(1, mib << 10, true);
        printf("%.1f %% of the tokens reused, %.1f %% by recency alone\n", 100 * policy,
               100 * recency);
        assert_true(policy > recency);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_policy_saves_more_than_recency),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
