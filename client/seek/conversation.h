/* A conversation that seek keeps: messages as JSON, as OpenAI's API has them, and their form for
 * libseekd. Single-threaded. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "client/seek/seek.h"

struct conversation {
        json_t *messages; /* array of {role, content, reasoning, tool_calls, tool_call_id} */
        char **tools;     /* JSON, one function each */
        size_t n_tools;
        struct seekd_chat
                chat;        /* everything but messages and tools, which conversation_view() sets */
        struct input schema; /* of --schema */
};

/* Values of getopt_long() for the options of a conversation. */
enum conversation_option {
        OPTION_SYSTEM = 3000,
        OPTION_THINK,
        OPTION_NO_THINK,
        OPTION_EFFORT,
        OPTION_TOOLS,
        OPTION_TOOL_CHOICE,
        OPTION_SCHEMA,
};
#define CONVERSATION_OPTIONS                                                                       \
        { "system", required_argument, NULL, OPTION_SYSTEM },                                      \
                { "think", no_argument, NULL, OPTION_THINK },                                      \
                { "no-think", no_argument, NULL, OPTION_NO_THINK },                                \
                { "effort", required_argument, NULL, OPTION_EFFORT },                              \
                { "tools", required_argument, NULL, OPTION_TOOLS },                                \
                { "tool-choice", required_argument, NULL, OPTION_TOOL_CHOICE }, {                  \
                "schema", required_argument, NULL, OPTION_SCHEMA                                   \
        }
#define CONVERSATION_HELP                                                                          \
        "  --system TEXT      instructions that come first\n"                                      \
        "  --think            reason before answering\n"                                           \
        "  --no-think         do not (default of ask)\n"                                           \
        "  --effort N         how thoroughly to reason, 1 to 100 (default 75)\n"                   \
        "  --tools FILE       a JSON array of functions that may be called\n"                      \
        "  --tool-choice C    auto (default), none, required, or the name of a function\n"         \
        "  --schema FILE      answer with JSON that the JSON schema in FILE accepts\n"

/* False: no memory. */
bool conversation_init(struct conversation *conversation);
void conversation_deinit(struct conversation *conversation);

/* Takes one option. False: what is wrong was reported, or it is none of these; *ret_exit is the
 * exit code. */
bool conversation_take_option(struct conversation *conversation, int option, const char *argument,
                              int *ret_exit);

/* Appends a message. False: no memory, or the text is not UTF-8. */
bool conversation_add(struct conversation *conversation, const char *role, const char *text,
                      size_t n);

/* Appends what a program sent: a string (a user's message), a message, or an array of messages.
 * NULL, or what is wrong with it; then nothing was appended. */
const char *conversation_add_json(struct conversation *conversation, const json_t *value);

/* The conversation for libseekd, pointing into it: one block, the caller frees it. NULL: no memory.
 */
struct seekd_chat *conversation_view(const struct conversation *conversation);

/* Sets chat, and the schema, in the parameters of a request. */
void conversation_fill(const struct conversation *conversation, const struct seekd_chat *view,
                       struct seekd_params *params);
