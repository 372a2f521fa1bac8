/* The engine: token ids in, logits out, for a batch of several sequences at once.
 *
 * Ownership: a model is immutable after engine_open() and shared by its sequences; a sequence holds
 * one context's KV (streams + frontier). Threads: one thread calls engine_step(), sequence_* and
 * engine_close() (the engine thread); config, tokenizer and limits may be read from any thread.
 *
 * Promise: the logits of a position are a function of model and tokens up to it, bit for bit,
 * whatever the batch, the chunking and the number of threads (engine/README.md, numerics contract).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/model_config.h"

struct engram_rows;
struct engram_tables;
struct error;
struct choices;
struct tokenizer;
struct engine;
struct sequence;

enum compute {
        COMPUTE_BF16, /* activations rounded to BF16 where the checkpoint's reference rounds them */
        COMPUTE_F32,  /* no activation rounding: for comparing with another implementation */
};

enum backend_kind {
        BACKEND_AUTO,      /* fastest that this machine has */
        BACKEND_REFERENCE, /* plain C: the specification */
        BACKEND_CPU,       /* AVX2 or AVX-512, same bits as the reference */
};

struct engine_options {
        const char *model_dir;
        enum compute compute;
        enum backend_kind backend;
        unsigned n_threads;      /* 0 = one per online CPU */
        unsigned batch_rows_max; /* tokens per engine_step(), 0 = 512; fixes the workspace */
        /* Where Engram rows come from (engram_rows.h); NULL = the checkpoint. Borrowed. */
        const struct engram_rows *engram_rows;
        /* Load progress in [0, 1] and what is being done; may be NULL. */
        void (*progress)(void *userdata, double done, const char *what);
        void *userdata;
        const struct choices *choices; /* outlives the engine; NULL in production (choices.h) */
};

int engine_open(const struct engine_options *options, struct engine **ret, struct error *err);
struct engine *
engine_close(struct engine *engine); /* NULL-safe, returns NULL; all sequences freed before */

const struct model_config *engine_config(const struct engine *engine);
const struct tokenizer *engine_tokenizer(const struct engine *engine);
const char *engine_backend_name(const struct engine *engine); /* "cpu avx2", "cpu reference", ... */
/* Engines of one class give the same bits: "cpu bf16", "cpu f32". */
const char *engine_numerics_class(const struct engine *engine);
unsigned engine_batch_rows_max(const struct engine *engine);
uint64_t engine_weight_bytes(const struct engine *engine); /* of all bound tensors */

/* What the checkpoint's files hold that the engine does not read, one line of text for each
 * `index` from 0: "draft layers (mtp.*): 96 tensors, 7.93 GB, not used". False past the last. */
bool engine_skipped(const struct engine *engine, unsigned index, char *ret_text, size_t size);

/* Weight bytes that decoding one token reads: all but the embedding's and the Engram tables' other
 * rows and the experts that are not chosen. */
uint64_t engine_decode_bytes(const struct engine *engine);

/* The model's Engram tables (engram_rows.h); n_tables may be 0. Any thread. */
const struct engram_tables *engine_engram_tables(const struct engine *engine);

int sequence_new(struct engine *engine, struct sequence **ret); /* 0 or -ENOMEM */
struct sequence *sequence_free(struct sequence *sequence);      /* NULL-safe, returns NULL */
uint64_t sequence_position(const struct sequence *sequence);    /* tokens computed so far */
uint64_t sequence_bytes(const struct sequence *sequence);       /* memory its KV holds now */

/* What a sequence remembers, as bytes: full pages of ENGINE_PAGE_TOKENS tokens, which never change,
 * and a state that belongs to the position it stands at (windows, open groups, the rows of its
 * unfinished page). A sequence restored from them computes the same bits as the one they were taken
 * from. They depend on tokens, weights, configuration, compute mode and NUMERICS_VERSION; on
 * nothing else, and hold no address and no byte of other memory. */
#define ENGINE_PAGE_TOKENS 128

size_t engine_page_bytes(const struct engine *engine); /* 0: the model keeps no rows */
size_t engine_state_bytes(const struct engine *engine);

/* `page` counts from 0 and is full: (page + 1) * ENGINE_PAGE_TOKENS <= sequence_position(). */
void sequence_save_page(const struct sequence *sequence, uint64_t page, uint8_t *ret_page);
void sequence_save_state(const struct sequence *sequence, uint8_t *ret_state);

/* Into a new sequence. Copies. -EINVAL: not new, or the state does not follow n_pages pages;
 * -ENOMEM. After an error the sequence must be freed. The bytes are trusted otherwise: whoever kept
 * them has checked that they are what was saved. */
int sequence_restore(struct sequence *sequence, const uint8_t *const *pages, uint64_t n_pages,
                     const uint8_t *state, struct error *err);

/* One sequence's part of a step: `n` more tokens. Each sequence at most once per batch. Logits are
 * wanted for the last n_logits of them: row-major [n_logits][vocab_size] float32, owned by the
 * caller. */
struct batch_part {
        struct sequence *sequence;
        const uint32_t *ids;
        uint32_t n;
        uint32_t n_logits;
        float *logits;
};

/* Computes all parts. Sum of n at most engine_batch_rows_max(). Errors: -EINVAL (unknown id, part
 * too large, past max_positions; nothing was changed), -ENOMEM (nothing was changed), -ERANGE (a
 * NaN came out of the model; the message names sequence part and layer) or what the source of
 * Engram rows gave, -EIO for one; after these two the sequences of the batch must be freed. */
int engine_step(struct engine *engine, const struct batch_part *parts, size_t n_parts,
                struct error *err);

/* Announces tokens that will probably be computed: the Engram rows of ids[first] ... ids[n - 1] may
 * be fetched from now on. ids[0] is the token at the sequence's position; the first ones only give
 * the others their history. Never fails and never waits; more than engine_batch_rows_max() tokens
 * or an unknown id: nothing happens. Engine thread, between steps. */
void engine_prefetch(struct sequence *sequence, const uint32_t *ids, uint32_t first, uint32_t n);
