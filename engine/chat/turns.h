/* A conversation as the encodings see it: turns, of which a user's gathers messages and tool
 * results that follow each other. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/chat/chat.h"

struct turn {
        enum chat_role role; /* never CHAT_TOOL */
        const struct chat_message *const
                *parts; /* one; for CHAT_USER one or more, also CHAT_TOOL */
        size_t n_parts;
        const struct chat_message
                *message; /* the first part; NULL: a system turn put in for tools */
};

struct turns {
        struct turn *turns;
        size_t n;
        const struct chat_message **parts;
};

/* Gathers the turns, tool results in the order of the calls they answer, and puts an empty system
 * turn first when tools or a response format need one. `chat` must outlive them. -ENOMEM. */
int turns_gather(struct turns *ret, const struct chat *chat);
void turns_deinit(struct turns *turns);

/* Takes out developers' turns before `from`, which a model does not see once they are answered
 * (with tools they stay: the caller knows). */
void turns_forget_developers(struct turns *turns, size_t from);

/* Whether the turn is a user's that holds nothing but tool results. */
bool turn_is_results(const struct turn *turn);
