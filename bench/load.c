/* seekd-bench load: what loading a model costs, in time and in memory.
 *
 * Each run is a process of its own, so that its resident memory is the model's. A plain loader
 * would read all files; that is measured beside it, and leaves them in the page cache as far as
 * they fit. What stays resident is compared with what is needed: nothing for opening, the weights
 * of one token for computing one. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "bench/bench.h"
#include "bench/options.h"
#include "bench/report.h"
#include "engine/engine.h"

#define READ_BYTES  (4U << 20)
#define THREADS_MAX 256

struct arguments {
        const char *model;
        unsigned n_threads, n_runs;
        bool json;
};

/* Resident memory of this process, from the kernel's own sum over its mappings. */
struct resident {
        uint64_t anonymous, file;
};

/* What a run's process sends back. */
struct outcome {
        double open_s, first_s; /* from the start of the process' work */
        struct resident opened, computed;
        uint64_t decode_bytes;
        struct error error; /* code 0: none */
};

static int read_resident(struct resident *ret) {
        FILE *f = fopen("/proc/self/smaps_rollup", "re");
        if (!f)
                return -errno;
        char line[256];
        uint64_t kib, rss = 0;
        *ret = (struct resident){ 0 };
        while (fgets(line, sizeof(line), f)) {
                if (sscanf(line, "Rss: %" SCNu64, &kib) == 1)
                        rss = kib << 10;
                else if (sscanf(line, "Anonymous: %" SCNu64, &kib) == 1)
                        ret->anonymous = kib << 10;
        }
        fclose(f);
        ret->file = rss - ret->anonymous;
        return rss > 0 ? 0 : -EIO;
}

/* One token through the model. */
static int compute(struct engine *engine, struct error *err) {
        struct sequence *sequence;
        CLEANUP_FREE float *logits = calloc(engine_config(engine)->vocab_size, sizeof(float));
        if (!logits || sequence_new(engine, &sequence) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        struct batch_part part = { sequence, &engine_config(engine)->bos_id, 1, 1, logits };
        int r = engine_step(engine, &part, 1, err);
        sequence_free(sequence);
        return r;
}

static int load(const struct arguments *a, struct outcome *o) {
        struct engine_options options = { .model_dir = a->model, .n_threads = a->n_threads };
        struct engine *engine;
        uint64_t start = clock_ns();
        int r = engine_open(&options, &engine, &o->error);
        if (r < 0)
                return r;
        o->open_s = (double)(clock_ns() - start) / (double)NS_PER_S;
        r = read_resident(&o->opened);
        start = clock_ns();
        if (r == 0)
                r = compute(engine, &o->error);
        o->first_s = o->open_s + (double)(clock_ns() - start) / (double)NS_PER_S;
        o->decode_bytes = engine_decode_bytes(engine);
        if (r == 0)
                r = read_resident(&o->computed);
        if (r < 0 && o->error.code == 0)
                error_set(&o->error, r, "/proc/self/smaps_rollup cannot be read");
        return r; /* the process ends: nothing to close */
}

static int run_process(const struct arguments *a, struct outcome *ret, struct error *err) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
                return error_errno(err, "pipe");
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
                struct outcome o = { 0 };
                load(a, &o);
                _exit(write(ends[1], &o, sizeof(o)) != sizeof(o));
        }
        int r = child < 0 ? error_errno(err, "fork") : 0;
        close(ends[1]);
        if (r == 0 && read(ends[0], ret, sizeof(*ret)) != sizeof(*ret))
                r = error_set(err, -EIO, "the process that loads the model ended early");
        close(ends[0]);
        if (child > 0)
                waitpid(child, NULL, 0);
        if (r == 0 && ret->error.code < 0) {
                *err = ret->error;
                r = err->code;
        }
        return r;
}

static int read_file(const char *path, uint8_t *buffer, uint64_t *bytes, struct error *err) {
        CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : 1;
        while (n > 0) {
                n = read(fd, buffer, READ_BYTES);
                if (n > 0)
                        *bytes += (uint64_t)n;
        }
        return n < 0 ? error_errno(err, "%s", path) : 0;
}

