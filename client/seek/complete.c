#include <stdio.h>

#include "client/seek/seek.h"

enum { OPTION_SESSION = 'I' };

static int run(int argc, char **argv, const struct command *command) {
        static const struct option options[] = {
                GENERATION_OPTIONS,
                { "session", required_argument, NULL, OPTION_SESSION },
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        struct generation generation = GENERATION_INIT;
        int option;
        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (option == 'h') {
                        fputs(command->help, stdout);
                        return EXIT_DONE;
                }
                if (option == OPTION_SESSION) {
                        if (!parse_session(optarg, &generation.params.session))
                                return EXIT_USAGE;
                        continue;
                }
                if (!generation_take_option(&generation, option, optarg))
                        return EXIT_USAGE;
        }
        if (argc - optind > 1)
                return usage_error("complete takes one FILE; '%s' is one too many",
                                   argv[optind + 1]);

        struct input input;
        int exit_code = EXIT_FAILED;
        if (!read_input(argv[optind], &input, &exit_code))
                return exit_code;
        /* A session may go on by itself. */
        generation.params.prompt =
                generation.params.session != 0 && input.n == 0 ? NULL : input.bytes;
        generation.params.prompt_bytes = input.n;
        exit_code = generation_run(&generation);
        input_deinit(&input);
        return exit_code;
}

const struct command command_complete = {
        .name = "complete",
        .summary = "go on where a text ends",
        .help = "usage: seek complete [OPTION...] [FILE|-]\n\n"
                "Prints what the model writes after the text of FILE or of standard input, as it "
                "comes.\n\n"
                "  --session ID       behind what the session has; text and answer become part of "
                "it\n"
                "                     (without text: goes on where it ends)\n" GENERATION_HELP,
        .run = run,
};
