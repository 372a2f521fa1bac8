#include "tests/identity/worker.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "daemon/keeper.h"
#include "daemon/request.h"
#include "engine/sampler.h"
#include "tests/identity/ask.h"
#include "tests/splitmix64.h"

/* A life's way to its next interruption. */
struct turn {
        struct life *life; /* NULL: the slot is free */
        struct request *request;
        struct row *row;         /* that it is counted in; NULL: its sequence has not begun */
        unsigned previous_epoch; /* of this life */
        uint32_t target;         /* tokens after which it is interrupted, or at its end */
        bool counted;
        uint32_t n; /* rows of the current step */
        float *logits;
};

struct worker {
        const struct worker_options *options;
        struct machine machine;
        struct sampler *sampler;
        struct turn turn[SLOTS];
        uint64_t random;
        unsigned n_begun;
        uint64_t rows_gathered; /* so far, in this process */
        sem_t wake;
};

static const struct conversation *conversation_of(const struct worker *worker,
                                                  const struct life *life) {
        return &worker->options->reference->conversation[life->conversation];
}

/* -- lives ---------------------------------------------------------------------------------------
 */

static int by_position(const void *a, const void *b) {
        return (int)*(const uint32_t *)a - (int)*(const uint32_t *)b;
}

/* Four successive lives are one agent's: conversations that may begin alike, no two the same. */
static void life_begin(struct worker *worker, struct life *life) {
        struct ledger *ledger = worker->options->ledger;
        unsigned number = ledger->n_lives++, agent = number / 4;
        unsigned n_conversations = worker->options->reference->n_conversations;
        *life = (struct life){
                .conversation = (agent * 7 + number % 4) % n_conversations,
                .owner = 1000 + agent % 3,
        };
        snprintf(life->subject, sizeof(life->subject), "agent %u", agent);
        uint32_t n = conversation_of(worker, life)->n;
        unsigned n_cuts = random_between(&ledger->random, 1, CUTS_PER_LIFE);
        for (unsigned i = 0; i < n_cuts; i++)
                life->cut[i] = random_between(&ledger->random, 1, n - 1);
        life->cut[n_cuts] = n;
        qsort(life->cut, n_cuts, sizeof(*life->cut), by_position);
}

static bool has_turn(const struct worker *worker, const struct life *life) {
        for (unsigned i = 0; i < SLOTS; i++)
                if (worker->turn[i].life == life)
                        return true;
        return false;
}

/* One that rests; a new one where it has come to its end. */
static struct life *choose_life(struct worker *worker) {
        struct life *lives = worker->options->ledger->life;
        unsigned i = random_between(&worker->random, 0, LIVES - 1);
        while (has_turn(worker, &lives[i]))
                i = (i + 1) % LIVES;
        if (lives[i].subject[0] == '\0' ||
            lives[i].reached == conversation_of(worker, &lives[i])->n)
                life_begin(worker, &lives[i]);
        return &lives[i];
}

/* -- turns ---------------------------------------------------------------------------------------
 */

static void turn_start(struct worker *worker, struct turn *turn) {
        turn->life = choose_life(worker);
        turn->request = ask(conversation_of(worker, turn->life), turn->life->reached,
                            turn->life->owner, turn->life->subject);
        turn->row = NULL;
        turn->counted = false;
        turn->previous_epoch = turn->life->epoch;
        turn->life->epoch = worker->options->epoch;
        worker->n_begun++;
}

/* Where the sequence goes on from, in words of the table. */
static struct row *row_of(const struct worker *worker, const struct turn *turn) {
        const struct worker_options *o = worker->options;
        const struct kv_verdict *verdict = &turn->request->verdict;
        if (verdict->n_reused == 0)
                return &o->ledger->row[SOURCE_NONE];
        if (turn->previous_epoch != 0 && turn->previous_epoch != o->epoch)
                return &o->ledger->row[o->after_kill ? SOURCE_KILL : SOURCE_RESTART];
        enum source source = verdict->tier == KV_TIER_DEVICE ? SOURCE_DEVICE
                : verdict->tier == KV_TIER_HOST              ? SOURCE_HOST
                                                             : SOURCE_LMDB;
        return &o->ledger->row[source];
}

/* Its sequence is there, with all that was kept of it. */
static void turn_begun(struct worker *worker, struct turn *turn) {
        struct ledger *ledger = worker->options->ledger;
        struct life *life = turn->life;
        uint32_t reused = (uint32_t)sequence_position(turn->request->sequence);
        if (turn->previous_epoch != 0 && reused == 0)
                atomic_fetch_add(&ledger->nothing_kept, 1);
        turn->row = row_of(worker, turn);
        if (turn->row == &ledger->row[SOURCE_KILL] &&
            life->reached > reused + ledger->tokens_lost_max)
                ledger->tokens_lost_max = life->reached - reused;
        while (life->cut[life->n_turns] <= reused)
                life->n_turns++;
        turn->target = life->cut[life->n_turns];
        atomic_store(&life->reached, reused);
}