/* Reads every safetensors file of the model, as a loader would that copies. */
static int read_all(const char *model, double *ret_s, uint64_t *ret_bytes, struct error *err) {
        CLEANUP_FREE uint8_t *buffer = malloc(READ_BYTES);
        DIR *dir = opendir(model);
        int r = !dir     ? error_errno(err, "%s", model)
                : buffer ? 0
                         : error_set(err, -ENOMEM, "out of memory");
        uint64_t start = clock_ns();
        *ret_bytes = 0;
        for (struct dirent *entry; r == 0 && (entry = readdir(dir));) {
                char path[PATH_MAX];
                size_t n = strlen(entry->d_name), suffix = strlen(".safetensors");
                if (n < suffix || strcmp(entry->d_name + n - suffix, ".safetensors") != 0)
                        continue;
                snprintf(path, sizeof(path), "%s/%s", model, entry->d_name);
                r = read_file(path, buffer, ret_bytes, err);
        }
        *ret_s = (double)(clock_ns() - start) / (double)NS_PER_S;
        if (dir)
                closedir(dir);
        return r;
}

static int run(const struct arguments *a, struct error *err) {
        struct series reading = { 0 }, files = { 0 }, open = { 0 }, first = { 0 }, needed = { 0 };
        struct series opened[2] = { { 0 } }, computed[2] = { { 0 } };
        int r = 0;
        for (unsigned i = 0; r == 0 && i < a->n_runs; i++) {
                struct outcome o;
                double seconds;
                uint64_t bytes;
                r = read_all(a->model, &seconds, &bytes, err);
                if (r == 0)
                        r = run_process(a, &o, err);
                if (r < 0)
                        break;
                series_add(&reading, seconds);
                series_add(&files, (double)bytes);
                series_add(&open, o.open_s);
                series_add(&first, o.first_s);
                series_add(&needed, (double)o.decode_bytes);
                series_add(&opened[0], (double)o.opened.file);
                series_add(&opened[1], (double)o.opened.anonymous);
                series_add(&computed[0], (double)o.computed.file);
                series_add(&computed[1], (double)o.computed.anonymous);
        }
        const struct measurement rows[] = {
                { "load.open", "s", &open, "reading all weight files", &reading },
                { "load.first_logits", "s", &first, "reading all weight files", &reading },
                { "load.open.file", "bytes", &opened[0], "bytes of all weight files", &files },
                { "load.open.anonymous", "bytes", &opened[1], "bytes of all weight files", &files },
                { "load.token.file", "bytes", &computed[0], "weight bytes of one token", &needed },
                { "load.token.anonymous", "bytes", &computed[1], "bytes of all weight files",
                  &files },
        };
        if (r == 0)
                report_print(rows, sizeof(rows) / sizeof(*rows), report_cpu(), a->json);
        struct series *all[] = { &reading,   &files,     &open,        &first,      &needed,
                                 &opened[0], &opened[1], &computed[0], &computed[1] };
        for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
                series_deinit(all[i]);
        return r;
}

static int parse(int argc, char **argv, struct arguments *a) {
        const struct option_rule rules[] = {
                OPTION_REQUIRED("model", "DIR", &a->model, "model folder"),
                OPTION_NUMBER("threads", &a->n_threads, 1, THREADS_MAX, "default: one per CPU"),
                OPTION_NUMBER("runs", &a->n_runs, 1, 1000, "default 5"),
                OPTION_FLAG("json", &a->json, "one JSON object a line"),
        };
        const struct command_line line = {
                "load", "Time to open a model and to its first logits, and what then is resident.",
                rules, sizeof(rules) / sizeof(rules[0])
        };
        return options_parse(&line, argc, argv);
}

int bench_load(int argc, char **argv) {
        struct arguments a = { .n_runs = 5 };
        struct error err = { 0 };
        if (parse(argc, argv, &a) < 0)
                return 2;
        int r = run(&a, &err);
        if (r < 0)
                fprintf(stderr, "seekd-bench load: %s\n", err.text);
        return r < 0;
}
