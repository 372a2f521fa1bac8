/* seek: the daemon from the shell. */
#include <stdio.h>
#include <string.h>

#include "client/seek/seek.h"

static const struct command *const commands[] = {
        &command_complete, &command_fim,    &command_chat,     &command_ask,
        &command_tokenize, &command_hint,   &command_sessions, &command_cache,
        &command_import,   &command_status, &command_top,      &command_metrics,
};

static void print_usage(FILE *file) {
        fputs("usage: seek COMMAND [OPTION...]\n\n", file);
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
                fprintf(file, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
        fputs("\n'seek COMMAND --help' explains a command; seek(1) everything.\n", file);
}

int main(int argc, char **argv) {
        if (argc < 2) {
                print_usage(stderr);
                return EXIT_USAGE;
        }
        if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
                print_usage(stdout);
                return EXIT_DONE;
        }
        if (strcmp(argv[1], "--version") == 0) {
                printf("seek %s\n", seekd_version());
                return EXIT_DONE;
        }
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
                if (strcmp(argv[1], commands[i]->name) != 0)
                        continue;
                /* The name that getopt_long() puts before its messages. */
                char name[32];
                snprintf(name, sizeof(name), "seek %s", commands[i]->name);
                argv[1] = name;
                return commands[i]->run(argc - 1, argv + 1, commands[i]);
        }
        usage_error("'%s' is no command of seek; 'seek --help' lists them", argv[1]);
        return EXIT_USAGE;
}
