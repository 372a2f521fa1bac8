/* seekd-bench: measurements with the reference beside each. */
#include "bench/bench.h"

#include <stdio.h>
#include <string.h>

static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
        const char *what;
} commands[] = {
        { "ipc", bench_ipc,
          "the ring between daemon and client, beside sockets, a pipe and a futex" },
        { "engine", bench_engine, "tokens per second of a model, beside what memory would allow" },
        { "engram", bench_engram, "Engram tables on disk, beside disk and memory alone" },
        { "grammar", bench_grammar, "masks of tokens under a JSON schema, beside a draw" },
        { "kv", bench_kv, "memory and time that kept KV saves, beside having none kept" },
        { "load", bench_load, "time and memory of loading a model, beside reading its files" },
        { "agents", bench_agents, "agents at work through a daemon, beside a queue and a limit" },
        { "tokenizer", bench_tokenizer, "text to ids, beside a plain way to cut text" },
        { "make-checkpoint", bench_make_checkpoint,
          "write a checkpoint of random weights, of any size" },
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *to) {
        fprintf(to, "Usage: seekd-bench COMMAND [--json] [OPTION...]\n\nCommands:\n");
        for (size_t i = 0; i < N_COMMANDS; i++)
                fprintf(to, "  %-16s %s\n", commands[i].name, commands[i].what);
        fprintf(to,
                "\nseekd-bench COMMAND --help lists a command's options. See seekd-bench(1).\n");
}

int main(int argc, char **argv) {
        if (argc < 2) {
                usage(stderr);
                return 2;
        }
        if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
                usage(stdout);
                return 0;
        }
        if (!strcmp(argv[1], "--version")) {
                printf("seekd-bench %s\n", SEEKD_VERSION);
                return 0;
        }
        for (size_t i = 0; i < N_COMMANDS; i++)
                if (!strcmp(argv[1], commands[i].name))
                        return commands[i].run(argc - 1, argv + 1);
        fprintf(stderr, "seekd-bench: no command '%s'\n", argv[1]);
        usage(stderr);
        return 2;
}
