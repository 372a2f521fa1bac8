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
        unsigned n_threads;       /* 0 = one per online CPU */
        unsigned batch_rows_max;  /* tokens per engine_step(), 0 = 512; fixes the workspace */
        uint64_t device_kv_bytes; /* KV of all sequences together on the device; 0 = no bound */
        /* Slots for gathered rows, of each source of a spilled sequence; 0 = 2048; raised to
         * index_topk. */
        uint32_t hot_rows;
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

/* 0; -ENOSPC: the device pool has no room for its state, even after spilling; -ENOMEM. */
int sequence_new(struct engine *engine, struct sequence **ret);
struct sequence *sequence_free(struct sequence *sequence);   /* NULL-safe, returns NULL */
uint64_t sequence_position(const struct sequence *sequence); /* tokens computed so far */
uint64_t sequence_bytes(const struct sequence *sequence);    /* device bytes it holds now */

/* What a sequence remembers, as bytes: full pages of ENGINE_PAGE_TOKENS tokens, which never change,
 * and a state that belongs to the position it stands at (windows, open groups, the rows of its
 * unfinished page). A sequence restored from them computes the same bits as the one they were taken
 * from. They depend on tokens, weights, configuration, compute mode and NUMERICS_VERSION; on
 * nothing else, and hold no address and no byte of other memory. */
#define ENGINE_PAGE_TOKENS 128

/* Version of these bytes: to be changed when the same configuration comes to be laid out, or its
 * rows to be packed, in another way. */
#define ENGINE_KV_FORMAT "1"

size_t engine_page_bytes(const struct engine *engine); /* 0: the model keeps no rows */
size_t engine_state_bytes(const struct engine *engine);

/* `page` counts from 0 and is full: (page + 1) * ENGINE_PAGE_TOKENS <= sequence_position(). */
void sequence_save_page(const struct sequence *sequence, uint64_t page, uint8_t *ret_page);
void sequence_save_state(const struct sequence *sequence, uint8_t *ret_state);

/* Into a new sequence. `state` is copied; the pages are lent (sequence_lend_page()), all of their
 * rows are copied to the device when there is room for all, else the sequence is spilled from its
 * start. -EINVAL: not new, or the state does not follow n_pages pages; -ENOSPC: the device pool has
 * no room, even after spilling; -ENOMEM. After an error the sequence must be freed. The bytes are
 * trusted otherwise: whoever kept them has checked that they are what was saved. */
int sequence_restore(struct sequence *sequence, const uint8_t *const *pages, uint64_t n_pages,
                     const uint8_t *state, struct error *err);

/* The device pool. Windows and index keys of a sequence are always on the device, the main rows of
 * its pages while there is room. When there is none, whole sequences are spilled: the main rows of
 * their lent pages leave the device, and those that are selected are gathered from the slabs. No
 * logit changes. */

/* `slab`: what sequence_save_page() gave for this full page; borrowed, valid and unchanged until
 * sequence_free(). From now on the page's main rows may leave the device. A page lent already keeps
 * its first slab. */
void sequence_lend_page(struct sequence *sequence, uint64_t page, const uint8_t *slab);

/* Drops all lent main rows now, and those lent later. The engine does it by itself when it needs
 * room; this is for tests and benchmarks. It does not ask whether the hot pool, which the sequence
 * gets instead, is smaller than what it drops. 0, or
 * -ENOMEM: no room for the hot pool, nothing has changed. */
int sequence_spill(struct sequence *sequence);

/* Device bytes of one sequence of n_tokens tokens, at most: resident, or `spilled` by the engine,
 * when each page is lent before the step after the one that filled it. Any thread. */
uint64_t engine_kv_bytes(const struct engine *engine, uint64_t n_tokens, bool spilled);

struct engine_kv_statistics {
        uint64_t device_bytes, device_bytes_max; /* in use now, and at most so far */
        uint64_t n_sequences, n_spilled;         /* that exist now */
        uint64_t spills;                         /* sequences spilled so far */
        uint64_t rows_gathered; /* selected rows that were looked for in a hot pool so far */
        uint64_t rows_missed;   /* of these, copied from a slab */
};

void engine_kv_statistics(const struct engine *engine, struct engine_kv_statistics *ret);

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

/* From now on calls back whenever one more layer of a step is done: a step of a large model takes
 * seconds, and somebody may want to know how far it is. NULL: no more. On the engine thread; the
 * callback calls nothing of this header. */
void engine_watch(struct engine *engine,
                  void (*layer_done)(void *userdata, uint32_t done, uint32_t total),
                  void *userdata);

/* Announces tokens that will probably be computed: the Engram rows of ids[first] ... ids[n - 1] may
 * be fetched from now on. ids[0] is the token at the sequence's position; the first ones only give
 * the others their history. Never fails and never waits; more than engine_batch_rows_max() tokens
 * or an unknown id: nothing happens. Engine thread, between steps. */
void engine_prefetch(struct sequence *sequence, const uint32_t *ids, uint32_t first, uint32_t n);
