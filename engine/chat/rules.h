/* What the encodings do differently. Everything else is shared (encode.c, render.c). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct chat;
struct scribe;
struct turn;
struct turns;

struct chat_rules {
        bool system_token; /* each system turn begins with it */

        /* What comes before the first turn, behind BOS. */
        void (*open)(struct scribe *scribe, const struct chat *chat, const struct turn *first);

        /* Whether the turn is one that a person waits on: earlier reasoning is dropped before the
         * last of these. */
        bool (*asks)(const struct turns *turns, size_t i);

        /* Whether the assistant's header follows the turn, which is the last or is followed by an
         * assistant's turn or a reminder. */
        bool (*is_answered)(const struct turns *turns, size_t i);
};

extern const struct chat_rules chat_rules_v4;
extern const struct chat_rules chat_rules_v41;
