/* The parts of a prompt that all encodings share. */
#pragma once

#include <stddef.h>

#include "engine/chat/chat.h"

struct scribe;
struct turn;

/* How tools are called, and what there is to call. */
void render_tools(struct scribe *scribe, const struct chat_text *tools, size_t n);

void render_response_format(struct scribe *scribe, struct chat_text schema);

/* Messages and tool results of a user's turn. */
void render_parts(struct scribe *scribe, const struct turn *turn);

void render_calls(struct scribe *scribe, const struct chat_call *calls, size_t n);
