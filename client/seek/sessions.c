#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/seek/seek.h"

struct asked {
        struct seekd_client *client;
        bool json, all, forget, ids;
        const char *subject;
        uint64_t position;
        uint64_t session; /* what it is done to; of remember: what the ids are tied to */
        const char *key;
        const char *file;
};

/* -------- what can be done -------- */

static int print_session(const struct asked *asked, uint64_t session, uint64_t tokens) {
        char id[24];
        snprintf(id, sizeof(id), "%016llx", (unsigned long long)session);
        if (asked->json)
                return print_json(
                        json_pack("{s:s, s:I}", "session", id, "tokens", (json_int_t)tokens));
        puts(id);
        return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

/* What a call that changed a session has to say. */
static int finish(const struct asked *asked, int code) {
        uint64_t tokens = 0;
        if (code == 0)
                code = seekd_session_attach(asked->client, asked->session, &tokens);
        if (code < 0)
                return report_failure(code, seekd_last_error(asked->client), asked->json);
        return asked->json ? print_session(asked, asked->session, tokens) : EXIT_DONE;
}

static json_t *session_json(const struct seekd_session *session) {
        char id[24];
        snprintf(id, sizeof(id), "%016llx", (unsigned long long)session->id);
        return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:b, s:b, s:b}", "session", id, "subject",
                         session->subject, "tokens", (json_int_t)session->tokens, "created",
                         (json_int_t)session->created_s, "used", (json_int_t)session->used_s, "uid",
                         (json_int_t)session->uid, "pinned", session->pinned, "running",
                         session->running, "durable", session->durable);
}

