#include "engine/vocabulary.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/byte_alphabet.h"

/* What the strings of a file need: its longest id and the room for all texts. */
struct extent {
        uint32_t n_ids;
        size_t text_bytes;
};

static int check_id(json_t *id, const char *where, const char *string, uint32_t *ret,
                    struct error *err) {
        if (!json_is_integer(id))
                return error_set(err, -EINVAL, "%s: '%.64s': the id is not an integer", where,
                                 string);
        json_int_t value = json_integer_value(id);
        if (value < 0 || value >= (json_int_t)TOKENIZER_IDS_MAX)
                return error_set(err, -EINVAL,
                                 "%s: '%.64s': id %" JSON_INTEGER_FORMAT " is outside 0..%u", where,
                                 string, value, TOKENIZER_IDS_MAX - 1);
        *ret = (uint32_t)value;
        return 0;
}

static void extend(struct extent *extent, uint32_t id, size_t n) {
        if (id >= extent->n_ids)
                extent->n_ids = id + 1;
        /* String and bytes, each with a 0 and rounded up to the arena's 16. */
        extent->text_bytes += 2 * (n + 16);
}

static int measure_vocab(json_t *vocab, struct extent *extent, struct error *err) {
        const char *string;
        json_t *value;
        json_object_foreach(vocab, string, value) {
                uint32_t id;
                int r = check_id(value, "model.vocab", string, &id, err);
                if (r < 0)
                        return r;
                extend(extent, id, strlen(string));
        }
        return 0;
}

static int measure_added(json_t *vocab, json_t *added, struct extent *extent, struct error *err) {
        size_t i;
        json_t *token;
        json_array_foreach(added, i, token) {
                const char *content = json_string_value(json_object_get(token, "content"));
                if (!content || !*content)
                        return error_set(err, -EINVAL, "added_tokens[%zu]: no content", i);
                uint32_t id;
                int r = check_id(json_object_get(token, "id"), "added_tokens", content, &id, err);
                if (r < 0)
                        return r;
                json_t *known = json_object_get(vocab, content);
                if (known && json_integer_value(known) != (json_int_t)id)
                        return error_set(err, -EINVAL,
                                         "added_tokens: '%.64s': id %u, but %" JSON_INTEGER_FORMAT
                                         " in the vocabulary",
                                         content, id, json_integer_value(known));
                extend(extent, id, strlen(content));
        }
        return 0;
}

static char *copy_text(struct vocabulary *vocabulary, const char *string, size_t n) {
        char *copy = arena_alloc(&vocabulary->text, n + 1);
        if (copy)
                memcpy(copy, string, n);
        return copy;
}

static int fill_vocab(struct vocabulary *vocabulary, json_t *vocab, struct error *err) {
        const char *string;
        json_t *value;
        json_object_foreach(vocab, string, value) {
                uint32_t id = (uint32_t)json_integer_value(value);
                struct vocabulary_entry *entry = &vocabulary->entries[id];
                if (entry->string)
                        return error_set(err, -EINVAL,
                                         "model.vocab: id %u for both '%.64s' and '%.64s'", id,
                                         entry->string, string);
                size_t n = strlen(string);
                char *bytes = copy_text(vocabulary, string, n);
                entry->string = copy_text(vocabulary, string, n);
                if (!bytes || !entry->string)
                        return error_set(err, -ENOMEM, "out of memory");
                /* An entry that is not written in the byte alphabet is text as it stands. */
                ptrdiff_t n_bytes = byte_alphabet_decode(string, n, bytes);
                if (n_bytes < 0)
                        memcpy(bytes, string, n);
                entry->bytes = bytes;
                entry->n_bytes = (uint32_t)(n_bytes < 0 ? (ptrdiff_t)n : n_bytes);
        }
        return 0;
}

static int fill_added(struct vocabulary *vocabulary, json_t *vocab, json_t *added,
                      struct error *err) {
        size_t i;
        json_t *token;
        json_array_foreach(added, i, token) {
                const char *content = json_string_value(json_object_get(token, "content"));
                uint32_t id = (uint32_t)json_integer_value(json_object_get(token, "id"));
                struct vocabulary_entry *entry = &vocabulary->entries[id];
                if (entry->string &&
                    !(strcmp(entry->string, content) == 0 && json_object_get(vocab, content)))
                        return error_set(err, -EINVAL,
                                         "added_tokens: id %u for both '%.64s' and '%.64s'", id,
                                         entry->string, content);
                char *copy = copy_text(vocabulary, content, strlen(content));
                if (!copy)
                        return error_set(err, -ENOMEM, "out of memory");
                *entry = (struct vocabulary_entry){
                        .string = copy,
                        .bytes = copy,
                        .n_bytes = (uint32_t)strlen(content),
                        .special = json_is_true(json_object_get(token, "special")),
                };
        }
        return 0;
}

int vocabulary_read(struct vocabulary *ret, json_t *vocab, json_t *added, struct error *err) {
        if (!json_is_object(vocab))
                return error_set(err, -EINVAL, "model.vocab: not an object");
        if (added && !json_is_array(added))
                return error_set(err, -EINVAL, "added_tokens: not an array");
        struct extent extent = { 0 };
        int r = measure_vocab(vocab, &extent, err);
        if (r == 0)
                r = measure_added(vocab, added, &extent, err);
        if (r < 0)
                return r;
        if (extent.n_ids == 0)
                return error_set(err, -EINVAL, "model.vocab: empty");

        struct vocabulary vocabulary = { .n_ids = extent.n_ids };
        vocabulary.entries = calloc(extent.n_ids, sizeof(*vocabulary.entries));
        if (!vocabulary.entries || arena_init(&vocabulary.text, extent.text_bytes) < 0)
                r = error_set(err, -ENOMEM, "out of memory");
        if (r == 0)
                r = fill_vocab(&vocabulary, vocab, err);
        if (r == 0)
                r = fill_added(&vocabulary, vocab, added, err);
        if (r < 0) {
                vocabulary_deinit(&vocabulary);
                return r;
        }
        for (uint32_t id = 0; id < vocabulary.n_ids; id++)
                if (vocabulary.entries[id].n_bytes > vocabulary.n_bytes_max)
                        vocabulary.n_bytes_max = vocabulary.entries[id].n_bytes;
        *ret = vocabulary;
        return 0;
}

void vocabulary_deinit(struct vocabulary *vocabulary) {
        free(vocabulary->entries);
        arena_deinit(&vocabulary->text);
        *vocabulary = (struct vocabulary){ 0 };
}
