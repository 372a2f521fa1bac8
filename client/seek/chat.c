/* A conversation on a terminal, through a pipe, or as JSON lines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "client/seek/answer.h"
#include "client/seek/conversation.h"
#include "client/seek/line_reader.h"

struct session {
        struct generation generation;
        struct conversation conversation;
        struct seekd_client *client;
        struct line_reader reader;
        int signal_fd;
        bool terminal;   /* a person types */
        json_t *waiting; /* calls of the last answer whose results are not there yet */
        int exit_code;
        bool over;
};

static const char help[] =
        "/think on|off|N    reason before answering, or not, or how thoroughly (1 to 100)\n"
        "/system TEXT       begin again with these instructions\n"
        "/reset             begin again\n"
        "/help              this text\n"
        "/quit              leave (also Ctrl-D)\n"
        "Ctrl-C stops an answer. When a function is called, the next line is its result.\n";

static void note_failure(struct session *session, int exit_code) {
        session->exit_code = exit_code;
        session->over = exit_code == EXIT_LOST || exit_code == EXIT_FAILED;
}

/* -------- answers -------- */

/* For programs: one line each, whatever happens. */
static void report_json(struct session *session, const struct answer *answer) {
        const struct seekd_result *result = &answer->result;
        if (result->code < 0)
                note_failure(session, report_failure(result->code, result->error, true));
        else if (print_json(answer_json(answer)) != EXIT_DONE)
                note_failure(session, EXIT_FAILED);
}

static void report_text(struct session *session, const struct answer *answer, bool interrupted) {
        const struct seekd_result *result = &answer->result;
        if (answer->broken) {
                fputs("seek: the output could not be kept or written\n", stderr);
                note_failure(session, EXIT_FAILED);
        } else if (result->code < 0) {
                note_failure(session, report_failure(result->code, result->error, false));
        } else if (!interrupted) {
                int exit_code = exit_code_of_finish(result->finish, false);
                if (exit_code != EXIT_DONE)
                        note_failure(session, exit_code);
        }
        if (result->tool_call_incomplete)
                fputs("seek: the last call of a function is not finished\n", stderr);
        if (session->generation.stats && result->code == 0)
                print_stats(result);
}

/* Answers the messages from n_before on. When that fails they are forgotten, and can be sent again.
 */
static void answer_conversation(struct session *session, size_t n_before) {
        struct seekd_chat *view = conversation_view(&session->conversation);
        if (!view) {
                note_failure(session, EXIT_FAILED);
                return;
        }
        bool json = session->generation.json;
        struct answer answer = { .keep_only = json, .terminal = isatty(STDOUT_FILENO) };
        struct seekd_params *params = &session->generation.params;
        conversation_fill(&session->conversation, view, params);
        bool interrupted = answer_run(&answer, session->client, params, session->signal_fd);
        free(view);
        if (json)
                report_json(session, &answer);
        else
                report_text(session, &answer, interrupted);
        json_t *messages = session->conversation.messages;
        if (answer.result.code < 0) {
                while (json_array_size(messages) > n_before)
                        json_array_remove(messages, n_before);
        } else {
                json_array_append_new(messages, answer_message(&answer));
                json_decref(session->waiting);
                session->waiting = json_incref(answer.calls);
        }
        answer_deinit(&answer);
}

/* -------- what is typed -------- */

static void reset(struct session *session, const char *system, size_t n) {
        json_t *messages = session->conversation.messages;
        const json_t *first = json_array_get(messages, 0);
        const char *role = json_string_value(json_object_get(first, "role"));
        bool keeps = !system && role && strcmp(role, "system") == 0;
        while (json_array_size(messages) > (keeps ? 1 : 0))
                json_array_remove(messages, json_array_size(messages) - 1);
        json_decref(session->waiting);
        session->waiting = NULL;
        if (system && n > 0 && !conversation_add(&session->conversation, "system", system, n))
                fputs("seek: the text is not UTF-8\n", stderr);
}

static void set_thinking(struct seekd_chat *chat, const char *value) {
        char *end;
        unsigned long effort = strtoul(value, &end, 10);
        if (strcmp(value, "on") == 0 || strcmp(value, "off") == 0) {
                chat->thinking = strcmp(value, "on") == 0;
        } else if (*value && !*end && effort >= 1 && effort <= 100) {
                chat->thinking = 1;
                chat->effort = (uint32_t)effort;
        } else {
                fputs("seek: /think takes on, off, or a number from 1 to 100\n", stderr);
        }
}

static void command(struct session *session, const char *line, size_t n) {
        size_t word = strcspn(line, " \t");
        size_t at = word + strspn(line + word, " \t");
        if (strncmp(line, "/quit", word) == 0)
                session->over = true;
        else if (strncmp(line, "/help", word) == 0)
                fputs(help, stderr);
        else if (strncmp(line, "/reset", word) == 0)
                reset(session, NULL, 0);
        else if (strncmp(line, "/system", word) == 0)
                reset(session, line + at, n - at);
        else if (strncmp(line, "/think", word) == 0)
                set_thinking(&session->conversation.chat, line + at);
        else
                fprintf(stderr, "seek: %.*s is no command; /help lists them\n", (int)word, line);
}

/* The line is the result of the first call that waits. */
static bool add_result(struct session *session, const char *line, size_t n) {
        const json_t *call = json_array_get(session->waiting, 0);
        json_t *content = json_stringn(line, n);
        if (!content)
                return false;
        json_array_append_new(session->conversation.messages,
                              json_pack("{s:s, s:o, s:O}", "role", "tool", "content", content,
                                        "tool_call_id", json_object_get(call, "id")));
        json_array_remove(session->waiting, 0);
        return true;
}

