#include <stdio.h>

#include "client/seek/seek.h"

struct options {
        const char *socket_path;
        struct seekd_params params;
        bool json;
};

struct outcome {
        bool over;
        int code;
        char text[SEEKD_ERROR_BYTES];
};

static void take_result(void *userdata, struct seekd_request *request,
                        const struct seekd_result *result) {
        (void)request;
        struct outcome *outcome = userdata;
        outcome->over = true;
        outcome->code = result->code;
        snprintf(outcome->text, sizeof(outcome->text), "%s", result->error);
}

static int hint(struct seekd_client *client, const struct options *options) {
        struct outcome outcome = { 0 };
        int code = seekd_hint(client, &options->params, take_result, &outcome);
        while (code >= 0 && !outcome.over)
                code = seekd_dispatch(client, -1);
        if (outcome.over && outcome.code < 0)
                return report_failure(outcome.code, outcome.text, options->json);
        if (code < 0)
                return report_failure(code, seekd_last_error(client), options->json);
        return options->json ? print_json(json_pack("{s:b}", "noted", 1)) : EXIT_DONE;
}

/* False: *ret_exit is the exit code. */
static bool read_options(int argc, char **argv, const struct command *command,
                         struct options *options, int *ret_exit) {
        static const struct option long_options[] = {
                { "session", required_argument, NULL, 'I' },
                { "special", no_argument, NULL, 'p' },
                { "json", no_argument, NULL, 'j' },
                { "socket", required_argument, NULL, 'S' },
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        int option;
        *ret_exit = EXIT_USAGE;
        while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
                switch (option) {
                case 'I':
                        if (!parse_session(optarg, &options->params.session))
                                return false;
                        break;
                case 'p': options->params.flags |= SEEKD_PARSE_SPECIAL; break;
                case 'j': options->json = true; break;
                case 'S': options->socket_path = optarg; break;
                case 'h':
                        fputs(command->help, stdout);
                        *ret_exit = EXIT_DONE;
                        return false;
                default: return false;
                }
        }
        if (argc - optind > 1) {
                usage_error("hint takes one FILE; '%s' is one too many", argv[optind + 1]);
                return false;
        }
        return true;
}

static int run(int argc, char **argv, const struct command *command) {
        struct options options = { .params = SEEKD_PARAMS_INIT };
        struct input input;
        int exit_code = EXIT_FAILED;
        if (!read_options(argc, argv, command, &options, &exit_code) ||
            !read_input(argv[optind], &input, &exit_code))
                return exit_code;
        /* A session may be gone on with as it is. */
        options.params.prompt = options.params.session != 0 && input.n == 0 ? NULL : input.bytes;
        options.params.prompt_bytes = input.n;
        struct seekd_client *client =
                connect_or_report(options.socket_path, options.json, &exit_code);
        if (client)
                exit_code = hint(client, &options);
        seekd_disconnect(client);
        input_deinit(&input);
        return exit_code;
}

const struct command command_hint = {
        .name = "hint",
        .summary = "say what will probably be asked soon",
        .help = "usage: seek hint [OPTION...] [FILE|-]\n\n"
                "Has the daemon prepare the text of FILE or of standard input while nobody needs "
                "the\nmachine, so that a prompt that begins with it is answered sooner. Returns at "
                "once.\nThe newest hint of a user counts, for a minute.\n\n"
                "  --session ID       the text comes behind what the session has (without text: "
                "the\n"
                "                     session will be gone on with)\n"
                "  --special          text forms of special tokens become those tokens\n"
                "  --json             print one JSON object\n"
                "  --socket PATH      where the daemon listens\n"
                "  --help             this text\n",
        .run = run,
};
