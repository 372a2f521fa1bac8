/* seekd: the command line. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/config.h"
#include "daemon/engram.h"
#include "daemon/import.h"
#include "daemon/keeper.h"
#include "daemon/limits.h"
#include "daemon/memory_plan.h"
#include "daemon/server.h"
#include "daemon/state_folder.h"

static const char usage[] =
        "Usage: seekd [OPTION]...\n"
        "Keeps one model resident and serves local programs over a Unix socket.\n\n"
        "  --config FILE      read FILE instead of " CONFIG_PATH_DEFAULT "\n"
        "  --model DIR        folder with config.json, tokenizer.json and model.safetensors\n"
        "  --socket PATH      listen here, unless systemd passes a socket\n"
        "  --state DIR        folder for what outlives the daemon\n"
        "  --backend NAME     auto, cpu or reference\n"
        "  --threads N        threads that compute, 0 = one per CPU\n"
        "  --device-kv SIZE   memory for the KV of running requests, such as 512M\n"
        "  --log-level LEVEL  error, warning, notice, info or debug\n"
        "  --check            load configuration and model, say whether they are fine and what\n"
        "                     fits the memory, and exit\n"
        "  --import           copy the model's Engram tables into the state folder, or compare\n"
        "                     those that are there, and exit\n"
        "  --json             with --import: progress and result as JSON, one object a line\n"
        "  --version          print the version and exit\n"
        "  --help             print this and exit\n\n"
        "Exit status: 0 stopped in peace, 1 configuration or model refused, 2 wrong usage,\n"
        "3 socket or state folder not available, 4 internal error. See seekd(8).\n";

enum {
        OPTION_CONFIG = 256,
        OPTION_CHECK,
        OPTION_IMPORT,
        OPTION_JSON,
        OPTION_VERSION,
        OPTION_HELP,
        OPTION_SETTING
};

/* Options that set a key of the configuration file. */
static const struct setting {
        const char *option, *section, *key;
} settings[] = {
        { "model", "model", "path" },           { "socket", "server", "socket" },
        { "state", "server", "state" },         { "backend", "engine", "backend" },
        { "threads", "engine", "threads" },     { "device-kv", "memory", "device_kv" },
        { "log-level", "server", "log_level" },
};
#define N_SETTINGS (sizeof(settings) / sizeof(settings[0]))

struct command_line {
        const char *config_path; /* NULL = the default, which may be missing */
        const char *values[N_SETTINGS];
        bool check, import, json;
};

/* -1: go on; else the status to exit with. */
static int parse(int argc, char **argv, struct command_line *ret) {
        struct option list[N_SETTINGS + 7] = {
                { "config", required_argument, NULL, OPTION_CONFIG },
                { "check", no_argument, NULL, OPTION_CHECK },
                { "import", no_argument, NULL, OPTION_IMPORT },
                { "json", no_argument, NULL, OPTION_JSON },
                { "version", no_argument, NULL, OPTION_VERSION },
                { "help", no_argument, NULL, OPTION_HELP },
        };
        for (size_t i = 0; i < N_SETTINGS; i++)
                list[6 + i] = (struct option){ settings[i].option, required_argument, NULL,
                                               OPTION_SETTING + (int)i };

        for (int c; (c = getopt_long(argc, argv, "", list, NULL)) != -1;) {
                if (c == OPTION_CONFIG) {
                        ret->config_path = optarg;
                } else if (c == OPTION_CHECK) {
                        ret->check = true;
                } else if (c == OPTION_IMPORT) {
                        ret->import = true;
                } else if (c == OPTION_JSON) {
                        ret->json = true;
                } else if (c == OPTION_VERSION) {
                        printf("seekd %s\n", SEEKD_VERSION);
                        return EXIT_STATUS_OK;
                } else if (c == OPTION_HELP) {
                        fputs(usage, stdout);
                        return EXIT_STATUS_OK;
                } else if (c >= OPTION_SETTING) {
                        ret->values[c - OPTION_SETTING] = optarg;
                } else {
                        fputs("Try 'seekd --help'.\n", stderr);
                        return EXIT_STATUS_USAGE;
                }
        }
        if (optind < argc) {
                fprintf(stderr, "seekd: unexpected argument '%s'\nTry 'seekd --help'.\n",
                        argv[optind]);
                return EXIT_STATUS_USAGE;
        }
        if (ret->json && !ret->import) {
                fputs("seekd: --json goes with --import alone\nTry 'seekd --help'.\n", stderr);
                return EXIT_STATUS_USAGE;
        }
        return -1;
}

