/* One question, one answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "client/seek/answer.h"
#include "client/seek/conversation.h"

/* The question, and standard input behind it when something is piped in. */
static bool add_question(struct conversation *conversation, const char *question, int *ret_exit) {
        struct input input = { NULL, 0 };
        bool piped = !isatty(STDIN_FILENO);
        if (!question && !piped) {
                *ret_exit = usage_error("what is the QUESTION?");
                return false;
        }
        if (piped && !read_input("-", &input, ret_exit))
                return false;
        if (!question && input.n == 0) {
                *ret_exit = usage_error("there is no QUESTION, and nothing in standard input");
                return false;
        }
        char *text = NULL;
        size_t n = 0;
        FILE *out = open_memstream(&text, &n);
        if (out && question)
                fputs(question, out);
        if (out && question && input.n > 0)
                fputs("\n\n", out);
        if (out && input.n > 0)
                fwrite(input.bytes, 1, input.n, out);
        bool ok = out && fclose(out) == 0 && conversation_add(conversation, "user", text, n);
        if (!ok) {
                fputs("seek: the question is not UTF-8\n", stderr);
                *ret_exit = EXIT_REFUSED;
        }
        free(text);
        input_deinit(&input);
        return ok;
}

static int report(const struct generation *generation, const struct answer *answer,
                  bool interrupted) {
        const struct seekd_result *result = &answer->result;
        int exit_code = EXIT_DONE;
        if (answer->broken) {
                fputs("seek: the output could not be kept or written\n", stderr);
                return EXIT_FAILED;
        }
        if (result->code < 0)
                exit_code = report_failure(result->code, result->error, false);
        else
                exit_code = exit_code_of_finish(result->finish, interrupted);
        if (result->tool_call_incomplete)
                fputs("seek: the last call of a function is not finished\n", stderr);
        if (generation->stats && result->code == 0)
                print_stats(result);
        if (!generation->json)
                return exit_code;
        int r = print_json(answer_json(answer));
        return exit_code == EXIT_DONE ? r : exit_code;
}

static int ask(struct generation *generation, const struct conversation *conversation) {
        int exit_code = EXIT_FAILED;
        struct seekd_client *client =
                connect_or_report(generation->socket_path, generation->json, &exit_code);
        CLEANUP_CLOSE int signal_fd = client ? open_signal_fd() : -1;
        struct seekd_chat *view = client ? conversation_view(conversation) : NULL;
        if (view && signal_fd >= 0) {
                struct answer answer = { .keep_only = generation->json,
                                         .terminal = isatty(STDOUT_FILENO) };
                conversation_fill(conversation, view, &generation->params);
                bool interrupted = answer_run(&answer, client, &generation->params, signal_fd);
                exit_code = report(generation, &answer, interrupted);
                answer_deinit(&answer);
        }
        free(view);
        seekd_disconnect(client);
        return exit_code;
}

static int run(int argc, char **argv, const struct command *command) {
        static const struct option options[] = {
                GENERATION_OPTIONS,
                CONVERSATION_OPTIONS,
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        struct generation generation = GENERATION_INIT;
        CLEANUP(conversation_deinit) struct conversation conversation;
        if (!conversation_init(&conversation))
                return EXIT_FAILED;
        generation.params.max_tokens = ANSWER_TOKENS_DEFAULT;
        int option, exit_code = EXIT_USAGE;
        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (option == 'h') {
                        fputs(command->help, stdout);
                        return EXIT_DONE;
                }
                bool taken = option >= OPTION_SYSTEM
                        ? conversation_take_option(&conversation, option, optarg, &exit_code)
                        : generation_take_option(&generation, option, optarg);
                if (!taken)
                        return exit_code;
        }
        if (argc - optind > 1)
                return usage_error("ask takes one QUESTION; quote it, '%s' is one too many",
                                   argv[optind + 1]);
        if (!add_question(&conversation, argv[optind], &exit_code))
                return exit_code;
        return ask(&generation, &conversation);
}

const struct command command_ask = {
        .name = "ask",
        .summary = "answer one question",
        .help = "usage: seek ask [OPTION...] [QUESTION]\n\n"
                "Prints the model's answer as it comes. What is piped in is put behind the "
                "QUESTION, or "
                "is\n"
                "it. Reasoning is shown on a terminal only; a call of a function is shown as "
                "'> NAME\n"
                "ARGUMENTS'.\n\n" CONVERSATION_HELP GENERATION_HELP,
        .run = run,
};
