#include "engine/chat/scribe.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "engine/tokenizer.h"

void scribe_deinit(struct scribe *scribe) {
        bytes_deinit(&scribe->text);
}

void scribe_text(struct scribe *scribe, struct chat_text text) {
        bytes_add(&scribe->text, text.data, text.n);
}

void scribe_string(struct scribe *scribe, const char *string) {
        bytes_add_string(&scribe->text, string);
}

int scribe_finish(struct scribe *scribe) {
        if (scribe->code == 0 && scribe->text.failed)
                scribe->code = error_set(scribe->err, -ENOMEM, "out of memory");
        if (scribe->code == 0 && scribe->text.n > 0)
                scribe->code = tokenizer_encode(scribe->tokens->tokenizer, scribe->text.data,
                                                scribe->text.n, TOKENIZE_LITERAL, scribe->ids,
                                                scribe->err);
        scribe->text.n = 0;
        return scribe->code;
}

void scribe_mark(struct scribe *scribe, enum chat_mark mark) {
        uint32_t id = scribe->tokens->ids[mark];
        if (scribe_finish(scribe) < 0)
                return;
        if (id == TOKEN_NONE)
                scribe->code = error_set(scribe->err, -ENOTSUP,
                                         "the tokenizer has no %s, which this conversation needs",
                                         chat_mark_text(mark));
        else if (token_list_append(scribe->ids, &id, 1) < 0)
                scribe->code = error_set(scribe->err, -ENOMEM, "out of memory");
}

void scribe_template(struct scribe *scribe, const char *template) {
        static const char stand_ins[] = SCRIBE_DSML SCRIBE_THINK SCRIBE_THINK_END SCRIBE_CALLS
                SCRIBE_INVOKE SCRIBE_PARAMETER;
        static const enum chat_mark marks[] = { CHAT_DSML, CHAT_THINK, CHAT_THINK_END };
        const char *names[] = { scribe->tags->calls, scribe->tags->invoke,
                                scribe->tags->parameter };
        for (const char *at = template; *at; at++) {
                size_t n = strcspn(at, stand_ins);
                bytes_add(&scribe->text, at, n);
                at += n;
                if (!*at)
                        break;
                size_t which = (size_t)(strchr(stand_ins, *at) - stand_ins);
                if (which < 3)
                        scribe_mark(scribe, marks[which]);
                else
                        scribe_string(scribe, names[which - 3]);
        }
}
