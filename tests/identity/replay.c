/* Many requests through the daemon's engine thread at once, against what each gives alone: random
 * arrival, classes, chunks, batches, cancellation, clients that stop reading or die, with memory
 * for a few conversations and a device pool for fewer, restarts on the same state folder. Every
 * token, and every logit that a token was drawn from, bit for bit. */
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "daemon/memory_plan.h"
#include "daemon/request.h"
#include "daemon/runner.h"
#include "engine/sampler.h"
#include "engine/text_stream.h"
#include "proto/record_types.h"
#include "proto/slots.h"
#include "tests/daemon/ring_client.h"
#include "tests/identity/machine.h"
#include "tests/identity/reference.h"
#include "tests/memory/scratch.h"
#include "tests/splitmix64.h"

#define CLIENTS 24

/* Requests between two restarts. */
#define LIFE_REQUESTS_MIN 40
#define LIFE_REQUESTS_MAX 400

/* A turn that computes nothing while requests are there waits for the disk; more of them in a row
 * than any disk takes is a hang. */
#define IDLE_TURNS_MAX 10000000

/* A client with at most one request, whose prompt is the beginning of a conversation. */
struct agent {
        struct client client;
        unsigned conversation;
        uint32_t n_prompt, n_max;
        uint32_t id;
        uint32_t cancel_after; /* tokens received; UINT32_MAX: never */
        uint32_t dies_after;
        unsigned deaf_turns; /* reads nothing for so long */
        size_t n_checked;
};

struct counts {
        uint64_t requests, cancelled, died, lives;
        uint64_t prompt_tokens, reused, tokens, logit_rows;
        uint64_t wrong_tokens, wrong_logits;
};

struct replay {
        struct reference reference;
        struct machine machine;
        struct runner runner;
        struct agent agent[CLIENTS];
        struct counts counts;
        uint64_t random;
};

static struct replay replay; /* the logits' watcher is called by the runner, without a context */

/* -- what is compared ----------------------------------------------------------------------------
 */

static struct agent *agent_of(const struct request *request) {
        for (unsigned i = 0; i < CLIENTS; i++)
                if (replay.agent[i].client.request == request)
                        return &replay.agent[i];
        abort();
}

uint32_t __real_sampler_draw(struct sampler *sampler, const float *logits, const uint64_t *allowed,
                             const struct sampling *sampling, uint64_t position,
                             float *ret_logprob);

/* Takes the sampler's place at link time: the runner's logits before a token is drawn. */
uint32_t __wrap_sampler_draw(struct sampler *sampler, const float *logits, const uint64_t *allowed,
                             const struct sampling *sampling, uint64_t position,
                             float *ret_logprob);
uint32_t __wrap_sampler_draw(struct sampler *sampler, const float *logits, const uint64_t *allowed,
                             const struct sampling *sampling, uint64_t position,
                             float *ret_logprob) {
        if (!replay.runner.sampler) /* the reference is being computed */
                return __real_sampler_draw(sampler, logits, allowed, sampling, position,
                                           ret_logprob);
        const struct request *request =
                (const struct request *)(const void *)((const char *)sampling -
                                                       offsetof(struct request, sampling));
        const struct agent *agent = agent_of(request);
        const float *expected =
                reference_logits(&replay.reference, agent->conversation, (uint32_t)position - 1);
        replay.counts.logit_rows++;
        replay.counts.wrong_logits +=
                memcmp(logits, expected, replay.reference.vocab_size * sizeof(*logits)) != 0;
        return __real_sampler_draw(sampler, logits, allowed, sampling, position, ret_logprob);
}

static void check_tokens(struct agent *agent) {
        const struct conversation *c = &replay.reference.conversation[agent->conversation];
        for (; agent->n_checked < agent->client.n_ids; agent->n_checked++) {
                uint32_t position = agent->n_prompt + (uint32_t)agent->n_checked;
                replay.counts.tokens++;
                replay.counts.wrong_tokens += position > c->n ||
                        agent->client.ids[agent->n_checked] != c->drawn[position];
        }
}

/* -- clients -------------------------------------------------------------------------------------
 */

static void take_back(void *userdata, struct request *request) {
        (void)userdata;
        struct agent *agent = agent_of(request);
        replay.counts.reused += request->verdict.n_reused;
        replay.counts.prompt_tokens += request->n_prompt;
        request_free(request);
        agent->client.request = NULL;
}

