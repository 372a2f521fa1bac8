/* DeepSeek-V4: system text has no token, and reasoning has one other effort than the usual: the
 * greatest. Source: the encoder released with DeepSeek-V4-Flash. */
#include "engine/chat/rules.h"
#include "engine/chat/scribe.h"
#include "engine/chat/turns.h"

static const char effort_max[] =
        "Reasoning Effort: Absolute maximum with no shortcuts permitted.\n"
        "You MUST be very thorough in your thinking and comprehensively decompose the problem to "
        "resolve the root cause, rigorously stress-testing your logic against all potential paths, "
        "edge cases, and adversarial scenarios.\n"
        "Explicitly write out your entire deliberation process, documenting every intermediate "
        "step, considered alternative, and rejected hypothesis to ensure absolutely no assumption "
        "is left unchecked.\n\n";

static void open_prompt(struct scribe *scribe, const struct chat *chat, const struct turn *first) {
        (void)first;
        if (chat->thinking && chat->effort == CHAT_EFFORT_MAX)
                scribe_string(scribe, effort_max);
}

static bool asks(const struct turns *turns, size_t i) {
        enum chat_role role = turns->turns[i].role;
        return role == CHAT_USER || role == CHAT_DEVELOPER;
}

/* A system turn is answered when nothing else will be. */
static bool is_answered(const struct turns *turns, size_t i) {
        enum chat_role role = turns->turns[i].role;
        return asks(turns, i) ||
                (role == CHAT_SYSTEM &&
                 (i + 1 == turns->n || turns->turns[i + 1].role == CHAT_ASSISTANT));
}

const struct chat_rules chat_rules_v4 = {
        .system_token = false,
        .open = open_prompt,
        .asks = asks,
        .is_answered = is_answered,
};
