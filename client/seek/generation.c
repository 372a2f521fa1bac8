/* One completion from options to exit code: connect, submit, stream, report. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "client/seek/seek.h"

static bool parse_class(const char *name, int *ret) {
        static const char *const names[] = { NULL, "interactive", "turn", "agent", "background" };
        for (int i = 1; i < (int)(sizeof(names) / sizeof(names[0])); i++) {
                if (strcmp(name, names[i]) == 0) {
                        *ret = i;
                        return true;
                }
        }
        usage_error("--class: '%s' is none of interactive, turn, agent, background", name);
        return false;
}

static bool add_stop(struct generation *generation, const char *text) {
        if (generation->params.n_stop == STOP_STRINGS_MAX) {
                usage_error("--stop: more than %d times", STOP_STRINGS_MAX);
                return false;
        }
        generation->stop[generation->params.n_stop++] = text;
        generation->params.stop = generation->stop;
        return true;
}

bool generation_take_option(struct generation *generation, int option, const char *argument) {
        struct seekd_params *params = &generation->params;
        switch (option) {
        case OPTION_MAX_TOKENS:
                return parse_u32("--max-tokens", argument, 0, INT32_MAX, &params->max_tokens);
        case OPTION_TEMPERATURE:
                return parse_float("--temperature", argument, 0, 100, &params->temperature);
        case OPTION_TOP_K: return parse_u32("--top-k", argument, 0, INT32_MAX, &params->top_k);
        case OPTION_TOP_P: return parse_float("--top-p", argument, 0, 1, &params->top_p);
        case OPTION_MIN_P: return parse_float("--min-p", argument, 0, 1, &params->min_p);
        case OPTION_SEED:
                params->seed_given = 1;
                return parse_u64("--seed", argument, 0, UINT64_MAX, &params->seed);
        case OPTION_STOP: return add_stop(generation, argument);
        case OPTION_CLASS: return parse_class(argument, &params->service);
        case OPTION_SPECIAL: params->flags |= SEEKD_PARSE_SPECIAL; return true;
        case OPTION_STATS: generation->stats = true; return true;
        case OPTION_JSON: generation->json = true; return true;
        case OPTION_SOCKET: generation->socket_path = argument; return true;
        default: return false; /* getopt_long() has said what is wrong */
        }
}

/* What has come, and where it goes. */
struct output {
        bool json;   /* keep everything for the end */
        bool broken; /* standard output takes no more */
        struct progress_line progress;
        char *text;
        size_t n_text, text_capacity;
        uint32_t *tokens;
        size_t n_tokens, tokens_capacity;
        struct seekd_result result;
};

static bool grow(void **array, size_t *capacity, size_t needed, size_t item_bytes) {
        if (needed <= *capacity)
                return true;
        size_t larger = *capacity * 2 > needed ? *capacity * 2 : needed + 256;
        void *p = realloc(*array, larger * item_bytes);
        if (!p)
                return false;
        *array = p;
        *capacity = larger;
        return true;
}

static int keep_piece(struct output *output, const struct seekd_piece *piece) {
        if (!grow((void **)&output->text, &output->text_capacity,
                  output->n_text + piece->text_bytes, 1) ||
            !grow((void **)&output->tokens, &output->tokens_capacity, output->n_tokens + 1,
                  sizeof(uint32_t))) {
                output->broken = true;
                return 1;
        }
        if (piece->text_bytes > 0)
                memcpy(output->text + output->n_text, piece->text, piece->text_bytes);
        output->n_text += piece->text_bytes;
        if (piece->has_token)
                output->tokens[output->n_tokens++] = piece->token;
        return 0;
}

static int take_piece(void *userdata, const struct seekd_piece *piece) {
        struct output *output = userdata;
        output->progress.enabled = false;
        progress_clear(&output->progress);
        if (output->json)
                return keep_piece(output, piece);
        if (fwrite(piece->text, 1, piece->text_bytes, stdout) == piece->text_bytes &&
            fflush(stdout) == 0)
                return 0;
        output->broken = true;
        return 1;
}

static void take_result(void *userdata, struct seekd_request *request,
                        const struct seekd_result *result) {
        (void)request;
        struct output *output = userdata;
        output->result = *result;
}

static int report(const struct generation *generation, const struct output *output,
                  bool interrupted) {
        const struct seekd_result *result = &output->result;
        int exit_code = EXIT_DONE;
        if (!output->json && isatty(STDOUT_FILENO))
                fputc('\n', stdout); /* a prompt of the shell starts on a line of its own */
        if (output->broken) {
                fputs("seek: the output could not be kept or written\n", stderr);
                exit_code = EXIT_FAILED;
        } else if (result->code < 0) {
                fflush(stdout);
                exit_code = report_failure(result->code, result->error, false);
        } else {
                exit_code = exit_code_of_finish(result->finish, interrupted);
        }
        if (generation->stats && result->code == 0)
                print_stats(result);
        if (output->json && !output->broken) {
                int r = print_json(generation_json(result, output->text ? output->text : "",
                                                   output->n_text, output->tokens,
                                                   output->n_tokens));
                exit_code = exit_code == EXIT_DONE ? r : exit_code;
        }
        return exit_code;
}

static int run_with(const struct generation *generation, struct seekd_client *client,
                    struct output *output) {
        CLEANUP_CLOSE int signal_fd = open_signal_fd();
        if (signal_fd < 0)
                return EXIT_FAILED;

        struct seekd_request *request;
        int code = seekd_submit(client, &generation->params, take_piece, take_result, output,
                                &request);
        if (code < 0)
                return report_failure(code, seekd_last_error(client), generation->json);
        bool interrupted = wait_for_end(client, request, &output->progress, signal_fd);
        return report(generation, output, interrupted);
}

int generation_run(struct generation *generation) {
        int exit_code = EXIT_FAILED;
        struct seekd_client *client =
                connect_or_report(generation->socket_path, generation->json, &exit_code);
        if (!client)
                return exit_code;
        struct output output = {
                .json = generation->json,
                .result = SEEKD_RESULT_INIT,
        };
        progress_begin(&output.progress);
        exit_code = run_with(generation, client, &output);
        seekd_disconnect(client);
        free(output.text);
        free(output.tokens);
        return exit_code;
}
