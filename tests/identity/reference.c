#include "tests/identity/reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/sampler.h"
#include "engine/tokenizer.h"
#include "tests/identity/machine.h"
#include "tests/splitmix64.h"

/* As several agents of one user have them. */
#define SYSTEM_PROMPTS 4

/* Of the uninterrupted run. What is compared with it takes other chunks. */
#define CHUNK 64

struct sampling conversation_sampling(const struct conversation *conversation) {
        return (struct sampling){ .temperature = 1, .top_p = 1, .seed = conversation->seed };
}

const float *reference_logits(const struct reference *reference, unsigned conversation,
                              uint32_t position) {
        size_t row = (size_t)conversation * CONVERSATION_TOKENS_MAX + position;
        return reference->logits + row * reference->vocab_size;
}

uint64_t reference_count_different(const struct reference *reference, unsigned conversation,
                                   uint32_t position, const float *logits) {
        const float *expected = reference_logits(reference, conversation, position);
        uint64_t different = 0;
        for (uint32_t i = 0; i < reference->vocab_size; i++)
                different += memcmp(&logits[i], &expected[i], sizeof(*logits)) != 0;
        return different;
}

/* -- text ----------------------------------------------------------------------------------------
 */

struct text {
        char *bytes;
        size_t n;
};

static int text_append(struct text *text, const char *path) {
        FILE *file = fopen(path, "rb");
        if (!file || fseek(file, 0, SEEK_END) != 0) {
                perror(path);
                return -1;
        }
        long n = ftell(file);
        rewind(file);
        char *more = realloc(text->bytes, text->n + (size_t)n + 1);
        if (!more || fread(more + text->n, 1, (size_t)n, file) != (size_t)n) {
                fprintf(stderr, "%s: cannot be read\n", path);
                abort();
        }
        fclose(file);
        text->bytes = more;
        text->n += (size_t)n;
        return 0;
}

/* Appends ids of whole lines from a random place until the list has n of them. */
static int append_lines(const struct tokenizer *tokenizer, const struct text *text,
                        uint64_t *random, size_t n, struct token_list *list) {
        while (list->n < n) {
                size_t from = next_random(random) % (text->n / 2), bytes = 8 * n;
                const char *start = memchr(text->bytes + from, '\n', text->n - from);
                if (!start || (size_t)(text->bytes + text->n - start) <= bytes) {
                        fprintf(stderr, "identity: more source text is needed\n");
                        return -1;
                }
                const char *end = memrchr(start, '\n', bytes);
                struct error err = { 0 };
                if (tokenizer_encode(tokenizer, start, (size_t)(end - start), TOKENIZE_LITERAL,
                                     list, &err) < 0) {
                        fprintf(stderr, "identity: %s\n", err.text);
                        return -1;
                }
        }
        list->n = n;
        return 0;
}

static int make_prompts(struct engine *engine, const struct reference_options *options,
                        struct conversation *conversation) {
        struct text text = { 0 };
        struct token_list system[SYSTEM_PROMPTS] = { 0 };
        uint64_t random = options->seed;
        uint32_t bos = engine_config(engine)->bos_id;
        const struct tokenizer *tokenizer = engine_tokenizer(engine);
        int r = 0;
        for (unsigned i = 0; r == 0 && i < options->n_text_files; i++)
                r = text_append(&text, options->text_files[i]);
        for (unsigned i = 0; r == 0 && i < SYSTEM_PROMPTS; i++) {
                token_list_append(&system[i], &bos, 1);
                r = append_lines(tokenizer, &text, &random, random_between(&random, 40, 400),
                                 &system[i]);
        }
        for (unsigned i = 0; r == 0 && i < options->n_conversations; i++) {
                struct conversation *c = &conversation[i];
                struct token_list ids = { 0 };
                const struct token_list *begin = &system[i / 2 % SYSTEM_PROMPTS];
                c->seed = options->seed + i;
                c->n = random_between(&random, 200, CONVERSATION_TOKENS_MAX);
                c->n_prompt = c->n - random_between(&random, 24, 64);
                /* One in five has nothing in common with others but BOS. */
                token_list_append(&ids, begin->ids, i % 5 == 4 ? 1 : begin->n);
                r = append_lines(tokenizer, &text, &random,
                                 c->n_prompt > ids.n ? c->n_prompt : ids.n, &ids);
                if (r == 0)
                        memcpy(c->ids, ids.ids, c->n_prompt * sizeof(*c->ids));
                token_list_deinit(&ids);
        }
        for (unsigned i = 0; i < SYSTEM_PROMPTS; i++)
                token_list_deinit(&system[i]);
        free(text.bytes);
        return r;
}

