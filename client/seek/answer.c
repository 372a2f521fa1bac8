#include "client/seek/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIM   "\033[2m"
#define PLAIN "\033[0m"

static bool add_text(struct answer_text *text, const char *bytes, size_t n) {
        if (text->n + n > text->capacity) {
                size_t capacity = 2 * (text->n + n);
                char *larger = realloc(text->bytes, capacity);
                if (!larger)
                        return false;
                text->bytes = larger;
                text->capacity = capacity;
        }
        if (n > 0)
                memcpy(text->bytes + text->n, bytes, n);
        text->n += n;
        return true;
}

static bool keep(struct answer *answer, const struct seekd_piece *piece) {
        switch (piece->channel) {
        case SEEKD_CHANNEL_REASONING:
                return add_text(&answer->reasoning, piece->text, piece->text_bytes);
        case SEEKD_CHANNEL_TOOL: return true; /* the result has the calls */
        default: return add_text(&answer->text, piece->text, piece->text_bytes);
        }
}

static void dim(struct answer *answer, bool dimmed) {
        if (answer->dimmed != dimmed)
                fputs(dimmed ? DIM : PLAIN "\n", stdout);
        answer->dimmed = dimmed;
}

static void show(struct answer *answer, const struct seekd_piece *piece) {
        bool reasoning = piece->channel == SEEKD_CHANNEL_REASONING;
        bool call = piece->channel == SEEKD_CHANNEL_TOOL;
        bool begins = call && piece->call_event == SEEKD_CALL_BEGIN;
        bool ends = call && piece->call_event == SEEKD_CALL_END;
        if ((reasoning && !answer->terminal) || (piece->text_bytes == 0 && !ends))
                return;
        dim(answer, reasoning);
        if (begins)
                fputs(answer->shown ? "\n> " : "> ", stdout);
        fwrite(piece->text, 1, piece->text_bytes, stdout);
        if (begins)
                fputc(' ', stdout);
        if (!reasoning)
                answer->shown = true;
}

static int take_piece(void *userdata, const struct seekd_piece *piece) {
        struct answer *answer = userdata;
        answer->progress.enabled = false;
        progress_clear(&answer->progress);
        answer->broken = !keep(answer, piece);
        if (!answer->keep_only && !answer->broken) {
                show(answer, piece);
                answer->broken = fflush(stdout) != 0;
        }
        return answer->broken;
}

static void take_result(void *userdata, struct seekd_request *request,
                        const struct seekd_result *result) {
        (void)request;
        struct answer *answer = userdata;
        answer->result = *result;
        answer->result.tool_calls = NULL; /* not ours */
        answer->calls = json_array();
        for (size_t i = 0; i < result->n_tool_calls; i++) {
                const struct seekd_tool_call *call = result->tool_calls[i];
                json_t *arguments = json_stringn(call->arguments, call->arguments_bytes);
                json_array_append_new(answer->calls,
                                      json_pack("{s:s, s:s, s:o}", "id", call->id, "name",
                                                call->name, "arguments", arguments));
        }
}

bool answer_run(struct answer *answer, struct seekd_client *client,
                const struct seekd_params *params, int signal_fd) {
        struct seekd_request *request;
        answer->result = (struct seekd_result)SEEKD_RESULT_INIT;
        progress_begin(&answer->progress);
        int code = seekd_submit(client, params, take_piece, take_result, answer, &request);
        if (code < 0) {
                answer->result.code = code;
                answer->result.finish = SEEKD_FINISH_ERROR;
                snprintf(answer->result.error, sizeof(answer->result.error), "%s",
                         seekd_last_error(client));
                return false;
        }
        bool interrupted = wait_for_end(client, request, &answer->progress, signal_fd);
        seekd_request_free(request);
        dim(answer, false);
        if (answer->shown && !answer->keep_only)
                fputc('\n', stdout);
        if (fflush(stdout) != 0)
                answer->broken = true;
        return interrupted;
}

void answer_deinit(struct answer *answer) {
        free(answer->text.bytes);
        free(answer->reasoning.bytes);
        json_decref(answer->calls);
        *answer = (struct answer){ 0 };
}

static json_t *text_json(const struct answer_text *text) {
        return json_stringn(text->n > 0 ? text->bytes : "", text->n);
}

json_t *answer_message(const struct answer *answer) {
        json_t *message =
                json_pack("{s:s, s:o}", "role", "assistant", "content", text_json(&answer->text));
        if (answer->reasoning.n > 0)
                json_object_set_new(message, "reasoning", text_json(&answer->reasoning));
        if (json_array_size(answer->calls) > 0)
                json_object_set(message, "tool_calls", answer->calls);
        return message;
}

json_t *answer_json(const struct answer *answer) {
        json_t *message = answer_message(answer);
        json_t *calls = json_array();
        for (size_t i = 0; i < json_array_size(answer->calls); i++) {
                const json_t *call = json_array_get(answer->calls, i);
                json_array_append_new(calls,
                                      json_pack("{s:O, s:s, s:{s:O, s:O}}", "id",
                                                json_object_get(call, "id"), "type", "function",
                                                "function", "name", json_object_get(call, "name"),
                                                "arguments", json_object_get(call, "arguments")));
        }
        if (json_array_size(calls) > 0)
                json_object_set(message, "tool_calls", calls);
        json_decref(calls);
        json_t *object = generation_json(&answer->result, "", 0, NULL, 0);
        json_object_del(object, "text");
        json_object_del(object, "tokens");
        json_object_set_new(object, "message", message);
        if (answer->result.tool_call_incomplete)
                json_object_set_new(object, "tool_call_incomplete", json_true());
        return object;
}
