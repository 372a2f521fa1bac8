/* What a model may write: a language compiled from a JSON schema or from the tools of a
 * conversation.
 *
 *   struct grammar         the compiled language; immutable, any thread, knows no vocabulary
 *   struct mask_trie       the vocabulary of a tokenizer, arranged for masks (mask_trie.h)
 *   struct constraint      where one generation stands in its grammar (constraint.h)
 *
 * Which keywords hold exactly and which are accepted but not enforced: README.md. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct error;
struct grammar;

/* A piece of JSON text: not 0-terminated. */
struct grammar_json {
        const char *text;
        size_t n;
};

/* How a conversation's calls are spelt. V4 named its tags "<｜DSML｜tool_calls>", V4.1 puts a space
 * before the name and calls the block "calls". */
enum grammar_dialect { GRAMMAR_DIALECT_V41, GRAMMAR_DIALECT_V4 };

struct grammar_chat {
        bool reasoning; /* generation begins inside reasoning: anything up to </think> */
        /* The text outside calls is a document of this schema; text NULL = any text. */
        struct grammar_json schema;
        /* OpenAI function objects: name, parameters (absent = any object), others ignored. None:
         * nothing is said about calls. */
        const struct grammar_json *tools;
        size_t n_tools;
        enum grammar_dialect dialect;
        bool call_required; /* the answer is one block of calls and no text */
        const char *tool;   /* only this one may be called; NULL = any */
};

/* A document of one schema, and nothing else. Errors: -EINVAL with the JSON pointer of what cannot
 * be compiled ("#/properties/a/$ref: ..."), -E2BIG when it is too large, -ENOMEM. */
int grammar_from_schema(const char *json, size_t n, struct grammar **ret, struct error *err);

/* An answer in a conversation: reasoning, then text or calls. Needs a tokenizer that has
 * "｜DSML｜" (with tools) and "</think>" (with reasoning) as added tokens: whoever makes a
 * constraint of the grammar is told when they are missing. Errors as above, prefixed with
 * "tools[2]" or "json_schema". */
int grammar_from_chat(const struct grammar_chat *chat, struct grammar **ret, struct error *err);

struct grammar *grammar_free(struct grammar *grammar); /* NULL-safe, returns NULL */
