/* What the subcommands of seek share. Single-threaded. */
#pragma once

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/seek/progress.h"
#include "client/seekd.h"

/* Documented in seek(1): scripts rely on them. */
enum exit_code {
        EXIT_DONE = 0,
        EXIT_USAGE = 1,
        EXIT_REFUSED = 2, /* bad input, too large, not supported, busy, not allowed */
        EXIT_NO_DAEMON = 3,
        EXIT_LOST = 4,
        EXIT_FAILED = 5,  /* the daemon, the protocol or the operating system */
        EXIT_DAMAGED = 6, /* cache verify: something was damaged */
        EXIT_INTERRUPTED = 130,
};

/* One byte more than the daemon accepts, so that what is too large is refused with its limit and
 * not cut. */
#define INPUT_BYTES_MAX ((4U << 20) + 1)

struct command {
        const char *name;
        const char *summary;
        const char *help; /* printf-like without arguments: the whole text of --help */
        int (*run)(int argc, char **argv, const struct command *command);
};

extern const struct command command_ask;
extern const struct command command_cache;
extern const struct command command_chat;
extern const struct command command_complete;
extern const struct command command_fim;
extern const struct command command_hint;
extern const struct command command_import;
extern const struct command command_metrics;
extern const struct command command_sessions;
extern const struct command command_status;
extern const struct command command_tokenize;
extern const struct command command_top;

/* report.c: "seek: ..." on stderr; returns EXIT_USAGE. */
int usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Says what went wrong: on stderr, and with `json` also as {"error": {...}} on stdout. Returns the
 * exit code. */
int report_failure(int code, const char *text, bool json);
int exit_code_of(int seekd_code);
/* One line on stdout; takes the reference. 0 or EXIT_FAILED when it could not be written. */
int print_json(json_t *object);
/* Token ids, separated by spaces or as {"tokens": [...], "n": N}. EXIT_DONE or EXIT_FAILED. */
int print_ids(const uint32_t *ids, size_t n, bool json);
/* Connects or reports. NULL: *ret_exit is the exit code. */
struct seekd_client *connect_or_report(const char *socket_path, bool json, int *ret_exit);

/* without_arguments.c: the whole of a command that has no options but --json, --socket and --help:
 * connects, then `ask` does it and returns the exit status. */
int run_without_arguments(int argc, char **argv, const struct command *command,
                          int (*ask)(struct seekd_client *client, bool json));

/* number.c: a whole argument as a number in [min, max]; false after a usage error that names the
 * option. */
bool parse_u64(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *ret);
bool parse_u32(const char *option, const char *text, uint32_t min, uint32_t max, uint32_t *ret);
/* A session's id as seek prints it, 16 hexadecimal digits; leading zeros may be missing. */
bool parse_session(const char *text, uint64_t *ret);
bool parse_float(const char *option, const char *text, double min, double max, float *ret);

/* input.c: a whole file, or standard input for "-" or NULL (NULL only when that is no terminal).
 * The bytes are followed by a NUL that is not counted; free() them. False after a message;
 * *ret_exit is the exit code. */
struct input {
        char *bytes;
        size_t n;
};
bool read_input(const char *path, struct input *ret, int *ret_exit);
void input_deinit(struct input *input);
/* Token ids as text: decimal numbers with anything of " ,[]" and line ends between them, so also a
 * JSON array. free() them. False after a message. */
bool input_ids(const struct input *input, uint32_t **ret_ids, size_t *ret_n);

/* An answer to a person: some paragraphs after some thought. */
#define ANSWER_TOKENS_DEFAULT 1024

/* generation.c: what complete and fim share: options, streaming, progress, statistics. */
#define STOP_STRINGS_MAX 16

struct generation {
        const char *socket_path;
        struct seekd_params params;
        const char *stop[STOP_STRINGS_MAX];
        bool json;
        bool stats;
};
#define MAX_TOKENS_DEFAULT 128 /* a function or two: an answer within a second on any machine */
#define GENERATION_INIT                                                                            \
        {                                                                                          \
                .params = {.size = sizeof(struct seekd_params), .max_tokens = MAX_TOKENS_DEFAULT } \
        }

