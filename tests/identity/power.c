/* Power loss at any write, seen from outside: whatever part of the last writes the disk has, the
 * next start serves all that was committed, and no logit is wrong.
 *
 * Conversations run through the real engine and keeper while every write to kv.mdb is recorded.
 * Then the file is made as it may be after a cut, and each conversation goes on from it.
 * SEEKD_TEST_CUTS sets how many cuts, SEEKD_TEST_SEED which. */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/keeper_private.h"
#include "daemon/request.h"
#include "memory/kv_store.h"
#include "tests/identity/ask.h"
#include "tests/identity/machine.h"
#include "tests/identity/reference.h"
#include "tests/memory/faulty_disk.h"
#include "tests/memory/power_cut.h"
#include "tests/memory/scratch.h"
#include "tests/splitmix64.h"

#define CONVERSATIONS 8
#define ROUNDS        40
#define ROWS          128

/* Rows whose logits are compared behind each place that a conversation goes on from. */
#define ROWS_COMPARED 24

/* A turn computes at most this many tokens, so that conversations have several. */
#define TURN_TOKENS 300

#define OWNER 1000

struct power {
        struct machine_options options;
        struct machine machine;
        struct reference reference;
        struct scratch folder;
        float *logits; /* [ROWS][vocab_size] */
        uint64_t random, seed;

        /* Tokens of each conversation that are committed after each round. */
        uint32_t committed[ROUNDS + 1][CONVERSATIONS];
        uint64_t n_served, n_tokens, n_wrong;
};

static void give_up(const char *what, int r, const struct error *err) {
        fprintf(stderr, "power: %s: %s\n", what, err->text[0] ? err->text : strerror(-r));
        exit(1);
}

/* -- computing -----------------------------------------------------------------------------------
 */

/* Conversations share nothing: where one is the beginning of another, the longer one's growth thins
 * the states of both. */
static struct request *begin(struct power *power, unsigned conversation, uint32_t reached) {
        char subject[32];
        int r;
        snprintf(subject, sizeof(subject), "agent %u", conversation);
        struct request *request =
                ask(&power->reference.conversation[conversation], reached, OWNER, subject);
        while ((r = keeper_begin(power->machine.keeper, power->machine.engine, request)) == -EAGAIN)
                sched_yield();
        if (r < 0)
                give_up("no sequence", r, &(struct error){ 0 });
        return request;
}

/* Computes up to `end`, and compares. */
static void go_on(struct power *power, struct request *request, unsigned conversation,
                  uint32_t end) {
        const struct conversation *c = &power->reference.conversation[conversation];
        struct error err = { 0 };
        uint32_t position = (uint32_t)sequence_position(request->sequence);
        while (position < end) {
                uint32_t n = random_between(&power->random, 1, ROWS);
                n = n < end - position ? n : end - position;
                struct batch_part part = { request->sequence, c->ids + position, n, n,
                                           power->logits };
                int r = engine_step(power->machine.engine, &part, 1, &err);
                if (r < 0)
                        give_up("step", r, &err);
                for (uint32_t i = 0; i < n; i++)
                        power->n_wrong += reference_count_different(
                                &power->reference, conversation, position + i,
                                power->logits + (size_t)i * power->reference.vocab_size);
                position += n;
                power->n_tokens += n;
                /* What the engine computed beyond the prompt is what sampling gave. */
                if (position > request->tokens.n &&
                    token_list_append(&request->tokens, c->ids + request->tokens.n,
                                      position - request->tokens.n) < 0)
                        abort();
                keeper_computed(request, clock_ns());
        }
}

static void end(struct request *request) {
        keeper_end(request);
        request_free(request);
}

/* -- the recorded run ----------------------------------------------------------------------------
 */

/* A turn of one conversation, of one that has come to its end when most have. */
static void one_round(struct power *power, unsigned round) {
        uint32_t *committed = power->committed[round + 1];
        memcpy(committed, power->committed[round], sizeof(power->committed[0]));
        unsigned c = random_between(&power->random, 0, CONVERSATIONS - 1);
        while (committed[c] == power->reference.conversation[c].n - 1 && round < ROUNDS / 2)
                c = (c + 1) % CONVERSATIONS;
        uint32_t n = power->reference.conversation[c].n;
        struct request *request = begin(power, c, committed[c]);
        uint32_t position = (uint32_t)sequence_position(request->sequence);
        uint32_t target = position + random_between(&power->random, 1, TURN_TOKENS);
        target = target < n ? target : n - 1;
        go_on(power, request, c, target);
        end(request);
        kv_store_sync(power->machine.keeper->store);
        committed[c] = target > committed[c] ? target : committed[c];
}

