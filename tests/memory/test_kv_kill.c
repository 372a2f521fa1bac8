/* kill -9 at any moment. A child stores, replaces, forgets and says over a pipe what has been
 * committed; it is killed at a random time, and the next one starts on what it left.
 * SEEKD_TEST_KILLS sets how often. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#include "base/error.h"
#include "tests/memory/store_fixture.h"

#define CHAINS 6

static struct fixture f;
static struct chain chains[CHAINS];

/* The child's life in the words that it sends: before a step "about to", after its commit "done".
 */
struct word {
        uint8_t chain;
        uint8_t pages; /* of the chain, when the step is done */
        bool done;
};

static void say(int pipe_fd, struct word word) {
        if (write(pipe_fd, &word, sizeof(word)) != (ssize_t)sizeof(word))
                _exit(3);
}

/* One step: a chain grows, is stored anew in larger extents, or is forgotten. */
static uint8_t step(const struct chain *chain, uint8_t pages, uint64_t *random, int pipe_fd,
                    uint8_t number) {
        struct kv_entry entry;
        uint32_t n = 1U << next_random(random) % 4;
        bool forget = pages + n > CHAIN_PAGES;
        uint8_t then = forget ? 0 : (uint8_t)(pages + n);
        say(pipe_fd, (struct word){ number, then, false });
        if (forget && kv_store_find(f.store, &chain->id[0], &entry))
                kv_store_delete(f.store, &entry.value, 1);
        if (!forget) {
                chain_put(&f, chain, pages, n, NULL, NULL);
                for (uint32_t page = 0; page + 8 <= then; page += 8)
                        if (next_random(random) % 4 == 0)
                                chain_put(&f, chain, page, 8, NULL, NULL);
                chain_put_frontier(&f, chain, then * PAGE_TOKENS, NULL, NULL);
        }
        kv_store_sync(f.store);
        say(pipe_fd, (struct word){ number, then, true });
        return then;
}

static void live(uint8_t pages[CHAINS], uint64_t random, int pipe_fd) {
        fixture_open(&f);
        for (;;) {
                uint8_t c = (uint8_t)(next_random(&random) % CHAINS);
                pages[c] = step(&chains[c], pages[c], &random, pipe_fd, c);
        }
}

struct knowledge {
        uint8_t pages[CHAINS]; /* committed */
        bool frontier[CHAINS]; /* after those pages; a step has several commits at times */
        int changing;          /* the chain of an unfinished step, -1 = none */
        uint8_t pages_then;
        unsigned steps;
};

/* Lets a child run for a while, kills it, and learns what it had said. */
static void run_and_kill(struct knowledge *known, uint64_t *random) {
        int pipe_fds[2];
        assert_int_equal(pipe(pipe_fds), 0);
        uint64_t child_random = next_random(random);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                close(pipe_fds[0]);
                live(known->pages, child_random, pipe_fds[1]);
        }
        close(pipe_fds[1]);
        /* From within opening, to dozens of steps later. */
        struct timespec pause = { 0, (long)(next_random(random) % 30000000) };
        nanosleep(&pause, NULL);
        assert_int_equal(kill(child, SIGKILL), 0);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

        struct word word;
        known->changing = -1;
        while (read(pipe_fds[0], &word, sizeof(word)) == (ssize_t)sizeof(word)) {
                known->changing = word.done ? -1 : word.chain;
                known->pages_then = word.pages;
                if (word.done) {
                        known->pages[word.chain] = word.pages;
                        known->frontier[word.chain] = word.pages > 0;
                        known->steps++;
                }
        }
        close(pipe_fds[0]);
}

static void every_restart_finds_what_was_committed(void **state) {
        (void)state;
        unsigned n = getenv("SEEKD_TEST_KILLS") ? (unsigned)atoi(getenv("SEEKD_TEST_KILLS")) : 25;
        uint64_t random = getenv("SEEKD_TEST_SEED") ? strtoull(getenv("SEEKD_TEST_SEED"), NULL, 0)
                                                    : (uint64_t)time(NULL);
        print_message("seed %llu\n", (unsigned long long)random);
        fixture_init(&f);
        for (uint32_t c = 0; c < CHAINS; c++)
                chain_make(&chains[c], &f.key, 1000 + c, c);
        struct knowledge known = { 0 };
        for (unsigned i = 0; i < n; i++) {
                run_and_kill(&known, &random);
                fixture_open(&f);
                struct kv_store_statistics s;
                kv_store_statistics(f.store, &s);
                assert_true(!s.moved_aside || known.steps == 0); /* killed while making the file */
                assert_int_equal(s.dropped_entries, s.moved_aside ? s.dropped_entries : 0);
                for (int c = 0; c < CHAINS; c++) {
                        uint8_t pages = (uint8_t)chain_read(&f, &chains[c], 0, CHAIN_PAGES);
                        if (c == known.changing && pages == known.pages_then) {
                                known.pages[c] = pages;
                                known.frontier[c] = false;
                        }
                        assert_int_equal(pages, known.pages[c]);
                        if (known.frontier[c])
                                assert_true(
                                        chain_read_frontier(&f, &chains[c], pages * PAGE_TOKENS));
                }
                assert_int_equal(f.events[KV_EVENT_DAMAGED_VALUE], 0);
                fixture_close(&f);
        }
        print_message("%u kills, %u committed steps\n", n, known.steps);
        fixture_deinit(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_restart_finds_what_was_committed),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