static int print_list(const struct asked *asked, const struct seekd_session_list *list) {
        if (asked->json) {
                json_t *array = json_array();
                for (size_t i = 0; i < list->n_sessions; i++)
                        json_array_append_new(array, session_json(list->sessions[i]));
                return print_json(json_pack("{s:o}", "sessions", array));
        }
        for (size_t i = 0; i < list->n_sessions; i++) {
                const struct seekd_session *session = list->sessions[i];
                time_t used_s = (time_t)session->used_s;
                char used[32] = "";
                struct tm tm;
                if (localtime_r(&used_s, &tm))
                        strftime(used, sizeof(used), "%Y-%m-%d %H:%M:%S", &tm);
                printf("%016llx %8llu tokens  used %s%s%s%s%s\n", (unsigned long long)session->id,
                       (unsigned long long)session->tokens, used, session->pinned ? "  pinned" : "",
                       session->running ? "  running" : "", session->subject[0] ? "  " : "",
                       session->subject);
        }
        return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

static int run_list(struct asked *asked) {
        struct seekd_session_list *list;
        int code = seekd_session_list(asked->client, asked->all, &list);
        if (code < 0)
                return report_failure(code, seekd_last_error(asked->client), asked->json);
        int exit_code = print_list(asked, list);
        seekd_free(list);
        return exit_code;
}

static int run_open(struct asked *asked) {
        int code = seekd_session_open(asked->client, asked->subject, &asked->session);
        if (code < 0)
                return report_failure(code, seekd_last_error(asked->client), asked->json);
        return print_session(asked, asked->session, 0);
}

static int append_ids(const struct asked *asked, const struct input *input) {
        uint32_t *ids;
        size_t n;
        if (!input_ids(input, &ids, &n))
                return EXIT_REFUSED;
        int code = seekd_session_append_tokens(asked->client, asked->session, ids, n, NULL);
        free(ids);
        return finish(asked, code);
}

static int run_append(struct asked *asked) {
        struct input input;
        int exit_code = EXIT_FAILED;
        if (!read_input(asked->file, &input, &exit_code))
                return exit_code;
        if (asked->ids)
                exit_code = append_ids(asked, &input);
        else
                exit_code = finish(asked,
                                   seekd_session_append(asked->client, asked->session, input.bytes,
                                                        input.n, 0, NULL));
        input_deinit(&input);
        return exit_code;
}

static int run_fork(struct asked *asked) {
        uint64_t fork, tokens = 0;
        int code = seekd_session_fork(asked->client, asked->session, asked->position, &fork);
        if (code == 0)
                code = seekd_session_attach(asked->client, fork, &tokens);
        if (code < 0)
                return report_failure(code, seekd_last_error(asked->client), asked->json);
        return print_session(asked, fork, tokens);
}

static int run_rewind(struct asked *asked) {
        return finish(asked, seekd_session_rewind(asked->client, asked->session, asked->position));
}

static int run_pin(struct asked *asked) {
        return finish(asked, seekd_session_pin(asked->client, asked->session, 1));
}

static int run_unpin(struct asked *asked) {
        return finish(asked, seekd_session_pin(asked->client, asked->session, 0));
}

static int run_close(struct asked *asked) {
        int code = seekd_session_close(asked->client, asked->session, asked->forget);
        if (code < 0)
                return report_failure(code, seekd_last_error(asked->client), asked->json);
        return asked->json ? print_session(asked, asked->session, 0) : EXIT_DONE;
}

/* -------- keys -------- */

static int run_remember(struct asked *asked) {
        struct input input;
        uint32_t *ids;
        size_t n;
        int exit_code = EXIT_FAILED;
        if (!read_input(asked->file, &input, &exit_code))
                return exit_code;
        bool good = input_ids(&input, &ids, &n);
        input_deinit(&input);
        if (!good)
                return EXIT_REFUSED;
        int code = seekd_remember(asked->client, asked->subject, asked->key, strlen(asked->key),
                                  ids, n, asked->session);
        free(ids);
        if (code < 0)
                return report_failure(code, seekd_last_error(asked->client), asked->json);
        return asked->json ? print_json(json_pack("{s:I}", "n", (json_int_t)n)) : EXIT_DONE;
}

static int run_recall(struct asked *asked) {
        uint32_t *ids;
        size_t n;
        int code = seekd_recall(asked->client, asked->subject, asked->key, strlen(asked->key), &ids,
                                &n);
        if (code < 0)
                return report_failure(code, seekd_last_error(asked->client), asked->json);
        int exit_code = print_ids(ids, n, asked->json);
        seekd_free(ids);
        return exit_code;
}

/* -------- command line -------- */

static const struct deed {
        const char *name;
        int (*run)(struct asked *asked);
        bool takes_session, takes_file, takes_key;
} deeds[] = {
        { .name = "list", run_list },
        { .name = "open", run_open },
        { .name = "append", run_append, .takes_session = true, .takes_file = true },
        { .name = "fork", run_fork, .takes_session = true },
        { .name = "rewind", run_rewind, .takes_session = true },
        { .name = "pin", run_pin, .takes_session = true },
        { .name = "unpin", run_unpin, .takes_session = true },
        { .name = "close", run_close, .takes_session = true },
        { .name = "remember", run_remember, .takes_key = true, .takes_file = true },
        { .name = "recall", run_recall, .takes_key = true },
};

static const struct deed *find_deed(const char *name) {
        for (size_t i = 0; i < sizeof(deeds) / sizeof(deeds[0]); i++)
                if (strcmp(deeds[i].name, name) == 0)
                        return &deeds[i];
        usage_error("'%s' is none of list, open, append, fork, rewind, pin, unpin, close, "
                    "remember, recall",
                    name);
        return NULL;
}

/* The arguments behind the options: what to do, and with what. */
static bool take_arguments(struct asked *asked, const struct deed **ret, int argc, char **argv) {
        *ret = find_deed(argc > 0 ? argv[0] : "list");
        if (!*ret)
                return false;
        int at = 1;
        if ((*ret)->takes_session) {
                if (at >= argc) {
                        usage_error("sessions %s: the id of a session is missing", (*ret)->name);
                        return false;
                }
                if (!parse_session(argv[at++], &asked->session))
                        return false;
        }
        if ((*ret)->takes_key) {
                if (at >= argc) {
                        usage_error("sessions %s: the key is missing", (*ret)->name);
                        return false;
                }
                asked->key = argv[at++];
        }
        if ((*ret)->takes_file && at < argc)
                asked->file = argv[at++];
        if (at < argc) {
                usage_error("sessions %s: '%s' is one too many", (*ret)->name, argv[at]);
                return false;
        }
        return true;
}

static int run(int argc, char **argv, const struct command *command) {
        static const struct option options[] = {
                { "all", no_argument, NULL, 'a' },
                { "at", required_argument, NULL, 'p' },
                { "forget", no_argument, NULL, 'f' },
                { "ids", no_argument, NULL, 'i' },
                { "json", no_argument, NULL, 'j' },
                { "socket", required_argument, NULL, 'S' },
                { "subject", required_argument, NULL, 's' },
                { "with", required_argument, NULL, 'w' },
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        struct asked asked = { 0 };
        const char *socket_path = NULL;
        int option;
        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                switch (option) {
                case 'a': asked.all = true; break;
                case 'p':
                        if (!parse_u64("--at", optarg, 0, UINT64_MAX, &asked.position))
                                return EXIT_USAGE;
                        break;
                case 'f': asked.forget = true; break;
                case 'i': asked.ids = true; break;
                case 'j': asked.json = true; break;
                case 'S': socket_path = optarg; break;
                case 's': asked.subject = optarg; break;
                case 'w':
                        if (!parse_session(optarg, &asked.session))
                                return EXIT_USAGE;
                        break;
                case 'h': fputs(command->help, stdout); return EXIT_DONE;
                default: return EXIT_USAGE;
                }
        }
        const struct deed *deed;
        if (!take_arguments(&asked, &deed, argc - optind, argv + optind))
                return EXIT_USAGE;
        int exit_code = EXIT_FAILED;
        asked.client = connect_or_report(socket_path, asked.json, &exit_code);
        if (asked.client)
                exit_code = deed->run(&asked);
        seekd_disconnect(asked.client);
        return exit_code;
}

const struct command command_sessions = {
        .name = "sessions",
        .summary = "texts that the daemon keeps, and goes on with",
        .help = "usage: seek sessions [list] [--all]\n"
                "       seek sessions open [--subject TEXT]\n"
                "       seek sessions append ID [--ids] [FILE|-]\n"
                "       seek sessions fork ID [--at N]\n"
                "       seek sessions rewind ID --at N\n"
                "       seek sessions pin|unpin ID\n"
                "       seek sessions close ID [--forget]\n"
                "       seek sessions remember KEY [--with ID] [FILE|-]\n"
                "       seek sessions recall KEY\n\n"
                "Lists, makes and changes the sessions of your user; open and fork print the new "
                "one's id.\n'seek complete --session ID' goes on with one. remember keeps token "
                "ids under a\nkey of yours, recall prints them.\n\n"
                "  --all              list everybody's (root and the daemon's user)\n"
                "  --at N             tokens that the fork has (default: all), that stay in a "
                "rewound one\n"
                "  --forget           delete it\n"
                "  --ids              the input is token ids; the first of a session is BOS\n"
                "  --subject TEXT     separates its cache from that of your other work\n"
                "  --with ID          remember as long as this session\n"
                "  --json             print JSON\n"
                "  --socket PATH      where the daemon listens\n"
                "  --help             this text\n",
        .run = run,
};
