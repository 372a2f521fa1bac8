/* Whatever interrupts a conversation, and wherever it goes on from, it gives the same tokens and
 * the same logits, bit for bit.
 *
 * Conversations are interrupted at random tokens and go on in the same process, in one with little
 * memory, in the next process after a clean end, and in the next after kill -9. A row of the table
 * for each place that a sequence went on from. */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/identity/worker.h"
#include "tests/memory/scratch.h"
#include "tests/splitmix64.h"

static const char *const source_names[N_SOURCES] = { "device",  "host",    "LMDB",
                                                     "kill -9", "restart", "none" };

/* Of a worker's step: two pages and an odd rest, for SLOTS sequences. */
#define ROWS 288

/* Conversations that memory holds beside those that run, when it shall have room and when not. */
#define HOST_LIVES_MANY 40
#define HOST_LIVES_FEW  3
#define DISK_LIVES      60

struct options {
        const char *name;
        unsigned n_cuts;
        bool json;
        struct reference_options reference;
};

struct run {
        const struct options *options;
        struct reference reference;
        struct ledger *ledger;
        struct scratch folder;
        uint64_t random;
        unsigned epoch, n_kills, n_restarts;
        bool after_kill;
};

/* -- one process ---------------------------------------------------------------------------------
 */

static uint64_t cuts_of(const struct run *run, enum source source) {
        return atomic_load(&run->ledger->row[source].cuts);
}

/* The source that has the fewest cuts, of those that differ by what a process has room for. */
static enum source choose_source(const struct run *run) {
        enum source least = SOURCE_DEVICE;
        for (enum source i = SOURCE_DEVICE; i <= SOURCE_LMDB; i++)
                if (cuts_of(run, i) < cuts_of(run, least))
                        least = i;
        return least;
}

static struct worker_options plan(struct run *run, bool kill) {
        enum source source = choose_source(run);
        unsigned n_slots = SLOTS;
        uint64_t device_bytes = 0;
        if (next_random(&run->random) % 2) { /* pools that hold one conversation, or two */
                n_slots = random_between(&run->random, 1, 2);
                device_bytes = n_slots * run->reference.device_bytes_min;
        }
        return (struct worker_options){
                .machine = {
                        .model_dir = run->options->reference.model_dir,
                        .state_dir = run->folder.path,
                        .n_threads = random_between(&run->random, 1, 2),
                        .rows = ROWS,
                        .device_kv_bytes = device_bytes,
                        .parks = source == SOURCE_DEVICE,
                        .host_lives = source == SOURCE_LMDB ? HOST_LIVES_FEW : HOST_LIVES_MANY,
                        .disk_lives = DISK_LIVES,
                },
                .reference = &run->reference,
                .ledger = run->ledger,
                .n_slots = n_slots,
                .epoch = ++run->epoch,
                .after_kill = run->after_kill,
                .n_turns = kill ? 0 : random_between(&run->random, 4, 24),
                .seed = next_random(&run->random),
        };
}

static void sleep_ns(uint64_t ns) {
        struct timespec time = { (time_t)(ns / 1000000000), (long)(ns % 1000000000) };
        nanosleep(&time, NULL);
}

/* Waits until the child has done some work and a little longer, so that it dies anywhere: while it
 * computes, reads, writes or commits; one in eight while it opens its files. */
static void wait_for_the_moment(struct run *run, pid_t child, siginfo_t *info) {
        uint64_t enough = atomic_load(&run->ledger->turns_ended) + next_random(&run->random) % 16;
        bool early = next_random(&run->random) % 8 == 0;
        info->si_pid = 0;
        while (!early && atomic_load(&run->ledger->turns_ended) < enough && info->si_pid == 0) {
                sleep_ns(1000000);
                waitid(P_PID, (id_t)child, info, WEXITED | WNOHANG | WNOWAIT);
        }
        sleep_ns(next_random(&run->random) % (early ? 50000000 : 10000000));
}

