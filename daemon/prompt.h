/* From what a client sends to token ids. Pool thread.
 *
 * All append to request->tokens and return 0, or -1 with request->refusal, which names the field.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/seekd.pb-c.h"

struct engine;
struct request;

int prompt_add_bos(struct request *request, const struct engine *engine);
int prompt_add_text(struct request *request, const struct engine *engine, const char *field,
                    const ProtobufCBinaryData *text, bool parse_special);

/* Whether the model knows the ids; appends nothing. */
int prompt_check_ids(struct request *request, const struct engine *engine, const char *field,
                     const uint32_t *ids, size_t n);

/* The tokens of the request's session, if it has one: what comes next is appended to them. */
int prompt_begin(struct request *request);

/* What is to be continued, behind what is there; at the very start BOS is added, or for ids
 * expected. */
int prompt_text(struct request *request, const struct engine *engine,
                const ProtobufCBinaryData *text, bool parse_special);
int prompt_ids(struct request *request, const struct engine *engine,
               const Seekd__V1__TokenIds *tokens);
int prompt_chat(struct request *request, const struct engine *engine, const Seekd__V1__Chat *chat);

/* All of a Generate's. */
int prompt_read(struct request *request, const struct engine *engine,
                const Seekd__V1__Generate *generate);
