/* Loading a model: what is said meanwhile. What is refused: tests/bench/test_bad_checkpoint.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "engine/engine.h"

static const char *nano_dir;

struct heard {
        double last;
        unsigned n_layers;
};

static void hear(void *userdata, double done, const char *what) {
        struct heard *heard = userdata;
        assert_true(done >= heard->last && done <= 1); /* never backwards */
        assert_true(what[0] != 0);
        heard->last = done;
        heard->n_layers += strstr(what, "checking layer ") != NULL;
}

static void progress_rises_to_one(void **state) {
        (void)state;
        struct heard heard = { 0 };
        struct engine_options options = {
                .model_dir = nano_dir, .n_threads = 1, .progress = hear, .userdata = &heard
        };
        struct engine *engine;
        struct error err = { 0 };
        if (engine_open(&options, &engine, &err) < 0)
                fail_msg("%s", err.text);
        assert_true(heard.last == 1);
        assert_int_equal(heard.n_layers, engine_config(engine)->n_layers);
        engine_close(engine);
}

static void a_model_that_is_not_there_is_named(void **state) {
        (void)state;
        struct heard heard = { 0 };
        struct engine_options options = {
                .model_dir = "/nowhere", .n_threads = 1, .progress = hear, .userdata = &heard
        };
        struct engine *engine = NULL;
        struct error err = { 0 };
        assert_true(engine_open(&options, &engine, &err) < 0);
        assert_non_null(strstr(err.text, "/nowhere/config.json"));
        assert_true(heard.last < 1);
}

int main(int argc, char **argv) {
        if (argc != 2)
                return 2;
        nano_dir = argv[1];
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(progress_rises_to_one),
                cmocka_unit_test(a_model_that_is_not_there_is_named),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
