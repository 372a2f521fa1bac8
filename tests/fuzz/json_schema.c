/* JSON schemas, and documents under them: a byte of options, the schema's text, a zero byte, then
 * bytes of a document as far as they are taken. From there on a text is written to its end.
 *
 * Whatever the schema, its refusal names a place, a mask is what is taken, there is always a way
 * on, and a text that may end is JSON. */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/byte_alphabet.h"
#include "engine/grammar/constraint.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/mask_trie.h"
#include "engine/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define END_ID 0
#define N_IDS  (3 + 256 + 3)

/* Steps of a text: many are enough to come upon a dead end, and few enough for a fuzzer. */
#define STEPS_MAX 150

enum option {
        OPTION_TOOLS = 1 << 0, /* the schema is the parameters of a tool */
        OPTION_V4 = 1 << 1,
        OPTION_REASONING = 1 << 2,
        OPTION_REQUIRED = 1 << 3,
};

/* Each byte, and three tokens of several; the end; the two tokens that chats need. */
static struct mask_trie *make_trie(void) {
        json_t *vocab = json_object(), *added = json_array(), *merges = json_array();
        static const char *const marks[] = { "<end>", "｜DSML｜", "</think>" };
        static const char *const longer[][3] = { { "\":", "\"", ":" },
                                                 { "\",", "\"", "," },
                                                 { "e\"", "e", "\"" } };
        for (unsigned i = 0; i < 3; i++)
                json_array_append_new(added,
                                      json_pack("{s:i,s:s,s:b,s:b}", "id", i, "content", marks[i],
                                                "special", 1, "normalized", 0));
        for (unsigned byte = 0; byte < 256; byte++) {
                char text[3];
                byte_alphabet_write((uint8_t)byte, text);
                json_object_set_new(vocab, text, json_integer(3 + byte));
        }
        for (unsigned i = 0; i < 3; i++) {
                json_object_set_new(vocab, longer[i][0], json_integer(3 + 256 + i));
                json_array_append_new(merges, json_pack("[s,s]", longer[i][1], longer[i][2]));
        }
        json_t *split = json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                                  "trim_offsets", 1, "use_regex", 0);
        json_t *file = json_pack("{s:{s:s,s:o,s:o},s:o,s:O,s:o}", "model", "type", "BPE", "vocab",
                                 vocab, "merges", merges, "added_tokens", added, "decoder", split,
                                 "pre_tokenizer", split);
        char *text = json_dumps(file, 0);
        struct tokenizer *tokenizer;
        struct mask_trie *trie;
        struct error err = { 0 };
        if (tokenizer_parse("fuzz", text, strlen(text), &tokenizer, &err) < 0) {
                fprintf(stderr, "%s\n", err.text);
                abort();
        }
        if (mask_trie_new(tokenizer, N_IDS, END_ID, &trie) < 0)
                abort();
        json_decref(file);
        free(text);
        return trie;
}

static struct mask_trie *trie;

static int compile(unsigned options, const char *text, size_t n, struct grammar **ret,
                   struct error *err) {
        if ((options & (OPTION_TOOLS | OPTION_REASONING)) == 0)
                return grammar_from_schema(text, n, ret, err);
        static const char head[] = "{\"name\":\"f\",\"parameters\":";
        char *tool = malloc(n + sizeof(head) + 1);
        memcpy(tool, head, sizeof(head) - 1);
        memcpy(tool + sizeof(head) - 1, text, n);
        tool[sizeof(head) - 1 + n] = '}';
        const struct grammar_json json = { tool, n + sizeof(head) };
        struct grammar_chat chat = {
                .reasoning = options & OPTION_REASONING,
                .dialect = options & OPTION_V4 ? GRAMMAR_DIALECT_V4 : GRAMMAR_DIALECT_V41,
                .call_required = options & OPTION_REQUIRED,
        };
        if (options & OPTION_TOOLS) {
                chat.tools = &json;
                chat.n_tools = 1;
        }
        if (!(options & OPTION_TOOLS) || (options & (OPTION_REQUIRED | OPTION_V4)) == OPTION_V4)
                chat.schema = (struct grammar_json){ text, n };
        int r = grammar_from_chat(&chat, ret, err);
        free(tool);
        return r;
}

