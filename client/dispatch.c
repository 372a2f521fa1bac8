/* Waiting and waking: reads the socket's frames and the ring, and notices the daemon's end. */
#include "client/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

int client_lose(struct seekd_client *client, int code, const char *text) {
        client->lost = code;
        snprintf(client->lost_text, sizeof(client->lost_text), "%s", text);
        client_drop_outgoing(client);
        /* Callbacks may free requests or try to submit (refused, as the client is lost), so look
         * from the start. */
        for (struct seekd_request *request = client->requests; request;) {
                if (request->over) {
                        request = request->next;
                        continue;
                }
                result_from_code(&request->result, code, text);
                request_finish(request);
                request = client->requests;
        }
        return client_fail(client, code, "%s", text);
}

int client_check_usable(struct seekd_client *client) {
        if (client->calling_back)
                return client_fail(client, SEEKD_E_INVALID, "called from within a callback");
        if (client->lost)
                return client_fail(client, client->lost, "%s", client->lost_text);
        return 0;
}

/* The daemon broke a rule: tell it, and end. */
static int lose_for_violation(struct seekd_client *client, int negative_errno,
                              const struct error *err) {
        char text[SEEKD_ERROR_BYTES + 32];
        int code = seekd_code_of_errno(negative_errno);
        if (code == SEEKD_E_PROTOCOL) {
                frame_send_error(client->socket, -EPROTO, err->text);
                snprintf(text, sizeof(text), "the daemon's data is malformed: %s", err->text);
        } else {
                snprintf(text, sizeof(text), "%s", err->text);
        }
        return client_lose(client, code, text);
}

/* The daemon is gone. What it wrote before is still in the ring and belongs to the program. */
static int lose_for_hangup(struct seekd_client *client, const char *text) {
        struct error err = { 0 };
        int r = client_receive(client, false, &err);
        if (r < 0)
                return lose_for_violation(client, r, &err);
        return client_lose(client, SEEKD_E_LOST, text);
}

static int take_frame(struct seekd_client *client, const struct frame *frame) {
        char text[SEEKD_ERROR_BYTES];
        switch (frame->kind) {
        case FRAME_STATE:
                client->load_permille = frame->state.model_state == MODEL_FAILED ? -1
                        : frame->state.model_state == MODEL_READY                ? 1000
                                                                  : (int)frame->state.load_permille;
                return 0;
        case FRAME_ERROR:
                snprintf(text, sizeof(text), "the daemon ended the connection: %s",
                         frame->error.text);
                return client_lose(client, SEEKD_E_PROTOCOL, text);
        case FRAME_GOODBYE:
                return lose_for_hangup(client, "connection lost: the daemon is shutting down");
        default: return 0; /* a kick: the rings are looked at anyway */
        }
}

/* All frames that are there. 0, or the code that ended the connection. */
static int take_frames(struct seekd_client *client) {
        for (;;) {
                struct frame frame;
                struct error err = { 0 };
                int r = frame_recv(client->socket, FRAMES_FROM_DAEMON, &frame, &err);
                if (r == -EAGAIN)
                        return 0;
                if (r == 0 || r == -ECONNRESET || r == -EPIPE)
                        return lose_for_hangup(
                                client,
                                "connection lost: the daemon closed it (it stopped or was killed)");
                if (r < 0)
                        return lose_for_violation(client, r, &err);
                int code = take_frame(client, &frame);
                frame_close_fds(&frame);
                if (code < 0)
                        return code;
        }
}

/* Sends and receives what is possible now; `arm` as client_receive(). 0, or the code that ended the
 * connection. */
static int turn(struct seekd_client *client, bool arm, int *n) {
        struct error err = { 0 };
        int r = client_flush(client, &err);
        if (r == -EPIPE || r == -ECONNRESET)
                return take_frames(client);
        if (r >= 0)
                r = client_receive(client, arm, &err);
        if (r < 0)
                return lose_for_violation(client, r, &err);
        *n += r;
        return 0;
}

/* Looks at the ring until something is there or the time is up. 0, or the code that ended the
 * connection. */
static int spin(struct seekd_client *client, int *n) {
        uint64_t end_ns = clock_ns() + client->spin_ns;
        int code = 0;
        while (code == 0 && *n == 0 && clock_ns() < end_ns)
                code = turn(client, false, n);
        return code < 0 ? code : turn(client, true, n);
}

int seekd_dispatch(struct seekd_client *client, int timeout_ms) {
        int n = 0;
        int code = client_check_usable(client);
        if (code == 0)
                code = turn(client, true, &n);
        if (code == 0 && n == 0 && timeout_ms != 0 && client->spin_ns > 0)
                code = spin(client, &n);
        if (code < 0)
                return code;

        struct pollfd poll_fd = { client->socket, (short)seekd_events(client), 0 };
        int r = poll(&poll_fd, 1, n > 0 ? 0 : timeout_ms);
        if (r < 0 && errno != EINTR)
                return client_lose(client, SEEKD_E_SYSTEM, strerror(errno));
        if (r > 0) {
                code = take_frames(client);
                if (code == 0)
                        code = turn(client, true, &n);
        }
        return code < 0 ? code : n;
}

int client_wait(struct seekd_client *client, const struct seekd_request *request) {
        while (!request->over) {
                int r = seekd_dispatch(client, -1);
                if (r < 0 && !request->over)
                        return r;
        }
        return 0;
}

int seekd_fd(const struct seekd_client *client) {
        return client->socket;
}

int seekd_load_permille(const struct seekd_client *client) {
        return client->load_permille;
}

int seekd_set_spin_ns(struct seekd_client *client, uint32_t spin_ns) {
        if (spin_ns > CLIENT_SPIN_NS_MAX)
                return client_fail(client, SEEKD_E_INVALID, "spin_ns: %u, at most %u is allowed",
                                   spin_ns, CLIENT_SPIN_NS_MAX);
        client->spin_ns = spin_ns;
        return 0;
}

const char *seekd_last_error(const struct seekd_client *client) {
        return client->error.text;
}