static int configure(const struct command_line *line, struct config *ret, struct error *err) {
        int r = config_init(ret, err);
        if (r < 0)
                return r;
        r = config_read(ret, line->config_path ? line->config_path : CONFIG_PATH_DEFAULT, err);
        if (r < 0 && (r != -ENOENT || line->config_path))
                return r;
        for (size_t i = 0; i < N_SETTINGS; i++) {
                if (!line->values[i])
                        continue;
                r = config_set(ret, settings[i].section, settings[i].key, line->values[i], err);
                if (r < 0)
                        return error_prefix(err, "--%s", settings[i].option);
        }
        return 0;
}

static double megabytes(uint64_t bytes) {
        return (double)bytes / 1048576;
}

static void show_plan(const struct engine *engine, const struct config *config,
                      const struct memory_plan *plan) {
        uint64_t resident = engine_kv_bytes(engine, plan->context, false);
        if (plan->device_bytes > 0)
                printf("device_kv  %.1f MB\n", megabytes(plan->device_bytes));
        else
                printf("device_kv  no bound\n");
        printf("host_kv    %.1f MB, disk_kv %.1f MB%s\n", megabytes(config->host_kv),
               megabytes(config->disk_kv), config->state_dir[0] ? "" : ", no state folder");
        printf("a request  up to %u tokens: %.1f MB on the device", plan->context,
               megabytes(resident));
        if (plan->host_bytes > 0)
                printf(", %.1f MB when spilled, with %u hot rows",
                       megabytes(engine_kv_bytes(engine, plan->context, true)), config->hot_rows);
        printf("\n");
}

static int check(const struct config *config) {
        struct engram_options engram_options = { .state_dir = config->state_dir,
                                                 .import = ENGRAM_IMPORT_NEVER,
                                                 .cache_rows = config->engram_cache_rows };
        struct engram *engram;
        if (engram_new(&engram_options, &engram) < 0)
                return EXIT_STATUS_INTERNAL;
        struct engram_rows rows = engram_rows(engram);
        struct engine_options options = {
                .model_dir = config->model_dir,
                .compute = config->compute,
                .backend = config->backend,
                .n_threads = config->n_threads,
                .batch_rows_max = STEP_ROWS,
                .device_kv_bytes = config->device_kv,
                .hot_rows = config->hot_rows,
                .engram_rows = &rows,
        };
        struct error err = { 0 };
        struct memory_plan plan;
        struct engine *engine = NULL;
        int r = engine_open(&options, &engine, &err);
        if (r == 0)
                r = memory_plan(engine, config->device_kv,
                                keeper_user_bytes(config->host_kv, config->user_kv), &plan, &err);
        if (r < 0) {
                fprintf(stderr, "seekd: %s\n", err.text);
        } else {
                printf("configuration and model are fine: %s, %s, context %u\n", config->model_dir,
                       engine_backend_name(engine), engine_config(engine)->max_positions);
                show_plan(engine, config, &plan);
        }
        engine_close(engine);
        engram_free(engram);
        return r < 0 ? EXIT_STATUS_REFUSED : EXIT_STATUS_OK;
}

/* Each connection takes two descriptors; the soft limit of 1,024 is for programs that still use
 * select(2). */
static void raise_descriptor_limit(void) {
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv) {
        struct command_line line = { 0 };
        int status = parse(argc, argv, &line);
        if (status >= 0)
                return status;

        struct config config;
        struct error err = { 0 };
        if (configure(&line, &config, &err) < 0) {
                fprintf(stderr, "seekd: %s\n", err.text);
                return EXIT_STATUS_REFUSED;
        }
        log_init(config.log_level);
        if (line.check)
                return check(&config);

        CLEANUP_CLOSE int state = -1;
        if (config.state_dir[0] != '\0' &&
            (state = state_folder_open(config.state_dir, &err)) < 0) {
                log_error("%s", err.text);
                return EXIT_STATUS_SOCKET;
        }
        if (line.import)
                return (int)import_tables(&config, line.json);
        raise_descriptor_limit();
        return (int)server_run(&config);
}
