#include "engine/chat/chat_tokens.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "engine/tokenizer.h"

/* As the tokenizers of the family spell them: fullwidth bars, a lower block for the space. */
static const char *const mark_texts[CHAT_MARKS] = {
        [CHAT_BOS] = "<｜begin▁of▁sentence｜>",
        [CHAT_EOS] = "<｜end▁of▁sentence｜>",
        [CHAT_USER_TURN] = "<｜User｜>",
        [CHAT_ASSISTANT_TURN] = "<｜Assistant｜>",
        [CHAT_THINK] = "<think>",
        [CHAT_THINK_END] = "</think>",
        [CHAT_DSML] = "｜DSML｜",
        [CHAT_SYSTEM_TURN] = "<｜System｜>",
        [CHAT_REMINDER_TURN] = "<｜latest_reminder｜>",
        [CHAT_TASK_FIRST + CHAT_ACTION - 1] = "<｜action｜>",
        [CHAT_TASK_FIRST + CHAT_QUERY - 1] = "<｜query｜>",
        [CHAT_TASK_FIRST + CHAT_AUTHORITY - 1] = "<｜authority｜>",
        [CHAT_TASK_FIRST + CHAT_DOMAIN - 1] = "<｜domain｜>",
        [CHAT_TASK_FIRST + CHAT_TITLE - 1] = "<｜title｜>",
        [CHAT_TASK_FIRST + CHAT_READ_URL - 1] = "<｜read_url｜>",
};

static const char *const task_names[CHAT_TASKS] = {
        [CHAT_ACTION] = "action", [CHAT_QUERY] = "query", [CHAT_AUTHORITY] = "authority",
        [CHAT_DOMAIN] = "domain", [CHAT_TITLE] = "title", [CHAT_READ_URL] = "read_url",
};

int chat_tokens_find(const struct tokenizer *tokenizer, struct chat_tokens *ret,
                     struct error *err) {
        ret->tokenizer = tokenizer;
        for (unsigned i = 0; i < CHAT_MARKS; i++) {
                ret->ids[i] = tokenizer_added(tokenizer, mark_texts[i]);
                if (ret->ids[i] == TOKEN_NONE && i < CHAT_MARKS_NEEDED)
                        return error_set(err, -ENOTSUP,
                                         "the tokenizer has no %s: this model does not chat",
                                         mark_texts[i]);
        }
        ret->dialect = ret->ids[CHAT_SYSTEM_TURN] != TOKEN_NONE ? CHAT_V41 : CHAT_V4;
        return 0;
}

const char *chat_mark_text(enum chat_mark mark) {
        return mark_texts[mark];
}

enum chat_mark chat_mark_of(const struct chat_tokens *tokens, uint32_t id) {
        unsigned i = 0;
        while (i < CHAT_MARKS && tokens->ids[i] != id)
                i++;
        return (enum chat_mark)i;
}

bool chat_task_of(const char *name, enum chat_task *ret) {
        for (unsigned i = CHAT_NO_TASK + 1; i < CHAT_TASKS; i++) {
                if (strcmp(task_names[i], name) == 0) {
                        *ret = (enum chat_task)i;
                        return true;
                }
        }
        return false;
}

enum chat_mark chat_task_mark(enum chat_task task) {
        return (enum chat_mark)(CHAT_TASK_FIRST + (unsigned)task - 1);
}

const struct chat_tags *chat_tags_of(enum chat_dialect dialect) {
        static const struct chat_tags v4 = { "tool_calls", "invoke", "parameter" };
        static const struct chat_tags v41 = { " calls", " invoke", " parameter" };
        return dialect == CHAT_V41 ? &v41 : &v4;
}
