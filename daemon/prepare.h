/* The part of a request that costs time by its length and needs no model step: text to tokens and
 * back. */
#pragma once

struct engine;
struct request;

/* Reads request->message (RECORD_GENERATE, _TOKENIZE, _DETOKENIZE or _MODEL_INFO) and leaves either
 * a refusal, a packed result, or a generation that is ready to be queued; then drops the message.
 * Pool thread; touches the request and the engine's immutable parts only. */
void request_prepare(struct request *request, const struct engine *engine);
