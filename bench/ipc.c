/* seekd-bench ipc: two processes on two CPUs pass 64-byte messages in different ways.
 *
 * All ways take turns in every round, so that a ratio compares what happened within a second of
 * each other, whatever else the machine or its host did meanwhile. One-way latency is half of a
 * round trip, measured one by one. */
#include "base/clock.h"
#include "bench/bench.h"
#include "bench/ipc_link.h"
#include "bench/report.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Enough for a steady p99 of each run, few enough that a round takes about a second; on a busy
 * machine WAY_NS_MAX ends each way's turn. A burst of the ring fits it, and takes some 100
 * microseconds. */
#define N_WARMUP          100u
#define N_TRIPS_POLLING   50000u
#define N_TRIPS_SLEEPING  1500u
#define N_TRIPS_MIN       100u
#define N_BURSTS          200u
#define N_BURSTS_MIN      10u
#define N_MESSAGES_RING   3000u
#define N_MESSAGES_KERNEL 1000u
#define WAY_NS_MAX        (200 * NS_PER_MS)
#define STOP              UINT64_MAX /* the number of the last message */
#define BATCH             64u /* messages a publish: as many as a receiver takes in one turn */

enum { LATENCY_50, LATENCY_99, RATE, N_KINDS };

/* What is measured, and in which order within a round. */
enum way {
        HANDOFF,
        RING,
        RING_UNCHECKED,
        FUTEX,
        RING_FUTEX,
        RING_KICK,
        SEQPACKET,
        STREAM,
        PIPE,
        RATE_RING,
        RATE_RING_SINGLE,
        RATE_RING_UNCHECKED,
        RATE_SEQPACKET,
        RATE_STREAM,
        RATE_PIPE,
        N_WAYS,
};

static const struct {
        const struct mechanism *mechanism;
        unsigned n_trips;    /* round trips; or */
        unsigned n_messages; /* a burst: one way, then one answer */
        unsigned batch;
} ways[N_WAYS] = {
        [HANDOFF] = { &link_handoff, N_TRIPS_POLLING, 0, 1 },
        [RING] = { &link_ring, N_TRIPS_POLLING, 0, 1 },
        [RING_UNCHECKED] = { &link_ring_unchecked, N_TRIPS_POLLING, 0, 1 },
        [FUTEX] = { &link_futex, N_TRIPS_SLEEPING, 0, 1 },
        [RING_FUTEX] = { &link_ring_futex, N_TRIPS_SLEEPING, 0, 1 },
        [RING_KICK] = { &link_ring_kick, N_TRIPS_SLEEPING, 0, 1 },
        [SEQPACKET] = { &link_seqpacket, N_TRIPS_SLEEPING, 0, 1 },
        [STREAM] = { &link_stream, N_TRIPS_SLEEPING, 0, 1 },
        [PIPE] = { &link_pipe, N_TRIPS_SLEEPING, 0, 1 },
        [RATE_RING] = { &link_ring, 0, N_MESSAGES_RING, BATCH },
        [RATE_RING_SINGLE] = { &link_ring, 0, N_MESSAGES_RING, 1 },
        [RATE_RING_UNCHECKED] = { &link_ring_unchecked, 0, N_MESSAGES_RING, BATCH },
        [RATE_SEQPACKET] = { &link_seqpacket, 0, N_MESSAGES_KERNEL, 1 },
        [RATE_STREAM] = { &link_stream, 0, N_MESSAGES_KERNEL, 1 },
        [RATE_PIPE] = { &link_pipe, 0, N_MESSAGES_KERNEL, 1 },
};

static struct series results[N_WAYS][N_KINDS];
static int cpus[2];
static struct link the_link;

static void message_fill(struct message *message, uint64_t number) {
        for (unsigned i = 0; i < MESSAGE_BYTES / 8; i++)
                message->words[i] = number + i * 0x9e3779b97f4a7c15ULL;
}

/* Reads every byte. */
static void message_check(const struct message *message) {
        uint64_t wrong = 0;
        for (unsigned i = 0; i < MESSAGE_BYTES / 8; i++)
                wrong |= message->words[i] ^ (message->words[0] + i * 0x9e3779b97f4a7c15ULL);
        if (wrong) {
                fprintf(stderr, "seekd-bench: a message arrived damaged\n");
                exit(1);
        }
}

static void pin(int cpu) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)cpu, &set);
        if (sched_setaffinity(0, sizeof(set), &set) < 0)
                link_fail("pin to a CPU");
}