static void record(struct power *power) {
        struct error err = { 0 };
        disk_record(scratch_file(&power->folder, "kv.mdb"));
        int r = machine_open(&power->options, &power->machine, &err);
        if (r < 0)
                give_up("opening", r, &err);
        disk_mark(0);
        for (unsigned round = 0; round < ROUNDS; round++) {
                one_round(power, round);
                disk_mark(round + 1);
        }
        power->machine.keeper = keeper_close(power->machine.keeper);
        disk_record(NULL);
}

/* -- cuts ----------------------------------------------------------------------------------------
 */

/* False: something that was committed is not served. */
static bool go_on_after_cut(struct power *power, unsigned c, uint32_t committed) {
        struct request *request = begin(power, c, committed);
        uint32_t reused = (uint32_t)sequence_position(request->sequence);
        uint32_t n = power->reference.conversation[c].n;
        power->n_served += reused > 0;
        go_on(power, request, c, reused + ROWS_COMPARED < n ? reused + ROWS_COMPARED : n);
        end(request);
        if (reused < committed)
                fprintf(stderr, "power: conversation %u: %u tokens of %u\n", c, reused, committed);
        return reused >= committed;
}

static bool cut_and_look(struct power *power, size_t cut, enum power_mood mood) {
        struct error err = { 0 };
        struct kv_store_statistics s;
        int mark = power_cut(scratch_file(&power->folder, "kv.mdb"), cut, mood, &power->random);
        int r = machine_open_keeper(&power->options, &power->machine, &err);
        if (r < 0)
                give_up("opening after the cut", r, &err);
        bool good = true;
        uint64_t wrong = power->n_wrong;
        for (unsigned c = 0; c < CONVERSATIONS; c++)
                good = go_on_after_cut(power, c, mark < 0 ? 0 : power->committed[mark][c]) && good;
        kv_store_statistics(power->machine.keeper->store, &s);
        good = good && power->n_wrong == wrong && s.quarantined_values == 0 &&
                (mark < 0 || (!s.moved_aside && s.dropped_entries == 0));
        power->machine.keeper = keeper_close(power->machine.keeper);
        return good;
}

static bool cut_often(struct power *power, unsigned n_cuts) {
        size_t n;
        (void)disk_events(&n);
        bool good = n > 3 * (size_t)ROUNDS; /* else nothing was recorded */
        for (unsigned i = 0; good && i < n_cuts; i++) {
                size_t cut = next_random(&power->random) % (n + 1);
                good = cut_and_look(power, cut, i % POWER_MOODS);
                if (!good)
                        fprintf(stderr, "power: cut %u before write %zu of %zu, seed %" PRIu64 "\n",
                                i, cut, n, power->seed);
        }
        return good;
}

int main(int argc, char **argv) {
        const char *cuts = getenv("SEEKD_TEST_CUTS"), *seed = getenv("SEEKD_TEST_SEED");
        struct power power = { .seed = seed ? strtoull(seed, NULL, 0) : 1 };
        unsigned n_cuts = cuts ? (unsigned)atoi(cuts) : 20;
        if (argc < 3) {
                fputs("Usage: power MODEL TEXT...\n", stderr);
                return 2;
        }
        log_init(LOG_ERR);
        power.random = power.seed;
        struct reference_options reference = { .model_dir = argv[1],
                                               .text_files = (const char *const *)argv + 2,
                                               .n_text_files = (unsigned)argc - 2,
                                               .n_conversations = CONVERSATIONS,
                                               .seed = power.seed };
        if (reference_make(&reference, &power.reference) < 0)
                return 1;
        scratch_make(&power.folder);
        power.options = (struct machine_options){ .model_dir = argv[1],
                                                  .state_dir = power.folder.path,
                                                  .n_threads = 1,
                                                  .rows = ROWS,
                                                  .host_lives = 16,
                                                  .disk_lives = 60 };
        power.logits = calloc((size_t)ROWS * power.reference.vocab_size, sizeof(*power.logits));
        record(&power);
        bool good = power.logits && cut_often(&power, n_cuts);
        printf("result {\"cuts\": %u, \"seed\": %" PRIu64 ", \"resumed\": %" PRIu64
               ", \"tokens\": %" PRIu64 ", \"differing_logits\": %" PRIu64 "}\n",
               n_cuts, power.seed, power.n_served, power.n_tokens, power.n_wrong);
        disk_forget();
        machine_close(&power.machine);
        scratch_remove(&power.folder);
        reference_free(&power.reference);
        free(power.logits);
        return good ? 0 : 1;
}
