#include <errno.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/chat/render.h"
#include "engine/chat/rules.h"
#include "engine/chat/scribe.h"
#include "engine/chat/turns.h"
#include "engine/tokenizer.h"

struct encoding {
        const struct chat_rules *rules;
        const struct chat *chat;
        const struct turns *turns;
        struct scribe *scribe;
        size_t last_asking; /* turn; turns->n: none asks */
        bool drops;         /* reasoning before that turn */
};

static const struct chat_rules *rules_of(const struct chat_tokens *tokens) {
        return tokens->dialect == CHAT_V41 ? &chat_rules_v41 : &chat_rules_v4;
}

static size_t last_asking(const struct chat_rules *rules, const struct turns *turns) {
        for (size_t i = turns->n; i-- > 0;)
                if (rules->asks(turns, i))
                        return i;
        return turns->n;
}

/* Behind the last turn that asks. */
static bool is_present(const struct encoding *e, size_t i) {
        return e->last_asking == e->turns->n || i > e->last_asking;
}

/* Tools and response format stand in the first system turn. */
static void put_system(const struct encoding *e, size_t i) {
        const struct turn *turn = &e->turns->turns[i];
        if (i > 0 && e->rules->system_token)
                scribe_mark(e->scribe, CHAT_SYSTEM_TURN);
        if (turn->message)
                scribe_text(e->scribe, turn->message->content);
        for (size_t k = 0; k < i; k++)
                if (e->turns->turns[k].role == CHAT_SYSTEM)
                        return;
        if (e->chat->n_tools > 0) {
                scribe_string(e->scribe, "\n\n");
                render_tools(e->scribe, e->chat->tools, e->chat->n_tools);
        }
        if (e->chat->response_format.n > 0) {
                scribe_string(e->scribe, "\n\n");
                render_response_format(e->scribe, e->chat->response_format);
        }
}

static enum chat_task task_of(const struct turn *turn) {
        return turn->message ? turn->message->task : CHAT_NO_TASK;
}

static void put_assistant(const struct encoding *e, size_t i) {
        const struct chat_message *message = e->turns->turns[i].message;
        bool answers_task = i > 0 && task_of(&e->turns->turns[i - 1]) != CHAT_NO_TASK;
        if (e->chat->thinking && !answers_task && (!e->drops || is_present(e, i))) {
                scribe_text(e->scribe, message->reasoning);
                scribe_mark(e->scribe, CHAT_THINK_END);
        }
        scribe_text(e->scribe, message->content);
        if (message->n_calls > 0)
                render_calls(e->scribe, message->calls, message->n_calls);
        if (!message->open)
                scribe_mark(e->scribe, CHAT_EOS);
}

/* Opens the answer to turn i. */
static void put_header(const struct encoding *e, size_t i) {
        enum chat_task task = task_of(&e->turns->turns[i]);
        bool thinks = e->chat->thinking && (!e->drops || i >= e->last_asking || is_present(e, i));
        if (task != CHAT_NO_TASK && task != CHAT_ACTION) {
                scribe_mark(e->scribe, chat_task_mark(task));
                return;
        }
        if (task == CHAT_ACTION)
                thinks = e->chat->thinking;
        scribe_mark(e->scribe, CHAT_ASSISTANT_TURN);
        scribe_mark(e->scribe, thinks ? CHAT_THINK : CHAT_THINK_END);
        if (task == CHAT_ACTION)
                scribe_mark(e->scribe, chat_task_mark(task));
}

static void put_turn(const struct encoding *e, size_t i) {
        const struct turn *turn = &e->turns->turns[i];
        switch (turn->role) {
        case CHAT_SYSTEM: put_system(e, i); break;
        case CHAT_DEVELOPER:
                scribe_mark(e->scribe, CHAT_USER_TURN);
                scribe_text(e->scribe, turn->message->content);
                break;
        case CHAT_REMINDER:
                scribe_mark(e->scribe, CHAT_REMINDER_TURN);
                scribe_text(e->scribe, turn->message->content);
                break;
        case CHAT_ASSISTANT: put_assistant(e, i); break;
        default:
                scribe_mark(e->scribe, CHAT_USER_TURN);
                render_parts(e->scribe, turn);
                break;
        }
        bool last = i + 1 == e->turns->n;
        enum chat_role next = last ? CHAT_ROLES : e->turns->turns[i + 1].role;
        if ((last || next == CHAT_ASSISTANT || next == CHAT_REMINDER) &&
            (task_of(turn) != CHAT_NO_TASK || e->rules->is_answered(e->turns, i)))
                put_header(e, i);
}

int chat_encode(const struct chat_tokens *tokens, const struct chat *chat, struct token_list *ids,
                struct error *err) {
        CLEANUP(turns_deinit) struct turns turns = { 0 };
        CLEANUP(scribe_deinit)
        struct scribe scribe = {
                .tokens = tokens, .tags = chat_tags_of(tokens->dialect), .ids = ids, .err = err
        };
        struct encoding e = {
                .rules = rules_of(tokens), .chat = chat, .turns = &turns, .scribe = &scribe
        };
        if (turns_gather(&turns, chat) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        /* With tools, what the model thought of earlier calls stays. */
        e.drops = chat->n_tools == 0;
        if (chat->thinking && e.drops)
                turns_forget_developers(&turns, last_asking(e.rules, &turns));
        e.last_asking = last_asking(e.rules, &turns);

        size_t n_before = ids->n;
        scribe_mark(&scribe, CHAT_BOS);
        e.rules->open(&scribe, chat, &turns.turns[0]);
        for (size_t i = 0; i < turns.n; i++)
                put_turn(&e, i);
        int r = scribe_finish(&scribe);
        if (r < 0)
                ids->n = n_before;
        return r;
}

bool chat_is_reasoning(const struct chat_tokens *tokens, const struct token_list *ids) {
        for (size_t i = ids->n; i-- > 0;) {
                if (ids->ids[i] == tokens->ids[CHAT_THINK])
                        return true;
                if (ids->ids[i] == tokens->ids[CHAT_THINK_END])
                        return false;
        }
        return false;
}
