/* The line that seek shows while it waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include "client/seek/progress.h"

static void assert_text(int load_permille, struct seekd_progress progress, const char *expected) {
        char text[PROGRESS_TEXT];
        progress_text(text, sizeof(text), load_permille, &progress);
        assert_string_equal(text, expected);
}

static void what_is_waited_for_is_said(void **state) {
        (void)state;
        struct seekd_progress p = { .phase = SEEKD_PHASE_QUEUED, .estimate_ms = -1 };
        assert_text(426, p, "loading the model: 42 %");
        assert_text(1000, p, "waiting: the prompt becomes tokens");
        p.queue_place = 3;
        assert_text(1000, p, "waiting: place 3 in the queue");
        p.estimate_ms = 11001;
        assert_text(1000, p, "waiting: place 3 in the queue, about 12 s");
        p = (struct seekd_progress){ .phase = SEEKD_PHASE_PREFILL,
                                     .tokens_done = 768,
                                     .tokens_total = 5000,
                                     .estimate_ms = 0 };
        assert_text(1000, p, "reading the prompt: 768 of 5000 tokens, about 0 s");
        p.tokens_cached = 512;
        p.estimate_ms = 119000;
        assert_text(1000, p, "reading the prompt: 768 of 5000 tokens (512 were kept), about 119 s");
        p.estimate_ms = 120000;
        assert_text(1000, p, "reading the prompt: 768 of 5000 tokens (512 were kept), about 2 min");
        p.estimate_ms = 7200000;
        assert_text(1000, p, "reading the prompt: 768 of 5000 tokens (512 were kept), about 2 h");
        p.phase = SEEKD_PHASE_DECODE;
        assert_text(1000, p, "");
        assert_text(-1, (struct seekd_progress){ .phase = SEEKD_PHASE_SUBMITTED }, "");
}

static void the_longest_line_fits(void **state) {
        (void)state;
        char text[PROGRESS_TEXT];
        struct seekd_progress p = { .phase = SEEKD_PHASE_PREFILL,
                                    .tokens_done = UINT32_MAX,
                                    .tokens_total = UINT32_MAX,
                                    .tokens_cached = UINT32_MAX,
                                    .estimate_ms = UINT32_MAX - 1 };
        progress_text(text, sizeof(text), 1000, &p);
        assert_string_equal(text,
                            "reading the prompt: 4294967295 of 4294967295 tokens "
                            "(4294967295 were kept), about 1193 h");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_waited_for_is_said),
                cmocka_unit_test(the_longest_line_fits),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
