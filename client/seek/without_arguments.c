#include <getopt.h>
#include <stdio.h>

#include "client/seek/seek.h"

int run_without_arguments(int argc, char **argv, const struct command *command,
                          int (*ask)(struct seekd_client *client, bool json)) {
        static const struct option options[] = {
                { "json", no_argument, NULL, 'j' },
                { "socket", required_argument, NULL, 'S' },
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        const char *socket_path = NULL;
        bool json = false;
        int option;
        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                switch (option) {
                case 'j': json = true; break;
                case 'S': socket_path = optarg; break;
                case 'h': fputs(command->help, stdout); return EXIT_DONE;
                default: return EXIT_USAGE;
                }
        }
        if (argc > optind)
                return usage_error("%s takes no argument; '%s' is one too many", command->name,
                                   argv[optind]);
        int exit_code = EXIT_FAILED;
        struct seekd_client *client = connect_or_report(socket_path, json, &exit_code);
        if (client)
                exit_code = ask(client, json);
        seekd_disconnect(client);
        return exit_code;
}
