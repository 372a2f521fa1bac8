#include "tests/identity/ask.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "daemon/request.h"
#include "tests/identity/reference.h"

struct request *ask(const struct conversation *conversation, uint32_t reached, uint32_t owner,
                    const char *subject) {
        struct request *request = request_new(NULL, NULL, 0, 0);
        uint32_t n = reached < conversation->n_prompt ? conversation->n_prompt : reached + 1;
        if (!request || token_list_append(&request->tokens, conversation->ids, n) < 0)
                abort();
        request->uid = owner;
        snprintf(request->subject, sizeof(request->subject), "%s", subject);
        request->n_prompt = n;
        request->sampling = conversation_sampling(conversation);
        request->started_ns = clock_ns();
        return request;
}
