#include "bench/agent_load.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "bench/prefix_set.h"

/* A session that would be longer begins anew: memory for the ids, not the model, is the reason. */
#define CONTEXT_MAX (32U << 10)

#define CLIENTS_MAX                                                                                \
        (LOAD_AGENTS_MAX + 2 + LOAD_FILLERS_MAX) /* and one that asks about the model              \
                                                  */
#define ACTORS_MAX   (2 * LOAD_AGENTS_MAX + 1 + LOAD_FILLERS_MAX)
#define TRACE_FILLER TRACE_KINDS /* a kind for the tokens' sake */
#define NEVER        UINT64_MAX

/* Refused for the number of requests, without a time to come back. */
#define RETRY_MS 100

/* Sends one request at a time. */
struct actor {
        struct run *run;
        enum trace_kind kind;
        unsigned number, turn; /* the next request's */
        struct seekd_client *client;
        struct actor *title; /* written beside an agent's first request */
        uint64_t due_ns;     /* when the next request is sent; NEVER: not by itself */
        uint32_t *ids;       /* the prompt and what has come of its answer */
        uint32_t n, n_prompt, n_fork, n_max;

        struct seekd_request *request; /* NULL: none under way */
        int service;
        uint32_t n_seen;
        bool answered;
        uint64_t n_service; /* tokens within the time */
};

struct run {
        const struct agent_load *load;
        struct load_outcome *outcome;
        struct seekd_client *clients[CLIENTS_MAX];
        unsigned n_clients;
        struct actor actors[ACTORS_MAX];
        unsigned n_actors;
        struct prefix_set seen;
        uint32_t n_context;
        uint64_t start_ns, end_ns; /* end: of `seconds`, or NEVER */
        bool ending;               /* agents and editor have ended: fillers are cancelled */
        struct error *err;         /* the first failure */
};

static bool is_filler(const struct actor *actor) {
        return actor->kind == TRACE_FILLER;
}

static uint64_t later(uint64_t now_ns, double ms) {
        return now_ns + (uint64_t)(ms * (double)NS_PER_MS);
}

/* -- the next prompt -----------------------------------------------------------------------------
 */

static struct trace_step filler_step(const struct load_filler *filler) {
        return (struct trace_step){ .base = TRACE_FRESH,
                                    .service = filler->service,
                                    .n_new = filler->n_prompt,
                                    .n_answer = filler->n_answer };
}

static struct trace_step step_of(const struct actor *actor) {
        const struct agent_load *load = actor->run->load;
        if (is_filler(actor))
                return filler_step(&load->filler);
        bool equal = load->equal && actor->kind == TRACE_AGENT;
        struct trace_step step =
                agent_trace_step(load->trace, actor->kind, equal ? 0 : actor->number, actor->turn);
        if (equal)
                step.pause_ms = 0;
        return step;
}

static void set_common(struct actor *actor) {
        const struct agent_trace *trace = actor->run->load->trace;
        actor->n = agent_trace_n_common(trace, actor->kind);
        for (uint32_t i = 0; i < actor->n; i++)
                actor->ids[i] = agent_trace_common(trace, actor->kind, i);
        actor->n_fork = actor->n;
}

static int set_prompt(struct actor *actor, const struct trace_step *step) {
        const struct agent_trace *trace = actor->run->load->trace;
        switch (step->base) {
        case TRACE_FRESH: set_common(actor); break;
        case TRACE_ON: break;
        case TRACE_TYPED: actor->n = actor->n_prompt; break;
        case TRACE_FORK: actor->n_fork = actor->n; break;
        case TRACE_JOIN: actor->n = actor->n_fork; break;
        }
        if (actor->n + step->n_new + step->n_answer > actor->n_max)
                set_common(actor);
        if (actor->n + step->n_new + step->n_answer > actor->n_max)
                return error_set(actor->run->err, -EMSGSIZE,
                                 "a prompt of %u tokens does not fit the model's context; a larger "
                                 "--scale makes it shorter",
                                 actor->n + step->n_new);
        for (uint32_t i = 0; i < step->n_new; i++)
                actor->ids[actor->n++] =
                        agent_trace_new(trace, actor->kind, actor->number, actor->turn, i);
        actor->n_prompt = actor->n;
        return 0;
}

