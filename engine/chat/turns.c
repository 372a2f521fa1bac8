#include "engine/chat/turns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static bool same_text(struct chat_text a, struct chat_text b) {
        return a.n == b.n && (a.n == 0 || memcmp(a.data, b.data, a.n) == 0);
}

/* Place of the call that this result answers; results that answer none come with the first. */
static size_t call_order(const struct chat_message *caller, const struct chat_message *result) {
        for (size_t i = caller->n_calls; i-- > 0;)
                if (result->tool_call_id.n > 0 &&
                    same_text(caller->calls[i].id, result->tool_call_id))
                        return i;
        return 0;
}

/* Sorts the results among the parts by their calls, stable; other parts keep their places. */
static int sort_results(const struct chat_message **parts, size_t n,
                        const struct chat_message *caller) {
        struct result {
                const struct chat_message *message;
                size_t order;
        };
        CLEANUP_FREE struct result *results = malloc(n * sizeof(*results));
        if (!results)
                return -ENOMEM;
        size_t n_results = 0;
        for (size_t i = 0; i < n; i++) {
                if (parts[i]->role != CHAT_TOOL)
                        continue;
                struct result result = { parts[i], call_order(caller, parts[i]) };
                size_t at = n_results++;
                for (; at > 0 && results[at - 1].order > result.order; at--)
                        results[at] = results[at - 1];
                results[at] = result;
        }
        for (size_t i = 0, next = 0; i < n; i++)
                if (parts[i]->role == CHAT_TOOL)
                        parts[i] = results[next++].message;
        return 0;
}

/* A tool's result always joins a user's turn before it, a user's message unless that turn has a
 * task.
 */
static bool joins(const struct turn *last, const struct chat_message *message) {
        if (!last || last->role != CHAT_USER)
                return false;
        return message->role == CHAT_TOOL ||
                (message->role == CHAT_USER && last->message->task == CHAT_NO_TASK);
}

static bool needs_system(const struct chat *chat) {
        if (chat->n_tools == 0 && chat->response_format.n == 0)
                return false;
        for (size_t i = 0; i < chat->n_messages; i++)
                if (chat->messages[i].role == CHAT_SYSTEM)
                        return false;
        return true;
}

int turns_gather(struct turns *ret, const struct chat *chat) {
        *ret = (struct turns){
                .turns = calloc(chat->n_messages + 1, sizeof(*ret->turns)),
                .parts = calloc(chat->n_messages + 1, sizeof(struct chat_message *)),
        };
        if (!ret->turns || !ret->parts)
                return -ENOMEM;
        if (needs_system(chat))
                ret->turns[ret->n++] = (struct turn){ .role = CHAT_SYSTEM };
        for (size_t i = 0; i < chat->n_messages; i++) {
                const struct chat_message *message = &chat->messages[i];
                struct turn *last = ret->n > 0 ? &ret->turns[ret->n - 1] : NULL;
                ret->parts[i] = message;
                if (joins(last, message)) {
                        last->n_parts++;
                        continue;
                }
                ret->turns[ret->n++] = (struct turn){
                        .role = message->role == CHAT_TOOL ? CHAT_USER : message->role,
                        .parts = ret->parts + i,
                        .n_parts = 1,
                        .message = message,
                };
        }
        const struct chat_message *caller = NULL;
        for (size_t i = 0; i < ret->n; i++) {
                const struct turn *turn = &ret->turns[i];
                if (turn->role == CHAT_ASSISTANT && turn->message->n_calls > 0)
                        caller = turn->message;
                size_t first = (size_t)(turn->parts - ret->parts);
                if (turn->role == CHAT_USER && turn->n_parts > 1 && caller &&
                    sort_results(ret->parts + first, turn->n_parts, caller) < 0)
                        return -ENOMEM;
        }
        return 0;
}

void turns_deinit(struct turns *turns) {
        free(turns->turns);
        free(turns->parts);
        *turns = (struct turns){ 0 };
}

void turns_forget_developers(struct turns *turns, size_t from) {
        size_t n_kept = 0;
        for (size_t i = 0; i < turns->n; i++)
                if (i >= from || turns->turns[i].role != CHAT_DEVELOPER)
                        turns->turns[n_kept++] = turns->turns[i];
        turns->n = n_kept;
}

bool turn_is_results(const struct turn *turn) {
        if (turn->role != CHAT_USER)
                return false;
        for (size_t i = 0; i < turn->n_parts; i++)
                if (turn->parts[i]->role != CHAT_TOOL)
                        return false;
        return true;
}
