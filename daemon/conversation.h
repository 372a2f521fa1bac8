/* Generate.chat: checked, and encoded for the model at hand. */
#pragma once

#include "proto/seekd.pb-c.h"

struct engine;
struct request;

/* Appends the prompt to request->tokens and makes request->chat; after a failure request->refusal
 * names the field at fault. 0 or -1. Pool thread. */
int conversation_encode(struct request *request, const struct engine *engine,
                        const Seekd__V1__Chat *chat);
