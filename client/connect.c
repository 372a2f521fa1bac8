/* Finding the daemon and shaking hands with it. */
#include "client/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* A socket-activated daemon is executed and reads its configuration before it answers; loading the
 * model is not waited for. A minute is far beyond that on a machine that still does anything. */
#define WELCOME_TIMEOUT_MS 60000

static int code_of_connect(int error_number) {
        switch (error_number) {
        case ENOENT:
        case ENOTDIR:
        case ECONNREFUSED: return SEEKD_E_NO_DAEMON;
        case EACCES:
        case EPERM: return SEEKD_E_REFUSED;
        default: return SEEKD_E_SYSTEM;
        }
}

/* A connected socket or a negative enum seekd_error with a message. */
static int connect_to(const char *path, struct error *err) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        size_t n = strlen(path);
        if (n == 0 || n >= sizeof(address.sun_path))
                return error_set(err, SEEKD_E_INVALID,
                                 "socket path '%s': %zu bytes, 1 to %zu are possible", path, n,
                                 sizeof(address.sun_path) - 1);
        memcpy(address.sun_path, path, n);
        CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return error_set(err, SEEKD_E_SYSTEM, "socket: %s", strerror(errno));
        int r;
        do
                r = connect(fd, (const struct sockaddr *)&address, sizeof(address));
        while (r < 0 && errno == EINTR);
        if (r < 0)
                return error_set(err, code_of_connect(errno), "%s: %s", path, strerror(errno));
        return TAKE_FD(fd);
}

/* As connect_to(), at the places where a daemon may be. */
static int connect_anywhere(struct error *err) {
        const char *configured = getenv("SEEKD_SOCKET");
        if (configured && configured[0])
                return connect_to(configured, err);

        struct error user_error = { 0 };
        const char *runtime_dir = getenv("XDG_RUNTIME_DIR");
        if (runtime_dir && runtime_dir[0]) {
                char path[256];
                snprintf(path, sizeof(path), "%s/seekd/seekd.sock", runtime_dir);
                int fd = connect_to(path, &user_error);
                /* A daemon of this user that is there but refuses is an answer; none at all is not.
                 */
                if (fd >= 0 || user_error.code != SEEKD_E_NO_DAEMON) {
                        *err = user_error;
                        return fd;
                }
        }
        int fd = connect_to("/run/seekd/seekd.sock", err);
        if (fd < 0 && user_error.code != 0)
                error_prefix(err, "%.240s; ", user_error.text);
        return fd;
}

