/* The part of a request that costs time by its length and needs no model step: text to tokens and
 * back. */
#pragma once

struct engine;
struct request;

/* Reads request->message and leaves either a refusal, a packed result, or a generation that is
 * ready to be queued, or the tokens of an Append; then drops the message. The other messages about
 * sessions stay, for the loop thread; their session's tokens are loaded. Pool thread; touches the
 * request, the session that it has, and the engine's immutable parts only. */
void request_prepare(struct request *request, const struct engine *engine);