/* -- computing -----------------------------------------------------------------------------------
 */

static int compute(struct engine *engine, struct sampler *sampler, struct conversation *c,
                   float *logits) {
        struct sequence *sequence;
        struct sampling sampling = conversation_sampling(c);
        uint32_t vocab = engine_config(engine)->vocab_size, n_known = c->n_prompt;
        struct error err = { 0 };
        int r = sequence_new(engine, &sequence);
        if (r < 0)
                return r;
        for (uint32_t position = 0; r == 0 && position < c->n;) {
                uint32_t n = n_known - position < CHUNK ? n_known - position : CHUNK;
                struct batch_part part = { sequence, c->ids + position, n, n,
                                           logits + (size_t)position * vocab };
                r = engine_step(engine, &part, 1, &err);
                for (uint32_t end = position + n; r == 0 && position < end; position++)
                        c->drawn[position + 1] =
                                sampler_draw(sampler, logits + (size_t)position * vocab, NULL,
                                             &sampling, position + 1, NULL);
                if (position == n_known && n_known < c->n)
                        c->ids[n_known++] = c->drawn[position];
        }
        if (r < 0)
                fprintf(stderr, "identity: %s\n", err.text);
        sequence_free(sequence);
        return r;
}

/* How the shared memory begins; the logits follow. */
struct head {
        uint64_t device_bytes_min;
        struct conversation conversation[CONVERSATIONS_MAX];
};

static int compute_all(const struct reference_options *options, struct head *head, float *logits) {
        struct conversation *conversation = head->conversation;
        struct engine_options engine_options = { .model_dir = options->model_dir, .hot_rows = 1 };
        struct engine *engine;
        struct sampler *sampler;
        struct error err = { 0 };
        if (engine_open(&engine_options, &engine, &err) < 0) {
                fprintf(stderr, "identity: %s\n", err.text);
                return -1;
        }
        uint32_t vocab = engine_config(engine)->vocab_size;
        head->device_bytes_min = machine_device_bytes_min(engine);
        int r = sampler_new(vocab, &sampler);
        if (r == 0)
                r = make_prompts(engine, options, conversation);
        for (unsigned i = 0; r == 0 && i < options->n_conversations; i++)
                r = compute(engine, sampler, &conversation[i],
                            logits + (size_t)i * CONVERSATION_TOKENS_MAX * vocab);
        sampler_free(sampler);
        engine_close(engine);
        return r;
}

int reference_make(const struct reference_options *options, struct reference *ret) {
        struct model_config *config = malloc(sizeof(*config));
        struct error err = { 0 };
        if (!config || model_config_read(options->model_dir, config, &err) < 0) {
                fprintf(stderr, "identity: %s\n", err.text);
                free(config);
                return -1;
        }
        *ret = (struct reference){ .n_conversations = options->n_conversations,
                                   .vocab_size = config->vocab_size };
        free(config);
        ret->bytes = sizeof(struct head) +
                sizeof(float) * ret->vocab_size * CONVERSATION_TOKENS_MAX *
                        options->n_conversations;
        ret->map = mmap(NULL, ret->bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (ret->map == MAP_FAILED) {
                perror("identity: memory for the reference");
                return -1;
        }
        struct head *head = ret->map;
        ret->conversation = head->conversation;
        ret->logits = (const float *)(head + 1);
        /* A child: the parent must not have threads when it forks again. */
        pid_t child = fork();
        if (child == 0)
                _exit(compute_all(options, head, (float *)(head + 1)) < 0);
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
                fprintf(stderr, "identity: the reference could not be computed\n");
                reference_free(ret);
                return -1;
        }
        ret->device_bytes_min = head->device_bytes_min;
        return mprotect(ret->map, ret->bytes, PROT_READ);
}

void reference_free(struct reference *reference) {
        if (reference->map)
                munmap(reference->map, reference->bytes);
        *reference = (struct reference){ 0 };
}