/* False: the process failed. */
static bool run_process(struct run *run, bool kill_it) {
        struct worker_options options = plan(run, kill_it);
        siginfo_t info;
        int status;
        fflush(stdout);
        pid_t child = fork();
        if (child == 0)
                _exit(worker_run(&options));
        if (child > 0 && kill_it) {
                wait_for_the_moment(run, child, &info);
                kill(child, SIGKILL);
        }
        if (child < 0 || waitpid(child, &status, 0) != child)
                return false;
        run->after_kill = kill_it;
        run->n_kills += kill_it;
        run->n_restarts += !kill_it;
        if (kill_it)
                return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* -- all of them ---------------------------------------------------------------------------------
 */

static uint64_t all_cuts(const struct run *run) {
        uint64_t n = 0;
        for (enum source i = SOURCE_DEVICE; i < SOURCE_NONE; i++)
                n += cuts_of(run, i);
        return n;
}

/* All cuts, spread over all sources, with enough ends of processes of both kinds. */
static bool is_enough(const struct run *run) {
        unsigned n = run->options->n_cuts;
        uint64_t small_pool = 0;
        for (enum source i = SOURCE_DEVICE; i < SOURCE_NONE; i++) {
                small_pool += atomic_load(&run->ledger->row[i].small_pool_cuts);
                if (cuts_of(run, i) < n / 10)
                        return false;
        }
        return all_cuts(run) >= n && small_pool >= n / 4 && run->n_restarts >= n / 25 &&
                run->n_kills >= n / 25;
}

static bool run_all(struct run *run) {
        while (!is_enough(run) && !run->ledger->differs) {
                if (!run_process(run, cuts_of(run, SOURCE_KILL) <= cuts_of(run, SOURCE_RESTART))) {
                        fprintf(stderr, "identity: process %u failed\n", run->epoch);
                        return false;
                }
                fprintf(stderr, "identity: %s: %" PRIu64 " of %u cuts, %u restarts, %u kills\n",
                        run->options->name, all_cuts(run), run->options->n_cuts, run->n_restarts,
                        run->n_kills);
        }
        return true;
}

/* -- what came of it -----------------------------------------------------------------------------
 */

static void print_row(const struct run *run, enum source source, const struct row *row) {
        static const char text[] = "%-12s %-8s %6" PRIu64 " %6" PRIu64 " %10" PRIu64 " %10" PRIu64
                                   " %7" PRIu64 " %13" PRIu64 " %7" PRIu64 "\n";
        static const char json[] =
                "{\"model\": \"%s\", \"source\": \"%s\", \"cuts\": %" PRIu64
                ", \"small_pool\": %" PRIu64 ", \"tokens_reused\": %" PRIu64
                ", \"tokens\": %" PRIu64 ", \"differing_tokens\": %" PRIu64 ", \"logits\": %" PRIu64
                ", \"differing_logits\": %" PRIu64 "}\n";
        printf(run->options->json ? json : text, run->options->name, source_names[source],
               row->cuts, row->small_pool_cuts, row->tokens_reused, row->positions,
               row->wrong_tokens, row->logits, row->wrong_logits);
}

static void print_table(const struct run *run) {
        const struct ledger *ledger = run->ledger;
        if (!run->options->json)
                printf("%-12s %-8s %6s %6s %10s %10s %7s %13s %7s\n", "model", "source", "cuts",
                       "small", "reused", "tokens", "differ", "logits", "differ");
        for (enum source i = SOURCE_DEVICE; i < N_SOURCES; i++)
                print_row(run, i, &ledger->row[i]);
        if (run->options->json)
                return;
        printf("seed %" PRIu64 ", %u conversations, %u restarts, %u kills; %" PRIu64
               " turns found nothing kept; at most %u tokens computed twice after a kill; %" PRIu64
               " rows gathered into hot pools\n",
               run->options->reference.seed, run->options->reference.n_conversations,
               run->n_restarts, run->n_kills, ledger->nothing_kept, ledger->tokens_lost_max,
               ledger->rows_gathered);
}

static bool is_identical(const struct run *run) {
        const struct ledger *ledger = run->ledger;
        if (!ledger->differs)
                return true;
        fprintf(stderr,
                "identity: conversation %u differs after token %u; process %u went on from %u "
                "tokens, source: %s; seed %" PRIu64 "\n",
                ledger->first_conversation, ledger->first_position, ledger->first_epoch,
                ledger->first_reused, source_names[ledger->first_source],
                run->options->reference.seed);
        return false;
}

static int identity(const struct options *options) {
        struct run run = { .options = options, .random = options->reference.seed };
        if (reference_make(&options->reference, &run.reference) < 0)
                return 1;
        run.ledger = mmap(NULL, sizeof(*run.ledger), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (run.ledger == MAP_FAILED)
                return 1;
        run.ledger->random = next_random(&run.random);
        log_init(LOG_WARNING);
        scratch_make(&run.folder);
        bool good = run_all(&run);
        scratch_remove(&run.folder);
        print_table(&run);
        good = is_identical(&run) && good;
        munmap(run.ledger, sizeof(*run.ledger));
        reference_free(&run.reference);
        return good ? 0 : 1;
}

static const char usage[] =
        "Usage: identity --model DIR [OPTION]... TEXT...\n"
        "Interrupts conversations about the text files and compares what follows with a run that\n"
        "nothing interrupts.\n\n"
        "  --name NAME        of the model in the table\n"
        "  --cuts N           how many interruptions; default 50\n"
        "  --conversations N  at most 64; default 24\n"
        "  --seed N           default 1\n"
        "  --json             an object for each row\n";

int main(int argc, char **argv) {
        static const struct option list[] = {
                { "model", required_argument, NULL, 'm' },
                { "name", required_argument, NULL, 'n' },
                { "cuts", required_argument, NULL, 'c' },
                { "conversations", required_argument, NULL, 'k' },
                { "seed", required_argument, NULL, 's' },
                { "json", no_argument, NULL, 'j' },
                { 0 },
        };
        const char *cuts = getenv("SEEKD_TEST_CUTS"), *seed = getenv("SEEKD_TEST_SEED");
        struct options options = { .n_cuts = cuts ? (unsigned)atoi(cuts) : 50,
                                   .reference = { .n_conversations = 24,
                                                  .seed = seed ? strtoull(seed, NULL, 0) : 1 } };
        for (int c; (c = getopt_long(argc, argv, "", list, NULL)) != -1;) {
                if (c == 'm')
                        options.reference.model_dir = optarg;
                else if (c == 'n')
                        options.name = optarg;
                else if (c == 'c')
                        options.n_cuts = (unsigned)atoi(optarg);
                else if (c == 'k')
                        options.reference.n_conversations = (unsigned)atoi(optarg);
                else if (c == 's')
                        options.reference.seed = strtoull(optarg, NULL, 0);
                else if (c == 'j')
                        options.json = true;
                else
                        options.reference.model_dir = NULL;
        }
        options.reference.text_files = (const char *const *)argv + optind;
        options.reference.n_text_files = (unsigned)(argc - optind);
        if (!options.reference.model_dir || options.reference.n_text_files == 0 ||
            options.reference.n_conversations == 0 ||
            options.reference.n_conversations > CONVERSATIONS_MAX) {
                fputs(usage, stderr);
                return 2;
        }
        if (!options.name)
                options.name = options.reference.model_dir;
        return identity(&options);
}
