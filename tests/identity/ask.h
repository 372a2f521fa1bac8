/* A request as the daemon makes it for a client that goes on with its conversation. */
#pragma once

#include <stdint.h>

struct conversation;
struct request;

/* The client has read the conversation up to token number `reached`, and that one too: its prompt
 * is longer than what was computed. Aborts without memory; request_free() it. */
struct request *ask(const struct conversation *conversation, uint32_t reached, uint32_t owner,
                    const char *subject);
