/* Conversations made of source text, and what a run gives for them that nothing interrupts and of
 * which nothing is kept: every logit, and the token that sampling takes at every position.
 *
 * In memory that child processes share, made once and then only read. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Several times what binds in the models that are tested (index_topk, candidate limits), and eight
 * pages; logits of two dozen such conversations fit a small machine. */
#define CONVERSATION_TOKENS_MAX 1024
#define CONVERSATIONS_MAX       64

struct conversation {
        uint32_t n_prompt, n; /* tokens: of the prompt; with the generated ones behind it */
        uint64_t seed;        /* of the sampling */
        uint32_t ids[CONVERSATION_TOKENS_MAX];
        uint32_t drawn[CONVERSATION_TOKENS_MAX + 1]; /* what sampling takes for position p > 0 */
};

struct reference_options {
        const char *model_dir;
        const char *const *text_files; /* source text that the conversations are about */
        unsigned n_text_files;
        unsigned n_conversations;
        uint64_t seed;
};

struct reference {
        unsigned n_conversations;
        uint32_t vocab_size;
        uint64_t device_bytes_min; /* machine_device_bytes_min() of the model */
        const struct conversation *conversation;
        const float *logits;
        void *map;
        size_t bytes;
};

/* Computes it in a process of its own. 0 or -1, with a message on standard error. */
int reference_make(const struct reference_options *options, struct reference *ret);
void reference_free(struct reference *reference);

/* Those that follow the token at `position`; vocab_size of them. */
const float *reference_logits(const struct reference *reference, unsigned conversation,
                              uint32_t position);

/* How many of the logits are not exactly those. */
uint64_t reference_count_different(const struct reference *reference, unsigned conversation,
                                   uint32_t position, const float *logits);

/* How all sequences here are sampled: any difference in any logit can change the token. */
struct sampling;
struct sampling conversation_sampling(const struct conversation *conversation);