static int wait_readable(int fd, uint64_t timeout_ms) {
        uint64_t end_ns = clock_ns() + timeout_ms * NS_PER_MS;
        for (;;) {
                uint64_t now_ns = clock_ns();
                int left_ms =
                        now_ns < end_ns ? (int)((end_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS) : 0;
                struct pollfd poll_fd = { fd, POLLIN, 0 };
                int r = poll(&poll_fd, 1, left_ms);
                if (r != 0 && !(r < 0 && errno == EINTR))
                        return r < 0 ? -errno : 0;
                if (left_ms == 0)
                        return -ETIMEDOUT;
        }
}

static int refused(const struct frame_refuse *refuse, struct error *err) {
        if (refuse->code == REFUSE_VERSION)
                return error_set(err, SEEKD_E_PROTOCOL,
                                 "the daemon speaks protocol %u.%u to %u.%u, this library %d.%d to "
                                 "%d.%d: %s",
                                 refuse->abi_major, refuse->minor_min, refuse->abi_major,
                                 refuse->minor_max, PROTOCOL_MAJOR, PROTOCOL_MINOR_MIN,
                                 PROTOCOL_MAJOR, PROTOCOL_MINOR_MAX, refuse->text);
        int code = refuse->code == REFUSE_STOPPING ? SEEKD_E_STOPPING : SEEKD_E_REFUSED;
        if (refuse->retry_after_ms > 0)
                return error_set(err, code,
                                 "the daemon refuses the connection: %s (try again in %u ms)",
                                 refuse->text, refuse->retry_after_ms);
        return error_set(err, code, "the daemon refuses the connection: %s", refuse->text);
}

/* Sends the hello and takes the welcome. 0 or a negative enum seekd_error with a message. */
static int shake_hands(struct seekd_client *client, struct error *err) {
        struct frame hello = {
                .kind = FRAME_HELLO,
                .hello = {
                        .abi_major = PROTOCOL_MAJOR,
                        .minor_min = PROTOCOL_MINOR_MIN,
                        .minor_max = PROTOCOL_MINOR_MAX,
                        .library_version = SEEKD_VERSION_MAJOR << 16 | SEEKD_VERSION_MINOR << 8 | SEEKD_VERSION_PATCH,
                },
                .fds = { -1, -1 },
        };
        int r = frame_send(client->socket, &hello);
        if (r < 0 && r != -EPIPE && r != -ECONNRESET)
                return error_set(err, SEEKD_E_SYSTEM, "sending the hello: %s", strerror(-r));
        r = wait_readable(client->socket, WELCOME_TIMEOUT_MS);
        if (r < 0)
                return error_set(err, SEEKD_E_LOST, "no welcome from the daemon: %s", strerror(-r));

        struct frame answer;
        r = frame_recv(client->socket, FRAMES_ANSWER, &answer, err);
        if (r == 0 || r == -ECONNRESET)
                return error_set(err, SEEKD_E_LOST,
                                 "the daemon closed the connection before its welcome");
        if (r < 0)
                return err->code = seekd_code_of_errno(r);
        if (answer.kind == FRAME_REFUSE)
                return refused(&answer.refuse, err);
        r = channel_attach(&client->channel, client->socket, &answer, CLIENT_MESSAGE_BYTES_MAX,
                           err);
        frame_close_fds(&answer);
        if (r < 0)
                return err->code = seekd_code_of_errno(r);
        client->message_bytes_max = answer.welcome.message_bytes_max;
        client->load_permille = answer.welcome.model_state == MODEL_FAILED ? -1
                : answer.welcome.model_state == MODEL_READY                ? 1000
                                                            : (int)answer.welcome.load_permille;
        /* From the start, whatever the daemon writes makes the descriptor readable. */
        channel_sleep(&client->channel, 0);
        return 0;
}

int seekd_connect(const char *socket_path, struct seekd_client **ret_client, char *error,
                  size_t error_bytes) {
        struct error err = { 0 };
        if (error && error_bytes > 0)
                error[0] = 0;
        struct seekd_client *client = calloc(1, sizeof(*client));
        int code = client ? 0 : error_set(&err, SEEKD_E_NO_MEMORY, "no memory for a client");
        if (code == 0) {
                client->socket =
                        socket_path ? connect_to(socket_path, &err) : connect_anywhere(&err);
                code = client->socket < 0 ? err.code : shake_hands(client, &err);
                if (code == SEEKD_E_NO_DAEMON)
                        error_prefix(&err, "no daemon");
        }
        if (code < 0) {
                if (error)
                        snprintf(error, error_bytes, "%s", err.text);
                seekd_disconnect(client);
                return code;
        }
        *ret_client = client;
        return 0;
}

struct seekd_client *seekd_disconnect(struct seekd_client *client) {
        if (!client)
                return NULL;
        if (client->calling_back) {
                client_fail(client, SEEKD_E_INVALID,
                            "seekd_disconnect() from within a callback does nothing");
                return client;
        }
        client_drop_outgoing(client);
        while (client->requests)
                request_delete(client->requests);
        if (client->socket >= 0) {
                if (!client->lost)
                        frame_send_goodbye(client->socket, GOODBYE_DONE);
                channel_close(&client->channel);
                close(client->socket);
        }
        arena_deinit(&client->arena);
        free(client);
        return NULL;
}
