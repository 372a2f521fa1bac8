#include "engine/chat/render.h"

#include "engine/chat/json_text.h"
#include "engine/chat/scribe.h"
#include "engine/chat/turns.h"

/* The release's words; the two encodings differ in the names within the tags only. */
static const char tools_before[] =
        "## Tools\n"
        "\n"
        "You have access to a set of tools to help answer the user's question. You can invoke "
        "tools "
        "by writing a \"<" SCRIBE_DSML SCRIBE_CALLS ">\" block like the following:\n"
        "\n"
        "<" SCRIBE_DSML SCRIBE_CALLS ">\n"
        "<" SCRIBE_DSML SCRIBE_INVOKE " name=\"$TOOL_NAME\">\n"
        "<" SCRIBE_DSML SCRIBE_PARAMETER " name=\"$PARAMETER_NAME\" string=\"true|false\">"
        "$PARAMETER_VALUE</" SCRIBE_DSML SCRIBE_PARAMETER ">\n"
        "...\n"
        "</" SCRIBE_DSML SCRIBE_INVOKE ">\n"
        "<" SCRIBE_DSML SCRIBE_INVOKE " name=\"$TOOL_NAME2\">\n"
        "...\n"
        "</" SCRIBE_DSML SCRIBE_INVOKE ">\n"
        "</" SCRIBE_DSML SCRIBE_CALLS ">\n"
        "\n"
        "String parameters should be specified as is and set `string=\"true\"`. For all other "
        "types "
        "(numbers, booleans, arrays, objects), pass the value in JSON format and set "
        "`string=\"false\"`.\n"
        "\n"
        "If thinking_mode is enabled (triggered by " SCRIBE_THINK
        "), you MUST output your complete "
        "reasoning inside " SCRIBE_THINK "..." SCRIBE_THINK_END " BEFORE any tool calls or final "
        "response.\n"
        "\n"
        "Otherwise, output directly after " SCRIBE_THINK_END " with tool calls or final response.\n"
        "\n"
        "### Available Tool Schemas\n"
        "\n";
static const char tools_after[] =
        "\n"
        "\n"
        "You MUST strictly follow the above defined tool name and parameter schemas to invoke tool "
        "calls.\n";

void render_tools(struct scribe *scribe, const struct chat_text *tools, size_t n) {
        scribe_template(scribe, tools_before);
        for (size_t i = 0; i < n; i++) {
                if (i > 0)
                        scribe_string(scribe, "\n");
                json_text_add(&scribe->text, tools[i]);
        }
        scribe_string(scribe, tools_after);
}

void render_response_format(struct scribe *scribe, struct chat_text schema) {
        scribe_string(scribe,
                      "## Response Format:\n\n"
                      "You MUST strictly adhere to the following schema to reply:\n");
        json_text_add(&scribe->text, schema);
}

void render_parts(struct scribe *scribe, const struct turn *turn) {
        for (size_t i = 0; i < turn->n_parts; i++) {
                const struct chat_message *part = turn->parts[i];
                bool is_result = part->role == CHAT_TOOL;
                if (i > 0)
                        scribe_string(scribe, "\n\n");
                if (is_result)
                        scribe_string(scribe, "<tool_result>");
                scribe_text(scribe, part->content);
                if (is_result)
                        scribe_string(scribe, "</tool_result>");
        }
}

static void render_parameter(struct scribe *scribe, struct chat_text key, struct chat_text value,
                             bool is_string) {
        scribe_template(scribe, "<" SCRIBE_DSML SCRIBE_PARAMETER " name=\"");
        scribe_text(scribe, key);
        scribe_string(scribe, is_string ? "\" string=\"true\">" : "\" string=\"false\">");
        scribe_text(scribe, value);
        scribe_template(scribe, "</" SCRIBE_DSML SCRIBE_PARAMETER ">");
}

static void render_member(struct scribe *scribe, struct chat_text key, struct chat_text value) {
        struct bytes name = { 0 }, text = { 0 };
        bool is_string = value.data[0] == '"';
        json_text_unescape(&name, key);
        if (is_string)
                json_text_unescape(&text, value);
        else
                json_text_add(&text, value);
        scribe->text.failed |= name.failed || text.failed;
        render_parameter(scribe, (struct chat_text){ name.data, name.n },
                         (struct chat_text){ text.data, text.n }, is_string);
        bytes_deinit(&name);
        bytes_deinit(&text);
}

/* The JSON object to show, with no data when there is none. An object inside a JSON string counts:
 * some clients encode arguments twice. */
static struct chat_text arguments_of(const struct chat_call *call, struct bytes *buffer) {
        struct chat_text given = call->arguments;
        if (json_text_check(given, JSON_TEXT_ANY, NULL) < 0)
                return (struct chat_text){ 0 };
        size_t at = 0;
        while (given.data[at] == ' ' || given.data[at] == '\n' || given.data[at] == '\r' ||
               given.data[at] == '\t')
                at++;
        if (given.data[at] == '"') {
                size_t end = given.n;
                while (given.data[end - 1] != '"')
                        end--;
                json_text_unescape(buffer, (struct chat_text){ given.data + at, end - at });
                given = (struct chat_text){ buffer->data, buffer->n };
        }
        if (json_text_check(given, JSON_TEXT_OBJECT, NULL) < 0)
                return (struct chat_text){ 0 };
        return given;
}

static void render_arguments(struct scribe *scribe, const struct chat_call *call) {
        struct bytes buffer = { 0 };
        struct chat_text arguments = arguments_of(call, &buffer), key, value;
        if (call->arguments.n == 0)
                arguments = (struct chat_text){ "{}", 2 };
        if (!arguments.data) {
                render_parameter(scribe, (struct chat_text){ "arguments", 9 }, call->arguments,
                                 true);
        } else {
                for (size_t at = 0, n = 0; json_text_member(arguments, &at, &key, &value); n++) {
                        if (n > 0)
                                scribe_string(scribe, "\n");
                        render_member(scribe, key, value);
                }
        }
        scribe->text.failed |= buffer.failed;
        bytes_deinit(&buffer);
}

void render_calls(struct scribe *scribe, const struct chat_call *calls, size_t n) {
        scribe_template(scribe, "\n\n<" SCRIBE_DSML SCRIBE_CALLS ">\n");
        for (size_t i = 0; i < n; i++) {
                scribe_template(scribe, "<" SCRIBE_DSML SCRIBE_INVOKE " name=\"");
                scribe_text(scribe, calls[i].name);
                scribe_string(scribe, "\">\n");
                render_arguments(scribe, &calls[i]);
                scribe_template(scribe, "\n</" SCRIBE_DSML SCRIBE_INVOKE ">\n");
        }
        scribe_template(scribe, "</" SCRIBE_DSML SCRIBE_CALLS ">");
}