static bool allowed(const uint64_t *mask, uint32_t id) {
        return !mask || (mask[id / 64] >> id % 64 & 1);
}

struct writing {
        struct constraint *constraint;
        char text[STEPS_MAX * 2 + 1];
        size_t n;
        bool is_json; /* nothing but bytes so far */
};

/* Takes a token, or not, as the mask says. */
static bool step(struct writing *writing, const uint64_t *mask, uint32_t id) {
        bool takes = constraint_accept(writing->constraint, id) == 0;
        if (takes != allowed(mask, id))
                abort();
        size_t n;
        const char *bytes = tokenizer_bytes(trie->tokenizer, id, &n);
        if (takes && id > 2) {
                memcpy(writing->text + writing->n, bytes, n);
                writing->n += n;
        } else if (takes && id != END_ID) {
                writing->is_json = false;
        }
        return takes;
}

/* The way on that is taken: out of what is open, if one can; else what the input's bytes pick. */
static uint32_t choose(const uint64_t *mask, uint32_t pick, unsigned at) {
        static const char out[] = "\"}]:,0tfn</{[";
        if (allowed(mask, END_ID))
                return END_ID;
        for (unsigned i = 0; at % 3 != 0 && i < sizeof(out) - 1; i++)
                if (allowed(mask, 3 + (uint8_t)out[i]))
                        return 3 + (uint8_t)out[i];
        for (uint32_t i = 0; i < N_IDS; i++)
                if (allowed(mask, (pick + i) % N_IDS))
                        return (pick + i) % N_IDS;
        abort(); /* a dead end */
}

static void write_text(const struct grammar *grammar, const uint8_t *document, size_t n,
                       bool is_json) {
        struct writing writing = { .is_json = is_json };
        struct error err = { 0 };
        if (constraint_new(grammar, trie, &writing.constraint, &err) < 0)
                abort();
        uint32_t id = N_IDS;
        for (unsigned i = 0; i < STEPS_MAX && id != END_ID; i++) {
                const uint64_t *mask;
                if (constraint_mask(writing.constraint, &mask) < 0)
                        abort();
                /* Bytes of the document, then as it comes; 1 and 2 are the two tokens. */
                if (i < n) {
                        id = document[i] == 1 || document[i] == 2 ? document[i] : 3u + document[i];
                        if (step(&writing, mask, id))
                                continue;
                        n = i;
                }
                id = choose(mask, n > 0 ? 3u + document[i % n] * 7u : i, i);
                if (!step(&writing, mask, id))
                        abort();
        }
        json_error_t failure;
        json_t *json = NULL;
        if (id == END_ID && writing.is_json) {
                json = json_loadb(writing.text, writing.n, JSON_DECODE_ANY, &failure);
                if (!json) {
                        fprintf(stderr, "%.*s: %s\n", (int)writing.n, writing.text, failure.text);
                        abort();
                }
        }
        json_decref(json);
        constraint_free(writing.constraint);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
        if (!trie)
                trie = make_trie();
        if (bytes == 0)
                return 0;
        const char *schema = (const char *)data + 1;
        const uint8_t *end = memchr(schema, 0, bytes - 1);
        size_t n = end ? (size_t)(end - data) - 1 : bytes - 1;
        struct grammar *grammar;
        struct error err = { 0 };
        if (compile(data[0], schema, n, &grammar, &err) < 0) {
                bool placed = err.text[0] == '#' || strncmp(err.text, "tools", 5) == 0 ||
                        strncmp(err.text, "json_schema: ", 13) == 0 ||
                        strncmp(err.text, "neither", 7) == 0;
                if (!placed)
                        abort();
                return 0;
        }
        bool is_json = (data[0] & (OPTION_TOOLS | OPTION_REASONING)) == 0;
        write_text(grammar, end ? end + 1 : NULL, end ? bytes - n - 2 : 0, is_json);
        grammar_free(grammar);
        return 0;
}
