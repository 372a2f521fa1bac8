/* Conversations, and what was parsed of an answer, as JSON: for test programs. */
#pragma once

#include <jansson.h>

#include "engine/chat/chat.h"

struct chat_tokens;

/* Answers one question, an object with "op":
 *
 *   encode      dialect, messages, tools, response_format, thinking, effort -> {"ids"} or {"error"}
 *   parse       reasoning, text, split (bytes a piece; 0 = all) -> {"reasoning", "content",
 * "calls", "incomplete", "raw"} parse_ids   reasoning, ids -> the same
 *
 * Never NULL; the caller's. */
json_t *chat_answer(const struct chat_tokens *tokens, const json_t *question);