static void ask(struct agent *agent) {
        static const Seekd__V1__Class classes[] = { SEEKD__V1__CLASS__CLASS_INTERACTIVE,
                                                    SEEKD__V1__CLASS__CLASS_TURN,
                                                    SEEKD__V1__CLASS__CLASS_AGENT,
                                                    SEEKD__V1__CLASS__CLASS_BACKGROUND };
        uint64_t *random = &replay.random;
        unsigned number = (unsigned)(agent - replay.agent);
        agent->conversation = random_between(random, 0, replay.reference.n_conversations - 1);
        const struct conversation *c = &replay.reference.conversation[agent->conversation];
        /* Where the conversation goes on as it was sampled, or anywhere, for one token. */
        bool anywhere = next_random(random) % 4 == 0;
        agent->n_prompt = anywhere ? random_between(random, 1, c->n_prompt)
                                   : random_between(random, c->n_prompt, c->n - 1);
        agent->n_max = anywhere ? 1 : random_between(random, 1, c->n - agent->n_prompt);
        agent->cancel_after =
                next_random(random) % 8 == 0 ? random_between(random, 0, 10) : UINT32_MAX;
        agent->dies_after =
                next_random(random) % 16 == 0 ? random_between(random, 0, 10) : UINT32_MAX;
        agent->n_checked = 0;
        agent->client.n_ids = 0;
        agent->client.finish_reason = 0;

        struct request *request =
                request_new(NULL, &agent->client.outlet, RECORD_GENERATE, ++agent->id);
        if (!request || token_list_append(&request->tokens, c->ids, agent->n_prompt) < 0 ||
            text_stream_new(engine_tokenizer(replay.machine.engine), NULL, 0, true,
                            &request->text) < 0)
                abort();
        request->slot = 0;
        request->origin = number;
        request->uid = 1000 + number % 2;
        snprintf(request->subject, sizeof(request->subject), "%u", number % 3);
        request->sampling = conversation_sampling(c);
        request->n_prompt = agent->n_prompt;
        request->n_generate_max = agent->n_max;
        request->context_tokens = replay.runner.plan.context;
        atomic_store(&request->live.class, (int)classes[next_random(random) % 4]);
        agent->client.request = request;
        replay.counts.requests++;
        runner_add(&replay.runner, request);
}

/* What a client does between two turns of the runner. */
static void act(struct agent *agent) {
        if (agent->deaf_turns > 0 && --agent->deaf_turns > 0)
                return;
        receive(&agent->client);
        check_tokens(agent);
        if (!agent->client.request)
                return;
        if (agent->client.n_ids >= agent->dies_after) {
                atomic_store(&agent->client.outlet.gone, true);
                replay.counts.died++;
                agent->dies_after = UINT32_MAX;
        } else if (agent->client.n_ids >= agent->cancel_after) {
                slot_cancel(&agent->client.client_side.own, 0, agent->id);
                replay.counts.cancelled++;
                agent->cancel_after = UINT32_MAX;
        } else if (next_random(&replay.random) % 200 == 0) {
                agent->deaf_turns = random_between(&replay.random, 1, 40);
        }
}

/* A client that has died comes back as a new one. */
static void revive(struct agent *agent) {
        if (!agent->client.request && atomic_load(&agent->client.outlet.gone)) {
                client_disconnect(&agent->client);
                client_connect(&agent->client);
        }
}

/* -- one life ------------------------------------------------------------------------------------
 */

static int life_begin(const char *model_dir, const char *folder) {
        uint64_t *random = &replay.random;
        unsigned n_device = random_between(random, 2, 8);
        bool bounded = next_random(random) % 3 != 0;
        struct machine_options options = {
                .model_dir = model_dir,
                .state_dir = folder,
                .n_threads = random_between(random, 1, 2),
                .rows = random_between(random, 2 * CHUNK_TOKENS, 4 * CHUNK_TOKENS),
                .device_kv_bytes = bounded ? n_device * replay.reference.device_bytes_min : 0,
                .parks = next_random(random) % 2,
                .host_lives = random_between(random, 4, 40),
                .disk_lives = 40,
        };
        struct error err = { 0 };
        if (machine_open(&options, &replay.machine, &err) < 0) {
                fprintf(stderr, "replay: %s\n", err.text);
                return -1;
        }
        replay.runner = (struct runner){
                .engine = replay.machine.engine,
                .keeper = replay.machine.keeper,
                .n_running_max = random_between(random, 1, 16),
                .prefill_budget_ms = PREFILL_BUDGET_MS_DEFAULT,
                .plan = { .device_bytes = options.device_kv_bytes,
                          .host_bytes = options.host_lives,
                          .context = CONVERSATION_TOKENS_MAX },
                .give_back = take_back,
        };
        if (runner_init(&replay.runner) < 0)
                abort();
        for (unsigned i = 0; i < CLIENTS; i++)
                client_connect(&replay.agent[i].client);
        return 0;
}

static void life_end(void) {
        runner_deinit(&replay.runner);
        for (unsigned i = 0; i < CLIENTS; i++)
                client_disconnect(&replay.agent[i].client);
        machine_close(&replay.machine);
        replay.counts.lives++;
}