static void pass(const struct mechanism *mechanism, int side, uint64_t number) {
        struct message message;
        message_fill(&message, number);
        mechanism->send(&the_link, side, &message);
        if (mechanism->flush)
                mechanism->flush(&the_link, side);
}

/* Returns the message's number. */
static uint64_t take(const struct mechanism *mechanism, int side) {
        struct message message;
        mechanism->receive(&the_link, side, &message);
        message_check(&message);
        return message.words[0];
}

/* Answers each message, or the last of each burst, until one is numbered STOP. */
static void child_run(enum way way) {
        const struct mechanism *mechanism = ways[way].mechanism;
        unsigned n_burst = ways[way].n_messages ? ways[way].n_messages : 1;
        uint64_t number = 0;
        while (number != STOP) {
                for (unsigned i = 0; i < n_burst && number != STOP; i++)
                        number = take(mechanism, 1);
                pass(mechanism, 1, number);
        }
}

static int compare(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
        return (x > y) - (x < y);
}

static void measure_latency(enum way way) {
        static uint64_t trip_ns[N_TRIPS_POLLING];
        const struct mechanism *mechanism = ways[way].mechanism;
        uint64_t number = 0;
        for (unsigned i = 0; i < N_WARMUP; i++) {
                pass(mechanism, 0, ++number);
                take(mechanism, 0);
        }
        unsigned n = 0;
        uint64_t before = clock_ns(), end = before + WAY_NS_MAX;
        while (n < ways[way].n_trips && (before < end || n < N_TRIPS_MIN)) {
                pass(mechanism, 0, ++number);
                take(mechanism, 0);
                uint64_t after = clock_ns();
                trip_ns[n++] = after - before;
                before = after;
        }
        qsort(trip_ns, n, sizeof(trip_ns[0]), compare);
        series_add(&results[way][LATENCY_50], (double)trip_ns[n / 2] / 2);
        series_add(&results[way][LATENCY_99], (double)trip_ns[n - 1 - n / 100] / 2);
}

/* Nanoseconds until the answer to a burst's last message is there. */
static uint64_t burst_ns(enum way way, uint64_t *number) {
        const struct mechanism *mechanism = ways[way].mechanism;
        uint64_t before = clock_ns();
        for (unsigned n = 1; n <= ways[way].n_messages; n++) {
                struct message message;
                message_fill(&message, ++*number);
                mechanism->send(&the_link, 0, &message);
                if (mechanism->flush && n % ways[way].batch == 0)
                        mechanism->flush(&the_link, 0);
        }
        if (mechanism->flush)
                mechanism->flush(&the_link, 0);
        take(mechanism, 0);
        return clock_ns() - before;
}

/* Short bursts, of which the fastest tenth is taken, for every way alike: a burst during which
 * either process was scheduled away says nothing about the way. */
static void measure_rate(enum way way) {
        static uint64_t ns[N_BURSTS];
        uint64_t number = 0, end = clock_ns() + WAY_NS_MAX;
        unsigned n = 0;
        while (n < N_BURSTS && (clock_ns() < end || n < N_BURSTS_MIN))
                ns[n++] = burst_ns(way, &number);
        qsort(ns, n, sizeof(ns[0]), compare);
        series_add(&results[way][RATE], (double)ways[way].n_messages * 1e9 / (double)ns[n / 10]);
}

/* The parent may be spinning for a child that failed. */
static void child_ended(int signal_number) {
        (void)signal_number;
        int status;
        int saved = errno;
        if (waitpid(-1, &status, WNOHANG) > 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
                static const char text[] = "seekd-bench: the other process failed\n";
                (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
                _exit(1);
        }
        errno = saved;
}

static void measure(enum way way) {
        const struct mechanism *mechanism = ways[way].mechanism;
        mechanism->open(&the_link);
        pid_t pid = fork();
        if (pid < 0)
                link_fail("fork");
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                pin(cpus[1]);
                child_run(way);
                _exit(0);
        }
        if (ways[way].n_trips)
                measure_latency(way);
        else
                measure_rate(way);
        pass(mechanism, 0, STOP);
        take(mechanism, 0);
        /* The handler reaps it; this only waits for that. */
        while (kill(pid, 0) == 0)
                usleep(100);
        mechanism->close(&the_link);
}