/* -- an answer -----------------------------------------------------------------------------------
 */

static int take_piece(void *userdata, const struct seekd_piece *piece) {
        struct actor *actor = userdata;
        struct run *run = actor->run;
        if (!piece->has_token)
                return 0;
        uint64_t now_ns = clock_ns();
        if (!actor->answered && !is_filler(actor))
                series_add(&run->outcome->ttft[actor->service],
                           (double)(now_ns - actor->due_ns) / (double)NS_PER_MS);
        actor->answered = true;
        if (actor->n < actor->n_max)
                actor->ids[actor->n++] = piece->token;
        if (now_ns < run->end_ns)
                actor->n_service++;
        return 0;
}

static unsigned turns_max(const struct actor *actor) {
        const struct load_turns *turns = actor->run->load->turns;
        if (!turns || is_filler(actor))
                return UINT32_MAX;
        return actor->kind == TRACE_EDITOR ? turns->editor : turns->agents[actor->number];
}

/* When the next request is sent. A title is due when its agent begins a session. */
static void schedule_next(struct actor *actor, uint64_t now_ns) {
        struct run *run = actor->run;
        bool ended = is_filler(actor) ? run->ending
                                      : now_ns >= run->end_ns || actor->turn >= turns_max(actor);
        actor->due_ns = ended || actor->kind == TRACE_TITLE
                ? NEVER
                : later(now_ns, step_of(actor).pause_ms);
        if (actor->due_ns >= run->end_ns && !is_filler(actor))
                actor->due_ns = NEVER;
}

/* Only fillers come to a limit of requests. */
static bool is_refused(const struct actor *actor, const struct seekd_result *result) {
        return is_filler(actor) && result->code == SEEKD_E_BUSY;
}

static void count(struct actor *actor, const struct seekd_result *result, uint64_t now_ns) {
        struct load_outcome *outcome = actor->run->outcome;
        outcome->n_prompt += result->prompt_tokens;
        outcome->n_cached += result->cached_tokens;
        outcome->n_seen += actor->n_seen;
        outcome->seconds = (double)(now_ns - actor->run->start_ns) / (double)NS_PER_S;
        if (actor->kind == TRACE_AGENT)
                outcome->turns.agents[actor->number] = actor->turn;
        else if (actor->kind == TRACE_EDITOR)
                outcome->turns.editor = actor->turn;
        /* The last token was drawn, not computed. */
        prefix_set_add(&actor->run->seen, actor->ids, actor->n - 1);
}

static void take_result(void *userdata, struct seekd_request *request,
                        const struct seekd_result *result) {
        struct actor *actor = userdata;
        struct run *run = actor->run;
        uint64_t now_ns = clock_ns();
        actor->request = seekd_request_free(request);
        if (is_refused(actor, result)) {
                actor->due_ns = run->ending
                        ? NEVER
                        : later(now_ns, result->retry_after_ms ? result->retry_after_ms : RETRY_MS);
                return;
        }
        if (result->code != 0 && run->err->code == 0)
                error_set(run->err, -EIO, "a request failed: %s", result->error);
        actor->turn++;
        if (!is_filler(actor))
                count(actor, result, now_ns);
        schedule_next(actor, now_ns);
}

/* -- sending -------------------------------------------------------------------------------------
 */

static int client_failed(const struct run *run, const struct seekd_client *client) {
        return error_set(run->err, -EIO, "the daemon: %s", seekd_last_error(client));
}

static int submit(struct actor *actor, uint32_t n_answer) {
        struct run *run = actor->run;
        struct seekd_params params = SEEKD_PARAMS_INIT;
        params.tokens = actor->ids;
        params.n_tokens = actor->n;
        params.max_tokens = n_answer;
        params.service = actor->service;
        params.subject = run->load->subject;
        if (seekd_submit(actor->client, &params, take_piece, take_result, actor, &actor->request) <
            0)
                return client_failed(run, actor->client);
        return 0;
}