static int live(uint64_t n_requests) {
        static const double budgets[] = { 0.001, 1, 50, 1e9 };
        uint64_t until = replay.counts.requests + n_requests, n_idle = 0;
        enum runner_state state = RUNNER_IDLE;
        do {
                for (unsigned i = 0; i < CLIENTS; i++) {
                        struct agent *agent = &replay.agent[i];
                        act(agent);
                        revive(agent);
                        if (!agent->client.request && agent->deaf_turns == 0 &&
                            replay.counts.requests < until && next_random(&replay.random) % 8 == 0)
                                ask(agent);
                }
                replay.runner.schedule.budget_ms = budgets[next_random(&replay.random) % 4];
                uint64_t n_steps = replay.runner.n_steps;
                state = runner_turn(&replay.runner, false);
                n_idle = replay.runner.n_steps > n_steps ? 0 : n_idle + 1;
                if (n_idle > 0 && state != RUNNER_IDLE)
                        sched_yield();
                if (n_idle > IDLE_TURNS_MAX) {
                        fprintf(stderr, "replay: %zu requests do not go on\n",
                                replay.runner.n_requests);
                        return -1;
                }
        } while (state != RUNNER_IDLE || replay.counts.requests < until);
        return 0;
}

/* -- all of them ---------------------------------------------------------------------------------
 */

static void usage(FILE *to) {
        fprintf(to,
                "Usage: replay --model DIR --name NAME [--requests N] [--seed N] [--json] "
                "TEXT...\n");
}

static int run(const char *model_dir, uint64_t n_requests, bool progress) {
        struct scratch folder;
        scratch_make(&folder);
        int r = 0;
        while (r == 0 && replay.counts.requests < n_requests) {
                uint64_t left = n_requests - replay.counts.requests,
                         n = random_between(&replay.random, LIFE_REQUESTS_MIN, LIFE_REQUESTS_MAX);
                r = life_begin(model_dir, folder.path);
                if (r == 0) {
                        r = live(n < left ? n : left);
                        life_end();
                }
                if (progress)
                        fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " requests",
                                replay.counts.requests, n_requests);
        }
        if (progress)
                fputc('\n', stderr);
        scratch_remove(&folder);
        return r;
}

static void print_table(const char *name, uint64_t seed) {
        const struct counts *c = &replay.counts;
        printf("%s, seed %" PRIu64 ": %" PRIu64 " requests (%" PRIu64 " cancelled, %" PRIu64
               " of dead clients), %" PRIu64 " lives\n",
               name, seed, c->requests, c->cancelled, c->died, c->lives);
        printf("%" PRIu64 " of %" PRIu64 " prompt tokens reused, %" PRIu64 " tokens and %" PRIu64
               " rows of logits compared\n",
               c->reused, c->prompt_tokens, c->tokens, c->logit_rows);
        printf("differing tokens %" PRIu64 ", differing logits %" PRIu64 "\n", c->wrong_tokens,
               c->wrong_logits);
}

static void print_json(uint64_t seed) {
        const struct counts *c = &replay.counts;
        printf("{\"seed\": %" PRIu64 ", \"requests\": %" PRIu64 ", \"cancelled\": %" PRIu64
               ", \"dead_clients\": %" PRIu64 ", \"lives\": %" PRIu64
               ", \"prompt_tokens\": %" PRIu64 ", \"reused\": %" PRIu64 ", \"tokens\": %" PRIu64
               ", \"logit_rows\": %" PRIu64 ", \"differing_tokens\": %" PRIu64
               ", \"differing_logits\": %" PRIu64 "}\n",
               seed, c->requests, c->cancelled, c->died, c->lives, c->prompt_tokens, c->reused,
               c->tokens, c->logit_rows, c->wrong_tokens, c->wrong_logits);
}

int main(int argc, char **argv) {
        enum { MODEL = 1, NAME, REQUESTS, SEED, JSON };
        static const struct option longopts[] = { { "model", required_argument, NULL, MODEL },
                                                  { "name", required_argument, NULL, NAME },
                                                  { "requests", required_argument, NULL, REQUESTS },
                                                  { "seed", required_argument, NULL, SEED },
                                                  { "json", no_argument, NULL, JSON },
                                                  { 0 } };
        struct reference_options reference = { .n_conversations = 24, .seed = 1 };
        const char *name = "model";
        uint64_t n_requests = 1000;
        bool json = false;
        for (int c; (c = getopt_long(argc, argv, "", longopts, NULL)) != -1;)
                switch (c) {
                case MODEL: reference.model_dir = optarg; break;
                case NAME: name = optarg; break;
                case REQUESTS: n_requests = strtoull(optarg, NULL, 10); break;
                case SEED: reference.seed = strtoull(optarg, NULL, 10); break;
                case JSON: json = true; break;
                default: usage(stderr); return 2;
                }
        reference.text_files = (const char *const *)argv + optind;
        reference.n_text_files = (unsigned)(argc - optind);
        if (!reference.model_dir || reference.n_text_files == 0) {
                usage(stderr);
                return 2;
        }
        replay.random = reference.seed;
        if (reference_make(&reference, &replay.reference) < 0)
                return 1;
        int r = run(reference.model_dir, n_requests, isatty(STDERR_FILENO));
        if (json)
                print_json(reference.seed);
        else
                print_table(name, reference.seed);
        const struct counts *counts = &replay.counts;
        bool good = r == 0 && counts->wrong_tokens == 0 && counts->wrong_logits == 0 &&
                counts->tokens > 0 && counts->reused > 0;
        reference_free(&replay.reference);
        return good ? 0 : 1;
}