static void print(const char *device, bool json) {
        struct series(*r)[N_KINDS] = results;
#define LATENCY(name, way, reference, reference_way)                                               \
        { name ".p50", "ns", &r[way][LATENCY_50], reference, &r[reference_way][LATENCY_50] }, {    \
                name ".p99", "ns", &r[way][LATENCY_99], reference, &r[reference_way][LATENCY_99]   \
        }
#define PER_SECOND(name, way, reference, reference_way)                                            \
        { name, "messages/s", &r[way][RATE], reference, &r[reference_way][RATE] }
        const struct measurement measurements[] = {
                LATENCY("ipc.poll", RING, "bare cache-line hand-off", HANDOFF),
                LATENCY("ipc.poll_checks", RING, "same ring, checks compiled out", RING_UNCHECKED),
                LATENCY("ipc.sleep", RING_FUTEX, "bare futex wake", FUTEX),
                LATENCY("ipc.sleep_kick", RING_KICK, "Unix seqpacket socket", SEQPACKET),
                LATENCY("ipc.sleep_stream", STREAM, "ring, FUTEX", RING_FUTEX),
                LATENCY("ipc.sleep_pipe", PIPE, "ring, FUTEX", RING_FUTEX),
                PER_SECOND("ipc.throughput", RATE_RING, "Unix stream socket", RATE_STREAM),
                PER_SECOND("ipc.throughput_single", RATE_RING_SINGLE, "Unix stream socket",
                           RATE_STREAM),
                PER_SECOND("ipc.throughput_checks", RATE_RING, "same ring, checks compiled out",
                           RATE_RING_UNCHECKED),
                PER_SECOND("ipc.throughput_seqpacket", RATE_SEQPACKET, "ring", RATE_RING),
                PER_SECOND("ipc.throughput_pipe", RATE_PIPE, "ring", RATE_RING),
        };
        report_print(measurements, sizeof(measurements) / sizeof(measurements[0]), device, json);
}

/* The two CPUs to use: the first two this process may run on. */
static int choose_cpus(void) {
        cpu_set_t set;
        if (sched_getaffinity(0, sizeof(set), &set) < 0)
                return -1;
        int n = 0;
        for (int cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
                if (CPU_ISSET((size_t)cpu, &set))
                        cpus[n++] = cpu;
        return n == 2 ? 0 : -1;
}

static void usage(FILE *to) {
        fprintf(to,
                "Usage: seekd-bench ipc [--json] [--rounds N] [--cpus A,B]\n"
                "\n"
                "  --json      one JSON object a measurement\n"
                "  --rounds N  how often each is measured (default 15)\n"
                "  --cpus A,B  the two CPUs to use (default: the first two)\n");
}

int bench_ipc(int argc, char **argv) {
        static const struct option options[] = {
                { "json", no_argument, NULL, 'j' },
                { "rounds", required_argument, NULL, 'r' },
                { "cpus", required_argument, NULL, 'c' },
                { "help", no_argument, NULL, 'h' },
                { 0 },
        };
        bool json = false;
        int rounds = 15;
        bool have_cpus = choose_cpus() == 0;
        char rest;
        int c;
        while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
                switch (c) {
                case 'j': json = true; break;
                case 'r':
                        if (sscanf(optarg, "%d%c", &rounds, &rest) != 1 || rounds < 1 ||
                            rounds > 1000) {
                                fprintf(stderr, "seekd-bench ipc: --rounds takes 1 to 1000\n");
                                return 2;
                        }
                        break;
                case 'c':
                        if (sscanf(optarg, "%d,%d%c", &cpus[0], &cpus[1], &rest) != 2 ||
                            cpus[0] == cpus[1]) {
                                fprintf(stderr,
                                        "seekd-bench ipc: --cpus takes two different numbers\n");
                                return 2;
                        }
                        have_cpus = true;
                        break;
                case 'h': usage(stdout); return 0;
                default: usage(stderr); return 2;
                }
        }
        if (optind < argc) {
                usage(stderr);
                return 2;
        }
        if (!have_cpus) {
                fprintf(stderr, "seekd-bench ipc: needs two CPUs\n");
                return 1;
        }
        const char *device = report_cpu(); /* before pinning hides the other CPUs */
        struct sigaction action = { .sa_handler = child_ended,
                                    .sa_flags = SA_RESTART | SA_NOCLDSTOP };
        sigaction(SIGCHLD, &action, NULL);
        pin(cpus[0]);
        for (int round = 0; round < rounds; round++)
                for (enum way way = 0; way < N_WAYS; way++)
                        measure(way);
        print(device, json);
        for (enum way way = 0; way < N_WAYS; way++)
                for (int kind = 0; kind < N_KINDS; kind++)
                        series_deinit(&results[way][kind]);
        return 0;
}