static int begin(struct actor *actor) {
        struct run *run = actor->run;
        struct trace_step step = step_of(actor);
        int r = set_prompt(actor, &step);
        if (r < 0)
                return r;
        actor->service = step.service;
        actor->answered = false;
        if (!is_filler(actor)) {
                actor->n_seen = prefix_set_longest(&run->seen, actor->ids, actor->n);
                prefix_set_add(&run->seen, actor->ids, actor->n);
        }
        if (actor->title && step.base == TRACE_FRESH)
                actor->title->due_ns = actor->due_ns;
        return submit(actor, step.n_answer);
}

/* -- the loop ------------------------------------------------------------------------------------
 */

static unsigned n_under_way(const struct run *run, bool fillers) {
        unsigned n = 0;
        for (unsigned i = 0; i < run->n_actors; i++)
                n += run->actors[i].request && is_filler(&run->actors[i]) == fillers;
        return n;
}

/* NULL: nobody waits. */
static struct actor *first_due(struct run *run) {
        struct actor *first = NULL;
        for (unsigned i = 0; i < run->n_actors; i++) {
                struct actor *actor = &run->actors[i];
                if (!actor->request && actor->due_ns != NEVER &&
                    (!first || actor->due_ns < first->due_ns))
                        first = actor;
        }
        return first;
}

/* Who sends next. NULL: nobody, or only after an answer. */
static struct actor *next(struct run *run) {
        bool held = run->load->one_at_a_time && n_under_way(run, false) > 0;
        return held ? NULL : first_due(run);
}

static int begin_due(struct run *run) {
        int r = 0;
        for (struct actor *actor; r == 0 && (actor = next(run)) && actor->due_ns <= clock_ns();)
                r = begin(actor);
        return r;
}

/* Reads until nothing is left, so that the descriptor wakes the next poll. */
static int dispatch(struct run *run) {
        for (unsigned i = 0; i < run->n_clients; i++) {
                int n;
                while ((n = seekd_dispatch(run->clients[i], 0)) > 0)
                        ;
                if (n < 0)
                        return client_failed(run, run->clients[i]);
        }
        return run->err->code;
}

static int wait(struct run *run, uint64_t due_ns) {
        struct pollfd fds[CLIENTS_MAX];
        uint64_t now_ns = clock_ns();
        int timeout_ms = -1;
        for (unsigned i = 0; i < run->n_clients; i++)
                fds[i] = (struct pollfd){ seekd_fd(run->clients[i]),
                                          (short)seekd_events(run->clients[i]), 0 };
        if (due_ns != NEVER)
                timeout_ms = due_ns > now_ns ? (int)((due_ns - now_ns) / NS_PER_MS + 1) : 0;
        if (poll(fds, run->n_clients, timeout_ms) < 0 && errno != EINTR)
                return error_errno(run->err, "poll");
        return 0;
}

static bool has_ended(const struct run *run) {
        for (unsigned i = 0; i < run->n_actors; i++) {
                const struct actor *actor = &run->actors[i];
                if (!is_filler(actor) && (actor->request || actor->due_ns != NEVER))
                        return false;
        }
        return true;
}

static void end_fillers(struct run *run) {
        run->ending = true;
        for (unsigned i = 0; i < run->n_actors; i++) {
                struct actor *actor = &run->actors[i];
                if (!is_filler(actor))
                        continue;
                actor->due_ns = NEVER;
                if (actor->request)
                        seekd_cancel(actor->request);
        }
}

static int turn(struct run *run) {
        int r = begin_due(run);
        if (r == 0)
                r = dispatch(run);
        if (r == 0 && !run->ending && has_ended(run)) {
                end_fillers(run);
                r = dispatch(run);
        }
        if (r < 0 || (run->ending && n_under_way(run, true) == 0))
                return r;
        const struct actor *actor = next(run);
        return wait(run, actor ? actor->due_ns : NEVER);
}

/* -- who takes part ------------------------------------------------------------------------------
 */

static int connect_client(struct run *run, struct seekd_client **ret) {
        char why[SEEKD_ERROR_BYTES];
        if (seekd_connect(run->load->socket, ret, why, sizeof(why)) < 0)
                return error_set(run->err, -EIO, "the daemon: %s", why);
        run->clients[run->n_clients++] = *ret;
        return 0;
}

