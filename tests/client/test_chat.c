/* Conversations through libseekd: what the daemon gets, and what the program is told of the answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/seekd.h"
#include "fake_daemon.h"

static struct seekd_client *connect_to(struct fake_daemon *daemon) {
        struct seekd_client *client = NULL;
        assert_int_equal(seekd_connect(daemon->path, &client, NULL, 0), 0);
        return client;
}

static bool is_text(const ProtobufCBinaryData *bytes, const char *text) {
        return bytes->len == strlen(text) && memcmp(bytes->data, text, bytes->len) == 0;
}

static void send_piece(struct fake_daemon *daemon, uint32_t id, unsigned channel, unsigned flags,
                       const char *text) {
        uint8_t bytes[256];
        struct token_delta delta = { .channel = (uint8_t)channel,
                                     .flags = (uint8_t)flags,
                                     .text_bytes = (uint32_t)strlen(text) };
        int64_t n = token_delta_put(bytes, sizeof(bytes), &delta, NULL, text);
        fake_send_bytes(daemon, RECORD_TOKENS, id, bytes, (size_t)n);
}

static bool is_as_given(const Seekd__V1__Generate *generate) {
        if (generate->prompt_case != SEEKD__V1__GENERATE__PROMPT_CHAT)
                return false;
        const Seekd__V1__Chat *chat = generate->chat;
        const Seekd__V1__ChatMessage *const *messages =
                (const Seekd__V1__ChatMessage *const *)chat->messages;
        return chat->n_messages == 3 && strcmp(messages[0]->role, "user") == 0 &&
                is_text(&messages[0]->content, "1+1?") &&
                strcmp(messages[1]->role, "assistant") == 0 &&
                is_text(&messages[1]->reasoning, "hm") && messages[1]->n_tool_calls == 1 &&
                strcmp(messages[1]->tool_calls[0]->name, "add") == 0 &&
                is_text(&messages[1]->tool_calls[0]->arguments, "{\"a\":1}") &&
                strcmp(messages[2]->tool_call_id, "c1") == 0 && chat->n_tools == 1 &&
                is_text(&chat->tools[0], "{\"name\":\"add\"}") && chat->thinking &&
                chat->effort == 9 && strcmp(chat->tool_choice, "auto") == 0 &&
                is_text(&chat->response_format, "{}") && is_text(&generate->json_schema, "true");
}

static void script_tool_call(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        unsigned type;
        uint32_t id;
        const Seekd__V1__Generate *generate =
                (const Seekd__V1__Generate *)fake_request(daemon, &type, &id);
        if (!is_as_given(generate)) {
                fake_error(daemon, id, SEEKD__V1__ERROR_CODE__ERROR_CODE_INVALID,
                           "not what was asked");
                fake_wait_hang_up(daemon);
                return;
        }
        fake_accepted(daemon, id, 0);
        send_piece(daemon, id, TOKEN_CHANNEL_REASONING, 0, "think");
        send_piece(daemon, id, TOKEN_CHANNEL_TEXT, 0, "text");
        send_piece(daemon, id, TOKEN_CHANNEL_TOOL, TOKEN_FLAG_CALL_BEGIN, "call_7 the name");
        send_piece(daemon, id, TOKEN_CHANNEL_TOOL, 0, "{\"b\"");
        send_piece(daemon, id, TOKEN_CHANNEL_TOOL, TOKEN_FLAG_TEXT_ONLY, ": 2}");
        send_piece(daemon, id, TOKEN_CHANNEL_TOOL, TOKEN_FLAG_TEXT_ONLY | TOKEN_FLAG_CALL_END, "");
        Seekd__V1__ToolCall calls[2] = { SEEKD__V1__TOOL_CALL__INIT, SEEKD__V1__TOOL_CALL__INIT };
        calls[0].id = (char *)"call_7";
        calls[0].name = (char *)"the name";
        calls[0].arguments = (ProtobufCBinaryData){ 8, (uint8_t *)"{\"b\": 2}" };
        Seekd__V1__Done done = SEEKD__V1__DONE__INIT;
        done.request_id = id;
        done.finish_reason = SEEKD__V1__FINISH_REASON__FINISH_REASON_TOOL_CALLS;
        done.n_tool_calls = 2;
        done.tool_calls = (Seekd__V1__ToolCall *[]){ &calls[0], &calls[1] };
        done.tool_call_incomplete = true;
        fake_send(daemon, RECORD_DONE, id, &done.base);
        fake_wait_hang_up(daemon);
}

static int log_piece(void *userdata, const struct seekd_piece *piece) {
        char *log = userdata;
        char line[128];
        snprintf(line, sizeof(line), "%d%s%d%s(%.*s)", piece->channel, piece->has_token ? "+" : "-",
                 piece->call_event, piece->call_id ? piece->call_id : "", (int)piece->text_bytes,
                 piece->text);
        strcat(log, line);
        return 0;
}

struct asked {
        struct seekd_message messages[3];
        const struct seekd_message *list[3];
        struct seekd_tool_call call;
        const struct seekd_tool_call *calls[1];
        const char *tools[1];
        struct seekd_chat chat;
        struct seekd_params params;
};

static void fill(struct asked *asked) {
        *asked = (struct asked){ .call = SEEKD_TOOL_CALL_INIT,
                                 .chat = SEEKD_CHAT_INIT,
                                 .params = SEEKD_PARAMS_INIT };
        for (size_t i = 0; i < 3; i++) {
                asked->messages[i] = (struct seekd_message)SEEKD_MESSAGE_INIT;
                asked->list[i] = &asked->messages[i];
        }
        asked->messages[0].role = "user";
        asked->messages[0].content = "1+1?";
        asked->messages[0].content_bytes = SEEKD_ZERO_TERMINATED;
        asked->messages[1].role = "assistant";
        asked->messages[1].reasoning = "hm";
        asked->messages[1].reasoning_bytes = 2;
        asked->messages[1].tool_calls = asked->calls;
        asked->messages[1].n_tool_calls = 1;
        asked->calls[0] = &asked->call;
        asked->call.id = "c1";
        asked->call.name = "add";
        asked->call.arguments = "{\"a\":1}";
        asked->call.arguments_bytes = SEEKD_ZERO_TERMINATED;
        asked->messages[2].role = "tool";
        asked->messages[2].tool_call_id = "c1";
        asked->tools[0] = "{\"name\":\"add\"}";
        asked->chat.messages = asked->list;
        asked->chat.n_messages = 3;
        asked->chat.tools = asked->tools;
        asked->chat.n_tools = 1;
        asked->chat.thinking = 1;
        asked->chat.effort = 9;
        asked->chat.tool_choice = "auto";
        asked->chat.response_format = "{}";
        asked->params.json_schema = "true";
        asked->params.json_schema_bytes = SEEKD_ZERO_TERMINATED;
        asked->params.chat = &asked->chat;
}

static void a_conversation_goes_out_and_calls_come_back(void **state) {
        (void)state;
        struct fake_daemon daemon;
        fake_start(&daemon, script_tool_call);
        struct seekd_client *client = connect_to(&daemon);
        struct asked asked;
        fill(&asked);
        char log[1024] = "";
        struct seekd_result result = SEEKD_RESULT_INIT;
        assert_int_equal(seekd_complete(client, &asked.params, log_piece, log, &result), 0);
        assert_string_equal(log, "1+0(think)0+0(text)2+1call_7(the name)2+0({\"b\")2-0(: 2})2-2()");
        assert_int_equal(result.finish, SEEKD_FINISH_TOOL_CALLS);
        assert_int_equal(result.n_tool_calls, 2);
        assert_true(result.tool_call_incomplete);
        assert_string_equal(result.tool_calls[0]->id, "call_7");
        assert_string_equal(result.tool_calls[0]->name, "the name");
        assert_string_equal(result.tool_calls[0]->arguments, "{\"b\": 2}");
        assert_int_equal(result.tool_calls[0]->arguments_bytes, 8);
        assert_string_equal(result.tool_calls[1]->arguments, "");
        seekd_free((void *)(uintptr_t)result.tool_calls);
        seekd_disconnect(client);
        fake_stop(&daemon);
}

static void a_program_of_an_earlier_version_gets_what_it_knows(void **state) {
        (void)state;
        struct fake_daemon daemon;
        fake_start(&daemon, script_tool_call);
        struct seekd_client *client = connect_to(&daemon);
        struct asked asked;
        fill(&asked);
        struct {
                struct seekd_result result;
                char canary[8];
        } known = { .result = SEEKD_RESULT_INIT, .canary = "canary" };
        known.result.size = offsetof(struct seekd_result, tool_calls);
        known.result.tool_calls =
                (void *)&known; /* what lies behind its end is not the library's */
        assert_int_equal(seekd_complete(client, &asked.params, NULL, NULL, &known.result), 0);
        assert_int_equal(known.result.finish, SEEKD_FINISH_TOOL_CALLS);
        assert_ptr_equal(known.result.tool_calls, &known);
        seekd_disconnect(client); /* a leak checker sees whether the calls were freed */
        fake_stop(&daemon);
}

