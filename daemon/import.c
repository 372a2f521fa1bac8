#include "daemon/import.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "daemon/config.h"
#include "daemon/engram.h"

/* For whoever reads the lines, not for the eye. */
#define TELL_NS NS_PER_S

struct import {
        const struct config *config;
        bool json;
        const char *what; /* phase that was told last, */
        uint64_t told_ns; /* and when */
};

static void print_json(json_t *object) {
        json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        json_decref(object);
        putchar('\n');
        fflush(stdout);
}

static void show_json(struct import *import, const struct engram_progress *p) {
        uint64_t now_ns = clock_ns();
        bool fresh = !import->what || strcmp(import->what, p->what) != 0;
        if (!fresh && p->done < p->total && now_ns - import->told_ns < TELL_NS)
                return;
        import->what = p->what;
        import->told_ns = now_ns;
        print_json(json_pack("{s:{s:s, s:I, s:I, s:f, s:f}}", "progress", "what", p->what, "done",
                             (json_int_t)p->done, "total", (json_int_t)p->total, "bytes_per_s",
                             p->bytes_per_s, "seconds_left", p->seconds_left));
}

static void show(void *userdata, const struct engram_progress *p) {
        struct import *import = userdata;
        if (import->json)
                show_json(import, p);
        else if (isatty(STDERR_FILENO) || p->done == p->total)
                fprintf(stderr, "\r%s: %.2f of %.2f GB, %.0f MB/s, %.0f s left   %s", p->what,
                        (double)p->done / 1e9, (double)p->total / 1e9, p->bytes_per_s / 1e6,
                        p->seconds_left, p->done == p->total ? "\n" : "");
}

static enum exit_status fail(const struct import *import, const char *text) {
        fprintf(stderr, "seekd: %s\n", text);
        if (import->json)
                print_json(json_pack("{s:{s:s}}", "error", "message", text));
        return EXIT_STATUS_REFUSED;
}

static enum exit_status succeed(const struct import *import, const struct engram *engram,
                                bool has_tables) {
        if (import->json)
                print_json(json_pack("{s:{s:b, s:s, s:s}}", "engram", "has_tables", has_tables,
                                     "path", engram_path(engram), "model",
                                     import->config->model_dir));
        else if (has_tables)
                printf("%s holds the Engram tables of %s\n", engram_path(engram),
                       import->config->model_dir);
        else
                printf("%s has no Engram tables\n", import->config->model_dir);
        return EXIT_STATUS_OK;
}

enum exit_status import_tables(const struct config *config, bool json) {
        struct import import = { .config = config, .json = json };
        struct engram_options engram_options = { .state_dir = config->state_dir,
                                                 .import = ENGRAM_IMPORT_NOW,
                                                 .progress = show,
                                                 .userdata = &import };
        struct error err = { 0 };
        struct engram *engram;
        if (config->state_dir[0] == '\0')
                return fail(&import, "--import needs a state folder (--state)");
        if (engram_new(&engram_options, &engram) < 0)
                return EXIT_STATUS_INTERNAL;
        struct engram_rows rows = engram_rows(engram);
        struct engine_options options = { .model_dir = config->model_dir,
                                          .n_threads = 1,
                                          .engram_rows = &rows };
        struct engine *engine = NULL;
        int r = engine_open(&options, &engine, &err);
        enum exit_status status = r < 0
                ? fail(&import, err.text)
                : succeed(&import, engram, engine_config(engine)->n_engram_layers > 0);
        engine_close(engine);
        engram_free(engram);
        return status;
}