/* Interrupted, or at its end. */
static void turn_end(struct worker *worker, struct turn *turn) {
        struct ledger *ledger = worker->options->ledger;
        keeper_end(turn->request);
        turn->request = request_free(turn->request);
        turn->life = NULL;
        turn->row = NULL;
        atomic_fetch_add(&ledger->turns_ended, 1);
}

/* -- comparing -----------------------------------------------------------------------------------
 */

static void note_difference(struct worker *worker, const struct turn *turn, uint32_t position) {
        struct ledger *ledger = worker->options->ledger;
        if (ledger->differs)
                return;
        ledger->first_conversation = turn->life->conversation;
        ledger->first_position = position;
        ledger->first_reused = turn->request->verdict.n_reused;
        ledger->first_source = (int)(turn->row - ledger->row);
        ledger->first_epoch = worker->options->epoch;
        atomic_store(&ledger->differs, true);
}

/* The logits that followed the token at `position`; what they give becomes the next token where the
 * request knows none. */
static void compare(struct worker *worker, struct turn *turn, uint32_t position,
                    const float *logits) {
        const struct reference *reference = worker->options->reference;
        const struct conversation *conversation = conversation_of(worker, turn->life);
        uint32_t vocab = reference->vocab_size;
        uint64_t different =
                reference_count_different(reference, turn->life->conversation, position, logits);
        uint32_t token = sampler_draw(worker->sampler, logits, NULL, &turn->request->sampling,
                                      position + 1, NULL);
        bool wrong = token != conversation->drawn[position + 1];
        if (different > 0 || wrong)
                note_difference(worker, turn, position);
        atomic_fetch_add(&turn->row->positions, 1);
        atomic_fetch_add(&turn->row->logits, vocab);
        atomic_fetch_add(&turn->row->wrong_logits, different);
        atomic_fetch_add(&turn->row->wrong_tokens, wrong);
        if (position + 1 == turn->request->tokens.n &&
            token_list_append(&turn->request->tokens, &token, 1) < 0)
                abort();
}

/* Counted as a cut once something after it was compared, so that one who is killed before that
 * does not count. */
static void count_cut(const struct worker *worker, struct turn *turn) {
        if (turn->counted)
                return;
        turn->counted = true;
        atomic_fetch_add(&turn->row->tokens_reused, turn->request->verdict.n_reused);
        if (worker->options->machine.device_kv_bytes > 0)
                atomic_fetch_add(&turn->row->small_pool_cuts, 1);
        atomic_fetch_add(&turn->row->cuts, 1);
}

/* -- steps ---------------------------------------------------------------------------------------
 */

static void wake(void *context) {
        sem_post(context);
}

static unsigned n_running(const struct worker *worker) {
        unsigned n = 0;
        for (unsigned i = 0; i < SLOTS; i++)
                n += worker->turn[i].row != NULL;
        return n;
}

/* Gives waiting turns their sequences. 0, or what went wrong. */
static int begin_turns(struct worker *worker, struct error *err) {
        struct machine *machine = &worker->machine;
        for (unsigned i = 0; i < worker->options->n_slots; i++) {
                struct turn *turn = &worker->turn[i];
                if (!turn->life)
                        turn_start(worker, turn);
                if (turn->row)
                        continue;
                int r;
                do
                        r = keeper_begin(machine->keeper, machine->engine, turn->request);
                while (r == -ENOSPC && keeper_drop_parked(machine->keeper, turn->request));
                if (r == -EAGAIN || (r == -ENOSPC && n_running(worker) > 0))
                        continue;
                if (r < 0)
                        return error_set(err, r, "no sequence: %s", strerror(-r));
                turn_begun(worker, turn);
        }
        return 0;
}

/* Chunks of any length, as no two runs have the same company. */
static uint32_t choose_rows(struct worker *worker, const struct turn *turn) {
        uint64_t position = sequence_position(turn->request->sequence);
        uint64_t end =
                turn->request->tokens.n < turn->target ? turn->request->tokens.n : turn->target;
        uint32_t max = worker->options->machine.rows / SLOTS;
        uint32_t n =
                random_between(&worker->random, 1, next_random(&worker->random) % 3 == 0 ? 3 : max);
        return n < end - position ? n : (uint32_t)(end - position);
}

static void after_step(struct worker *worker, struct turn *turn) {
        uint32_t end = (uint32_t)sequence_position(turn->request->sequence);
        uint32_t vocab = worker->options->reference->vocab_size;
        for (uint32_t i = 0; i < turn->n; i++)
                compare(worker, turn, end - turn->n + i, turn->logits + (size_t)i * vocab);
        count_cut(worker, turn);
        keeper_computed(turn->request, clock_ns());
        atomic_store(&turn->life->reached, end);
        if (end < turn->target)
                return;
        turn->life->n_turns++;
        turn_end(worker, turn);
}

