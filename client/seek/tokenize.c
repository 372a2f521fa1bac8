#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/seek/seek.h"

struct options {
        const char *socket_path;
        uint32_t flags; /* enum seekd_flag */
        bool decode;
        bool json;
};

static int encode(struct seekd_client *client, const struct options *options,
                  const struct input *input) {
        uint32_t *ids = NULL;
        size_t n = 0;
        int code = seekd_tokenize(client, input->bytes, input->n, options->flags, &ids, &n);
        if (code < 0)
                return report_failure(code, seekd_last_error(client), options->json);
        int exit_code = print_ids(ids, n, options->json);
        seekd_free(ids);
        return exit_code;
}

static int decode(struct seekd_client *client, const struct options *options,
                  const struct input *input) {
        uint32_t *ids = NULL;
        size_t n_ids = 0;
        if (!input_ids(input, &ids, &n_ids))
                return EXIT_REFUSED;
        char *text = NULL;
        size_t n = 0;
        int code = seekd_detokenize(client, ids, n_ids, options->flags, &text, &n);
        free(ids);
        if (code < 0)
                return report_failure(code, seekd_last_error(client), options->json);
        int exit_code = EXIT_DONE;
        if (options->json) {
                json_t *string = json_stringn(text, n);
                exit_code = string ? print_json(json_pack("{s:o}", "text", string))
                                   : report_failure(SEEKD_E_INVALID,
                                                    "these ids do not end or begin at a whole "
                                                    "character, which JSON can not hold",
                                                    true);
        } else if (fwrite(text, 1, n, stdout) != n || fflush(stdout) != 0) {
                exit_code =
                        report_failure(SEEKD_E_SYSTEM, "writing to standard output failed", false);
        }
        seekd_free(text);
        return exit_code;
}

static int run(int argc, char **argv, const struct command *command) {
        static const struct option long_options[] = {
                { "decode", no_argument, NULL, 'd' },
                { "special", no_argument, NULL, 's' },
                { "bos", no_argument, NULL, 'b' },
                { "json", no_argument, NULL, 'j' },
                { "socket", required_argument, NULL, 'S' },
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        struct options options = { 0 };
        int option;
        while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
                switch (option) {
                case 'd': options.decode = true; break;
                case 's': options.flags |= SEEKD_PARSE_SPECIAL | SEEKD_ECHO_SPECIAL; break;
                case 'b': options.flags |= SEEKD_ADD_BOS; break;
                case 'j': options.json = true; break;
                case 'S': options.socket_path = optarg; break;
                case 'h': fputs(command->help, stdout); return EXIT_DONE;
                default: return EXIT_USAGE;
                }
        }
        if (argc - optind > 1)
                return usage_error("tokenize takes one FILE; '%s' is one too many",
                                   argv[optind + 1]);
        struct input input;
        int exit_code = EXIT_FAILED;
        if (!read_input(argv[optind], &input, &exit_code))
                return exit_code;
        struct seekd_client *client =
                connect_or_report(options.socket_path, options.json, &exit_code);
        if (client)
                exit_code = options.decode ? decode(client, &options, &input)
                                           : encode(client, &options, &input);
        seekd_disconnect(client);
        input_deinit(&input);
        return exit_code;
}

const struct command command_tokenize = {
        .name = "tokenize",
        .summary = "text to token ids, or back",
        .help = "usage: seek tokenize [OPTION...] [FILE|-]\n\n"
                "Prints the token ids of the text of FILE or of standard input.\n\n"
                "  --decode           the other way: reads ids (also as a JSON array), prints "
                "their text\n"
                "  --special          text forms of special tokens become those tokens; with "
                "--decode,\n"
                "                     special tokens become text\n"
                "  --bos              begin with the token that begins every text\n"
                "  --json             print one JSON object\n"
                "  --socket PATH      where the daemon listens\n"
                "  --help             this text\n",
        .run = run,
};