static void script_wait(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        fake_wait_hang_up(daemon);
}

static void bad_conversations_are_refused_by_field(void **state) {
        (void)state;
        struct fake_daemon daemon;
        fake_start(&daemon, script_wait);
        struct seekd_client *client = connect_to(&daemon);
        struct asked asked;
        fill(&asked);
        asked.messages[1].reasoning = "\xff\xff";
        assert_int_equal(seekd_complete(client, &asked.params, NULL, NULL, NULL), SEEKD_E_INVALID);
        assert_string_equal(seekd_last_error(client),
                            "chat.messages[1].reasoning: invalid UTF-8 at byte 0");
        fill(&asked);
        asked.call.name = "\xff";
        assert_int_equal(seekd_complete(client, &asked.params, NULL, NULL, NULL), SEEKD_E_INVALID);
        assert_string_equal(seekd_last_error(client),
                            "chat.messages[1].tool_calls[0].name: invalid UTF-8 at byte 0");
        fill(&asked);
        asked.messages[2].size = 0;
        assert_int_equal(seekd_complete(client, &asked.params, NULL, NULL, NULL), SEEKD_E_INVALID);
        assert_string_equal(seekd_last_error(client),
                            "chat.messages[2]: made for a later library, or not initialised with "
                            "SEEKD_MESSAGE_INIT");
        fill(&asked);
        asked.params.prompt = "and a text";
        assert_int_equal(seekd_complete(client, &asked.params, NULL, NULL, NULL), SEEKD_E_INVALID);
        seekd_disconnect(client);
        fake_stop(&daemon);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_conversation_goes_out_and_calls_come_back),
                cmocka_unit_test(a_program_of_an_earlier_version_gets_what_it_knows),
                cmocka_unit_test(bad_conversations_are_refused_by_field),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