static void take_text(struct session *session, const char *line, size_t n) {
        size_t n_before = json_array_size(session->conversation.messages);
        bool result = json_array_size(session->waiting) > 0;
        if (!result && n == 0)
                return;
        if (!result && line[0] == '/') {
                command(session, line, n);
                return;
        }
        bool ok = result ? add_result(session, line, n)
                         : conversation_add(&session->conversation, "user", line, n);
        if (!ok) {
                fputs("seek: the line is not UTF-8\n", stderr);
                session->exit_code = EXIT_REFUSED;
        } else if (json_array_size(session->waiting) == 0) {
                answer_conversation(session, n_before);
        }
}

/* -------- what a program sends -------- */

static void refuse_line(struct session *session, const char *what) {
        note_failure(session, report_failure(SEEKD_E_INVALID, what, true));
}

/* Whether the last message is one that a model answers. */
static bool asks(const struct conversation *conversation) {
        size_t n = json_array_size(conversation->messages);
        const json_t *last = json_array_get(conversation->messages, n - 1);
        const char *role = json_string_value(json_object_get(last, "role"));
        return role && strcmp(role, "system") != 0 && strcmp(role, "assistant") != 0;
}

static void take_json(struct session *session, const char *line, size_t n) {
        if (strspn(line, " \t") == n)
                return;
        json_error_t at;
        char what[256];
        size_t n_before = json_array_size(session->conversation.messages);
        json_t *value = json_loadb(line, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &at);
        const char *wrong = value ? conversation_add_json(&session->conversation, value) : at.text;
        if (wrong) {
                snprintf(what, sizeof(what), "input: %s", wrong);
                refuse_line(session, what);
        } else if (asks(&session->conversation)) {
                answer_conversation(session, n_before);
        }
        json_decref(value);
}

/* -------- the session -------- */

static void prompt(const struct session *session) {
        if (!session->terminal)
                return;
        const json_t *call = json_array_get(session->waiting, 0);
        const char *name = json_string_value(json_object_get(call, "name"));
        if (name)
                printf("result of %s: ", name);
        else
                fputs(">>> ", stdout);
        fflush(stdout);
}

static void talk(struct session *session) {
        if (session->terminal)
                fputs("/help lists the commands, Ctrl-D leaves.\n", stderr);
        while (!session->over) {
                char *line;
                size_t n;
                prompt(session);
                switch (line_read(&session->reader, session->signal_fd, &line, &n)) {
                case LINE_READ:
                        if (session->generation.json)
                                take_json(session, line, n);
                        else
                                take_text(session, line, n);
                        break;
                case LINE_INTERRUPTED:
                        if (!session->terminal) {
                                session->exit_code = EXIT_INTERRUPTED;
                                return;
                        }
                        fputc('\n', stdout);
                        break;
                case LINE_END:
                        if (session->terminal)
                                fputc('\n', stdout);
                        return;
                case LINE_FAILED:
                        fputs("seek: standard input can not be read, or a line is too long\n",
                              stderr);
                        session->exit_code = EXIT_FAILED;
                        return;
                }
        }
}

static int chat(struct session *session) {
        session->client = connect_or_report(session->generation.socket_path,
                                            session->generation.json, &session->exit_code);
        if (!session->client)
                return session->exit_code;
        session->signal_fd = open_signal_fd();
        session->terminal =
                isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !session->generation.json;
        session->exit_code = EXIT_DONE;
        if (session->signal_fd >= 0)
                talk(session);
        close(session->signal_fd);
        return session->exit_code;
}

static void session_deinit(struct session *session) {
        seekd_disconnect(session->client);
        conversation_deinit(&session->conversation);
        line_reader_deinit(&session->reader);
        json_decref(session->waiting);
}

static int run(int argc, char **argv, const struct command *command_) {
        static const struct option options[] = {
                GENERATION_OPTIONS,
                CONVERSATION_OPTIONS,
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        CLEANUP(session_deinit)
        struct session session = { .generation = GENERATION_INIT, .exit_code = EXIT_FAILED };
        if (!conversation_init(&session.conversation))
                return EXIT_FAILED;
        session.generation.params.max_tokens = ANSWER_TOKENS_DEFAULT;
        session.conversation.chat.thinking = 1;
        int option, exit_code = EXIT_USAGE;
        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (option == 'h') {
                        fputs(command_->help, stdout);
                        return EXIT_DONE;
                }
                bool taken = option >= OPTION_SYSTEM
                        ? conversation_take_option(&session.conversation, option, optarg,
                                                   &exit_code)
                        : generation_take_option(&session.generation, option, optarg);
                if (!taken)
                        return exit_code;
        }
        if (argc > optind)
                return usage_error("chat takes no argument; '%s' is one too many", argv[optind]);
        return chat(&session);
}

const struct command command_chat = {
        .name = "chat",
        .summary = "talk with the model",
        .help = "usage: seek chat [OPTION...]\n\n"
                "Answers line by line what is typed or piped in, and remembers it. Lines that "
                "begin "
                "with '/'\n"
                "are commands: /help lists them. Reasoning is on and shown dimmed on a terminal. "
                "With "
                "--json\n"
                "each line of input is a JSON value, a text or messages as in OpenAI's API, and "
                "each "
                "answer\n"
                "one JSON object.\n\n" CONVERSATION_HELP GENERATION_HELP,
        .run = run,
};
