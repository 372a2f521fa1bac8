#include "client/client.h"

#include <stddef.h>

/* Size of the first version of the struct. */
#define RESULT_BYTES_MIN offsetof(struct seekd_result, tool_calls)

/* Also on failure the program finds code and message in its result. */
static int write_result(struct seekd_client *client, struct seekd_result *theirs,
                        const struct seekd_result *ours) {
        int r = theirs ? versioned_write(theirs, ours, sizeof(*ours), RESULT_BYTES_MIN) : 0;
        if (!theirs || theirs->size < sizeof(*ours))
                seekd_free((void *)(uintptr_t)ours->tool_calls); /* nobody can */
        if (r < 0)
                return client_fail(client, SEEKD_E_INVALID,
                                   "result: not initialised with SEEKD_RESULT_INIT");
        return ours->code;
}

int seekd_complete(struct seekd_client *client, const struct seekd_params *params,
                   seekd_piece_fn piece, void *userdata, struct seekd_result *result) {
        struct seekd_result ours = SEEKD_RESULT_INIT;
        struct seekd_request *request = NULL;
        int code = client_check_usable(client);
        if (code == 0)
                code = seekd_submit(client, params, piece, NULL, userdata, &request);
        if (code == 0)
                code = client_wait(client, request);
        if (code < 0) {
                result_from_code(&ours, code, client->error.text);
        } else {
                ours = request->result;
                request->result.tool_calls = NULL;
                if (ours.code < 0)
                        client_fail(client, ours.code, "%s", ours.error);
        }
        seekd_request_free(request);
        return write_result(client, result, &ours);
}