/* NULL: out of memory. */
static struct actor *add_actor(struct run *run, enum trace_kind kind, unsigned number,
                               struct seekd_client *client) {
        uint32_t *ids = malloc(run->n_context * sizeof(*ids));
        if (!ids) {
                error_set(run->err, -ENOMEM, "out of memory");
                return NULL;
        }
        struct actor *actor = &run->actors[run->n_actors++];
        *actor = (struct actor){ .run = run,
                                 .kind = kind,
                                 .number = number,
                                 .client = client,
                                 .due_ns = NEVER,
                                 .ids = ids,
                                 .n_max = run->n_context };
        set_common(actor);
        return actor;
}

static int add_actors(struct run *run) {
        const struct agent_load *load = run->load;
        struct seekd_client *client = NULL;
        int r = 0;
        for (unsigned i = 0; r == 0 && i < load->n_agents; i++) {
                r = connect_client(run, &client);
                struct actor *agent = r == 0 ? add_actor(run, TRACE_AGENT, i, client) : NULL;
                if (agent && !load->equal)
                        agent->title = add_actor(run, TRACE_TITLE, i, client);
        }
        if (r == 0 && load->editor)
                r = connect_client(run, &client);
        if (r == 0 && load->editor)
                add_actor(run, TRACE_EDITOR, 0, client);
        for (unsigned i = 0; r == 0 && i < load->filler.n; i++) {
                if (i == 0 || !load->filler.together)
                        r = connect_client(run, &client);
                if (r == 0)
                        add_actor(run, TRACE_FILLER, i, client);
        }
        return run->err->code;
}

/* So that all find what they begin with: it has been used before. */
static int warm_up(struct run *run) {
        for (unsigned i = 0; i < run->n_actors; i++) {
                struct actor *actor = &run->actors[i];
                uint32_t n_common = agent_trace_n_common(run->load->trace, actor->kind);
                if (prefix_set_longest(&run->seen, actor->ids, actor->n) == n_common)
                        continue;
                struct seekd_params params = SEEKD_PARAMS_INIT;
                params.tokens = actor->ids;
                params.n_tokens = actor->n;
                params.max_tokens = 1;
                params.subject = run->load->subject;
                if (seekd_complete(actor->client, &params, NULL, NULL, NULL) < 0)
                        return client_failed(run, actor->client);
                prefix_set_add(&run->seen, actor->ids, actor->n);
        }
        return 0;
}

static void end(struct run *run) {
        for (unsigned i = 0; i < run->n_clients; i++)
                seekd_disconnect(run->clients[i]);
        for (unsigned i = 0; i < run->n_actors; i++) {
                struct actor *actor = &run->actors[i];
                if (actor->kind == TRACE_AGENT)
                        series_add(&run->outcome->service, (double)actor->n_service);
                free(actor->ids);
        }
        prefix_set_deinit(&run->seen);
        free(run);
}

static int play(struct run *run) {
        const struct agent_load *load = run->load;
        run->start_ns = clock_ns();
        run->end_ns = load->seconds > 0 ? later(run->start_ns, load->seconds * 1e3) : NEVER;
        for (unsigned i = 0; i < run->n_actors; i++)
                schedule_next(&run->actors[i], run->start_ns);
        int r = 0;
        while (r == 0 && !(run->ending && n_under_way(run, true) == 0))
                r = turn(run);
        return r;
}

int agent_load_run(const struct agent_load *load, struct load_outcome *ret, struct error *err) {
        struct seekd_model_info info = SEEKD_MODEL_INFO_INIT;
        struct run *run = calloc(1, sizeof(*run));
        *ret = (struct load_outcome){ 0 };
        if (!run)
                return error_set(err, -ENOMEM, "out of memory");
        *run = (struct run){ .load = load, .outcome = ret, .err = err };
        struct seekd_client *client;
        int r = connect_client(run, &client);
        if (r == 0 && seekd_model_info(client, &info) < 0)
                r = client_failed(run, client);
        run->n_context = info.context_tokens < CONTEXT_MAX ? info.context_tokens : CONTEXT_MAX;
        if (r == 0)
                r = add_actors(run);
        if (r == 0)
                r = warm_up(run);
        if (r == 0)
                r = play(run);
        end(run);
        return r;
}

void load_outcome_deinit(struct load_outcome *outcome) {
        for (unsigned i = 0; i < LOAD_CLASSES; i++)
                series_deinit(&outcome->ttft[i]);
        series_deinit(&outcome->service);
}