/* Values of getopt_long() for the options of generation_options. */
enum generation_option {
        OPTION_MAX_TOKENS = 1000,
        OPTION_TEMPERATURE,
        OPTION_TOP_K,
        OPTION_TOP_P,
        OPTION_MIN_P,
        OPTION_SEED,
        OPTION_STOP,
        OPTION_CLASS,
        OPTION_SPECIAL,
        OPTION_STATS,
        OPTION_JSON,
        OPTION_SOCKET,
};
#define GENERATION_OPTIONS                                                                         \
        { "max-tokens", required_argument, NULL, OPTION_MAX_TOKENS },                              \
                { "temperature", required_argument, NULL, OPTION_TEMPERATURE },                    \
                { "top-k", required_argument, NULL, OPTION_TOP_K },                                \
                { "top-p", required_argument, NULL, OPTION_TOP_P },                                \
                { "min-p", required_argument, NULL, OPTION_MIN_P },                                \
                { "seed", required_argument, NULL, OPTION_SEED },                                  \
                { "stop", required_argument, NULL, OPTION_STOP },                                  \
                { "class", required_argument, NULL, OPTION_CLASS },                                \
                { "special", no_argument, NULL, OPTION_SPECIAL },                                  \
                { "stats", no_argument, NULL, OPTION_STATS },                                      \
                { "json", no_argument, NULL, OPTION_JSON }, {                                      \
                "socket", required_argument, NULL, OPTION_SOCKET                                   \
        }
#define GENERATION_HELP                                                                            \
        "  --max-tokens N     at most N tokens; 0: until the context is full (default 128; ask "   \
        "and "                                                                                     \
        "chat:\n"                                                                                  \
        "                     1024)\n"                                                             \
        "  --temperature T    0: always the likeliest token (default)\n"                           \
        "  --top-k N          draw from the N likeliest tokens; 0: all (default)\n"                \
        "  --top-p P          draw from the likeliest tokens that together reach P (default 1)\n"  \
        "  --min-p P          drop tokens less likely than P times the likeliest (default 0)\n"    \
        "  --seed N           draw the same tokens again (default: the daemon draws a seed)\n"     \
        "  --stop TEXT        end before TEXT; up to 16 times\n"                                   \
        "  --class CLASS      interactive, turn (default), agent or background\n"                  \
        "  --special          text forms of special tokens in the input become those tokens\n"     \
        "  --stats            say at the end, on stderr, how many tokens and how fast\n"           \
        "  --json             print one JSON object at the end instead of the text as it comes\n"  \
        "  --socket PATH      where the daemon listens\n"                                          \
        "  --help             this text\n"

/* Takes one option. False: a usage error was reported, or it is none of these. */
bool generation_take_option(struct generation *generation, int option, const char *argument);
/* Connects, completes, prints. Returns the exit code. */
int generation_run(struct generation *generation);

/* generation_report.c: the end of a generation, for people and for programs. */
void print_stats(const struct seekd_result *result);
json_t *generation_json(const struct seekd_result *result, const char *text, size_t text_bytes,
                        const uint32_t *tokens, size_t n_tokens);

/* kept_stats.c */
#define BYTES_TEXT 16
const char *bytes_text(uint64_t bytes, char ret[BYTES_TEXT]); /* "1.5 GiB"; returns ret */
void print_kv_stats(const struct seekd_kv_stats *kv);
void print_engram_stats(const struct seekd_engram_stats *engram);
json_t *kv_stats_json(const struct seekd_kv_stats *kv); /* NULL: null */
void print_hint_stats(const struct seekd_hint_stats *hints);
json_t *hint_stats_json(const struct seekd_hint_stats *hints);      /* NULL: null */
json_t *engram_stats_json(const struct seekd_engram_stats *engram); /* NULL: null */

/* class_stats.c */
void print_class_stats(const struct seekd_stats *stats);
json_t *class_stats_json(const struct seekd_stats *stats);

/* request_names.c: static strings of enum seekd_phase, seekd_class and seekd_finish. */
const char *phase_name(int phase);
const char *class_name(int service);
const char *finish_name(int finish);
/* The user's name, or the number where there is none; returns ret. */
#define USER_TEXT 64
const char *user_text(uint32_t uid, char ret[USER_TEXT]);

/* status.c: all of a reading, for programs; NULL without memory. info NULL: not known. */
json_t *status_json(const struct seekd_stats *stats, const struct seekd_model_info *info,
                    int load_permille);

/* waiting.c: blocks SIGINT and SIGTERM and returns a descriptor that reads them; -1 after a
 * message. */
int open_signal_fd(void);
/* Dispatches until the request is over. An interrupt cancels it, which keeps what has come; a
 * second one is final. Returns whether there was one. */
bool wait_for_end(struct seekd_client *client, struct seekd_request *request,
                  struct progress_line *progress, int signal_fd);
/* What the end means for the exit code, when the daemon had no error to report. */
int exit_code_of_finish(int finish, bool interrupted);