/* A step found no room on the device, as while leases hold all of the host's memory, so that pages
 * cannot be lent: parked sequences go first, then a turn gives way, as in the daemon. False: this
 * one is alone. */
static bool make_room(struct worker *worker) {
        bool lent = false;
        if (keeper_drop_parked(worker->machine.keeper, NULL))
                return true;
        for (unsigned i = 0; i < SLOTS; i++)
                if (worker->turn[i].row)
                        lent |= keeper_lend(worker->turn[i].request);
        if (lent || n_running(worker) < 2)
                return lent;
        for (unsigned i = SLOTS; i > 0; i--) {
                struct turn *turn = &worker->turn[i - 1];
                if (!turn->row)
                        continue;
                keeper_leave(turn->request);
                turn->request->began = false; /* so that its verdict tells of the next beginning */
                turn->row = NULL;
                turn->counted = false;
                turn->previous_epoch = worker->options->epoch;
                break;
        }
        return true;
}

static void count_gathered(struct worker *worker) {
        struct engine_kv_statistics now;
        engine_kv_statistics(worker->machine.engine, &now);
        atomic_fetch_add(&worker->options->ledger->rows_gathered,
                         now.rows_gathered - worker->rows_gathered);
        worker->rows_gathered = now.rows_gathered;
}

/* 1: computed something; 0: all wait; else what went wrong. */
static int step(struct worker *worker, struct error *err) {
        struct batch_part part[SLOTS];
        struct turn *in_step[SLOTS];
        unsigned n = 0, n_rows = 0;
        for (unsigned i = 0; i < SLOTS; i++) {
                struct turn *turn = &worker->turn[i];
                if (!turn->row)
                        continue;
                const struct request *request = turn->request;
                n_rows += turn->n = choose_rows(worker, turn);
                part[n] = (struct batch_part){
                        request->sequence,
                        request->tokens.ids + sequence_position(request->sequence),
                        turn->n,
                        turn->n,
                        turn->logits,
                };
                in_step[n++] = turn;
        }
        if (n == 0)
                return 0;
        uint64_t begin_ns = clock_ns();
        int r = engine_step(worker->machine.engine, part, n, err);
        if (r == -ENOSPC && make_room(worker))
                return 1;
        if (r == 0) {
                keeper_stepped(worker->machine.keeper, n_rows, clock_ns() - begin_ns);
                count_gathered(worker);
        }
        for (unsigned i = 0; r == 0 && i < n; i++)
                after_step(worker, in_step[i]);
        return r < 0 ? r : 1;
}

static void wait_for_reader(struct worker *worker) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        sem_timedwait(&worker->wake, &until);
}

static int run(struct worker *worker, struct error *err) {
        unsigned n_turns = worker->options->n_turns;
        int r = 0;
        while (r >= 0 && (n_turns == 0 || worker->n_begun < n_turns)) {
                r = begin_turns(worker, err);
                if (r == 0)
                        r = step(worker, err);
                if (r == 0)
                        wait_for_reader(worker);
        }
        return r < 0 ? r : 0;
}

static int worker_open(struct worker *worker, struct error *err) {
        struct machine_options machine = worker->options->machine;
        uint32_t vocab = worker->options->reference->vocab_size;
        sem_init(&worker->wake, 0, 0);
        machine.notify = wake;
        machine.context = &worker->wake;
        for (unsigned i = 0; i < SLOTS; i++) {
                worker->turn[i].logits =
                        calloc((size_t)machine.rows / SLOTS * vocab, sizeof(float));
                if (!worker->turn[i].logits)
                        return error_set(err, -ENOMEM, "out of memory");
        }
        int r = sampler_new(vocab, &worker->sampler);
        return r < 0 ? r : machine_open(&machine, &worker->machine, err);
}

static void worker_close(struct worker *worker) {
        for (unsigned i = 0; i < SLOTS; i++) {
                if (worker->turn[i].life)
                        turn_end(worker, &worker->turn[i]);
                free(worker->turn[i].logits);
        }
        machine_close(&worker->machine);
        sampler_free(worker->sampler);
        sem_destroy(&worker->wake);
}

int worker_run(const struct worker_options *options) {
        struct worker worker = { .options = options, .random = options->seed };
        struct error err = { 0 };
        int r = worker_open(&worker, &err);
        if (r == 0)
                r = run(&worker, &err);
        if (r < 0)
                fprintf(stderr, "identity: process %u: %s\n", options->epoch, err.text);
        worker_close(&worker);
        return r < 0;
}
