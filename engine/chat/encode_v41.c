/* DeepSeek-V4.1: system turns have a token of their own and may stand anywhere; the effort of
 * reasoning is a number. Source: the encoder released with DeepSeek-V4.1-Flash. */
#include <stdio.h>

#include "engine/chat/rules.h"
#include "engine/chat/scribe.h"
#include "engine/chat/turns.h"

static void open_prompt(struct scribe *scribe, const struct chat *chat, const struct turn *first) {
        if (chat->thinking || first->role == CHAT_SYSTEM)
                scribe_mark(scribe, CHAT_SYSTEM_TURN);
        if (!chat->thinking)
                return;
        char line[128];
        snprintf(line, sizeof(line),
                 "Reasoning Effort: %u (range 1-100, the higher the value, the more thorough the "
                 "reasoning)\n\n",
                 chat->effort > 0 ? chat->effort : CHAT_EFFORT_DEFAULT);
        scribe_string(scribe, line);
}

static bool is_later_system(const struct turns *turns, size_t i) {
        return turns->turns[i].role == CHAT_SYSTEM && i > 0;
}

/* A user's turn of nothing but tool results belongs to the answer that called. */
static bool asks(const struct turns *turns, size_t i) {
        const struct turn *turn = &turns->turns[i];
        return (turn->role == CHAT_USER && !turn_is_results(turn)) ||
                turn->role == CHAT_DEVELOPER || is_later_system(turns, i);
}

static bool is_answered(const struct turns *turns, size_t i) {
        enum chat_role role = turns->turns[i].role;
        return role == CHAT_USER || role == CHAT_DEVELOPER || is_later_system(turns, i);
}

const struct chat_rules chat_rules_v41 = {
        .system_token = true,
        .open = open_prompt,
        .asks = asks,
        .is_answered = is_answered,
};
