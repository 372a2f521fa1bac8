/* The answer in a conversation: which deltas a client gets for which tokens, and what Done says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "daemon/answer.h"
#include "daemon/answer_stream.h"
#include "daemon/request.h"
#include "engine/chat/bytes.h"
#include "engine/text_stream.h"
#include "proto/message.h"
#include "proto/token_delta.h"

static struct tokenizer *tokenizer;
static struct chat_tokens tokens;

static int open_model(void **state) {
        (void)state;
        struct error err = { 0 };
        return tokenizer_open(MODEL_DIR, &tokenizer, &err) < 0 ||
                        chat_tokens_find(tokenizer, &tokens, &err) < 0
                ? -1
                : 0;
}

static int close_model(void **state) {
        (void)state;
        tokenizer_close(tokenizer);
        return 0;
}

/* Deltas in a row: channel, '+' with a token, B and E for a call's beginning and end, text. Those
 * of a channel with text only are one. */
struct heard {
        struct bytes log;
        int channel;
        size_t n_tokens;
};

static void hear(void *userdata, const struct token_delta *delta, const char *text, size_t n) {
        struct heard *heard = userdata;
        unsigned events = delta->flags & (TOKEN_FLAG_CALL_BEGIN | TOKEN_FLAG_CALL_END);
        heard->n_tokens += !(delta->flags & TOKEN_FLAG_TEXT_ONLY);
        if (n == 0 && events == 0)
                return;
        if (events || heard->channel != delta->channel)
                bytes_add(&heard->log, &"trc"[delta->channel], 1);
        if (events & TOKEN_FLAG_CALL_BEGIN) {
                assert_memory_equal(text, "call_", 5);
                const char *name = memchr(text, ' ', n);
                n -= (size_t)(name - text);
                text = name;
        }
        bytes_add_string(&heard->log, events & TOKEN_FLAG_CALL_BEGIN ? "B" : events ? "E" : "");
        bytes_add(&heard->log, text, n);
        heard->channel = events ? -1 : delta->channel;
}

/* A request whose answer these texts are; marks are written as they are. */
static struct request *answered(const char *answer, bool reasoning, const char *stop,
                                struct heard *heard) {
        struct answer_options options = { .tokens = tokens, .reasoning = reasoning };
        struct request *request = request_new(NULL, NULL, RECORD_GENERATE, 7);
        CLEANUP(token_list_deinit) struct token_list ids = { 0 };
        struct error err = { 0 };
        assert_int_equal(answer_stream_new(&options, &request->answer), 0);
        assert_int_equal(text_stream_new(tokenizer, &stop, stop ? 1 : 0, false, &request->text), 0);
        assert_int_equal(
                tokenizer_encode(tokenizer, answer, strlen(answer), TOKENIZE_SPECIAL, &ids, &err),
                0);
        heard->channel = -1;
        bool stopped = false;
        size_t n = 0;
        while (n < ids.n && !stopped) {
                struct token_delta delta = { .id = ids.ids[n], .position = n };
                n++;
                stopped = answer_stream_token(request->answer, request->text, &delta, hear, heard);
        }
        assert_int_equal(answer_stream_finish(request->answer, stopped ? NULL : request->text, n,
                                              hear, heard),
                         0);
        assert_int_equal(heard->n_tokens, n);
        bytes_add(&heard->log, "", 1);
        return request;
}

static void check(const char *answer, bool reasoning, const char *stop, const char *want) {
        struct heard heard = { 0 };
        struct request *request = answered(answer, reasoning, stop, &heard);
        assert_string_equal(heard.log.data, want);
        bytes_deinit(&heard.log);
        request_free(request);
}

#define CALLS                                                                                      \
        "\n\n<｜DSML｜ calls>\n<｜DSML｜ invoke name=\"f\">\n"                                 \
        "<｜DSML｜ parameter name=\"a\" string=\"true\">é</｜DSML｜ parameter>\n"             \
        "</｜DSML｜ invoke>\n"

static void every_token_has_its_channel(void **state) {
        (void)state;
        check("Hm. né</think>Yes.<｜end▁of▁sentence｜>", true, NULL, "rHm. nétYes.");
        check("Yes." CALLS "</｜DSML｜ calls><｜end▁of▁sentence｜>", false, NULL,
              "tYes.cB fc{\"a\": \"é\"}cE");
        check("a\n\n<b", false, NULL, "ta\n\n<b");
}

static void stop_strings_end_at_special_tokens(void **state) {
        (void)state;
        check("abcdef", false, "cd", "tab");
        check("abc</think>def", true, "cd", "rabctdef");
        check("ab</think>\n\ncd", true, "\ncd", "rabt\n");
}

static Seekd__V1__Done *done_of(struct request *request, struct arena *arena) {
        size_t n;
        CLEANUP_FREE uint8_t *bytes = answer_done(request, NULL, 1, &n);
        const ProtobufCMessage *message = NULL;
        assert_non_null(bytes);
        assert_int_equal(message_unpack(RECORD_DONE, bytes, n, arena, &message, NULL), 0);
        return (Seekd__V1__Done *)(uintptr_t)message;
}

static void done_holds_the_whole_calls(void **state) {
        (void)state;
        struct heard heard = { 0 };
        struct arena arena = { 0 };
        struct request *request =
                answered(CALLS "<｜DSML｜ invoke name=\"g\">\n<｜DSML｜ par", false, NULL, &heard);
        const Seekd__V1__Done *done = done_of(request, &arena);
        assert_int_equal(done->n_tool_calls, 1);
        assert_string_equal(done->tool_calls[0]->name, "f");
        assert_int_equal(done->tool_calls[0]->arguments.len, strlen("{\"a\": \"é\"}"));
        assert_memory_equal(done->tool_calls[0]->id, "call_", 5);
        assert_true(done->tool_call_incomplete);
        const char *raw = "<｜DSML｜ invoke name=\"g\">\n<｜DSML｜ par";
        assert_int_equal(done->tool_call_raw.len, strlen(raw));
        assert_memory_equal(done->tool_call_raw.data, raw, strlen(raw));
        arena_deinit(&arena);
        bytes_deinit(&heard.log);
        request_free(request);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_token_has_its_channel),
                cmocka_unit_test(stop_strings_end_at_special_tokens),
                cmocka_unit_test(done_holds_the_whole_calls),
        };
        return cmocka_run_group_tests(tests, open_model, close_model);
}
