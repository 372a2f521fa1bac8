/* A client that wants too much, one way a run: flooder SOCKET DEED. Through libseekd where that
 * lets it, so what is printed is what a program is told.
 *
 * Deeds that are refused print the refusal and exit 0; those that are not go on until killed, after
 * a line "waiting". */
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "client/seekd.h"
#include "proto/handshake.h"
#include "proto/region.h"

#define TRIES   2000 /* beyond every limit of this kind */
#define CLIENTS 5
#define SLOTS   32 /* requests of a connection */

#define PROMPT       "int main(void) {\n        return"
#define LONG_PROMPT  (4000 << 10) /* bytes; nearly the largest message */
#define MILLION      1000000
#define FLOOD_TOKENS 64

static const char *path;

static _Noreturn void die(const char *what) {
        fprintf(stderr, "flooder: %s\n", what);
        exit(2);
}

static _Noreturn void say(const char *refusal) {
        puts(refusal);
        exit(0);
}

static struct seekd_client *connect_client(void) {
        char why[SEEKD_ERROR_BYTES];
        struct seekd_client *client;
        if (seekd_connect(path, &client, why, sizeof(why)) < 0)
                say(why);
        return client;
}

/* -- connections ---------------------------------------------------------------------------------
 */

static void connections(void) {
        static struct seekd_client *held[TRIES];
        for (unsigned i = 0; i < TRIES; i++)
                held[i] = connect_client();
        die(seekd_last_error(held[0]));
}

static int connect_raw(void) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                die("connect");
        return fd;
}

/* Whatever the daemon says first; prints it and ends if that is a refusal. */
static void hear(int fd, int timeout_ms) {
        struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
        struct frame frame;
        struct error err = { 0 };
        poll(&poll_fd, 1, timeout_ms);
        int r = frame_recv(fd, FRAMES_ANSWER, &frame, &err);
        if (r == 1 && frame.kind == FRAME_REFUSE)
                say(frame.refuse.text);
        if (r == 1)
                frame_close_fds(&frame);
}

/* So many at once that the first have not timed out. */
static void half_open(void) {
        static int fds[64];
        for (unsigned i = 0; i < 64; i++)
                fds[i] = connect_raw();
        for (unsigned i = 64; i-- > 0;)
                hear(fds[i], 100);
}

static void large_rings(void) {
        for (unsigned i = 0; i < TRIES; i++) {
                struct frame frame = { .kind = FRAME_HELLO, .fds = { -1, -1 } };
                frame.hello = (struct frame_hello){ .abi_major = PROTOCOL_MAJOR,
                                                    .d_data_bytes = REGION_DATA_BYTES_MAX,
                                                    .c_data_bytes = REGION_DATA_BYTES_MAX };
                int fd = connect_raw();
                if (frame_send(fd, &frame) < 0)
                        die("hello");
                hear(fd, 10000);
        }
}

/* -- requests ------------------------------------------------------------------------------------
 */

struct flood {
        struct seekd_params params;
        int code;   /* of refusals that are waited for */
        bool again; /* what has ended is sent anew */
        struct seekd_client *client[CLIENTS];
        unsigned n_clients;
};

struct sender {
        struct flood *flood;
        struct seekd_client *client;
        bool idle;
};

static void end_request(void *userdata, struct seekd_request *request,
                        const struct seekd_result *result) {
        struct sender *sender = userdata;
        (void)request;
        if (result->code != 0 && result->code == sender->flood->code)
                say(result->error);
        sender->idle = true;
}

static void send_request(struct sender *sender) {
        sender->idle = false;
        if (seekd_submit(sender->client, &sender->flood->params, NULL, end_request, sender, NULL) <
            0)
                say(seekd_last_error(sender->client));
}

/* `n` on each of so many connections. */
static void flood(struct flood *f, unsigned n_clients, unsigned n) {
        static struct sender senders[CLIENTS * SLOTS];
        unsigned n_senders = 0;
        for (unsigned c = 0; c < n_clients; c++)
                f->client[c] = connect_client();
        for (unsigned i = 0; i < n_clients * n; i++) {
                struct sender *sender = &senders[n_senders++];
                *sender = (struct sender){ f, f->client[i % n_clients], false };
                send_request(sender);
        }
        if (f->again) {
                puts("waiting");
                fflush(stdout);
        }
        for (;;) {
                for (unsigned c = 0; c < n_clients; c++)
                        if (seekd_dispatch(f->client[c], 10 / (int)n_clients) < 0)
                                die(seekd_last_error(f->client[c]));
                for (unsigned i = 0; f->again && i < n_senders; i++)
                        if (senders[i].idle)
                                send_request(&senders[i]);
        }
}

static struct seekd_params short_params(void) {
        struct seekd_params params = SEEKD_PARAMS_INIT;
        params.prompt = PROMPT;
        params.prompt_bytes = strlen(PROMPT);
        params.service = SEEKD_CLASS_AGENT;
        params.max_tokens = MILLION;
        return params;
}

static void requests(void) {
        struct flood f = { .params = short_params(), .code = SEEKD_E_BUSY };
        flood(&f, CLIENTS, SLOTS);
}

static struct seekd_params long_params(void) {
        struct seekd_params params = short_params();
        char *text = malloc(LONG_PROMPT);
        if (!text)
                die("out of memory");
        memset(text, 'x', LONG_PROMPT);
        for (size_t i = 0; i < LONG_PROMPT; i += 7)
                text[i] = ' ';
        params.prompt = text;
        params.prompt_bytes = LONG_PROMPT;
        return params;
}

/* For one session, so that one waits for the other. */
static void request_bytes(void) {
        struct flood f = { .params = long_params(), .code = SEEKD_E_BUSY };
        struct seekd_client *client = connect_client();
        if (seekd_session_open(client, NULL, &f.params.session) < 0)
                die(seekd_last_error(client));
        flood(&f, 1, SLOTS);
}

/* A prompt of about a million tokens. */
static void million_tokens(void) {
        struct flood f = { .params = long_params(), .code = SEEKD_E_TOO_LARGE };
        flood(&f, 1, 1);
}

static void long_prompts(void) {
        struct flood f = { .params = long_params(), .again = true };
        flood(&f, 1, SLOTS);
}

static void flood_of_class(int service) {
        struct flood f = { .params = short_params(), .again = true };
        f.params.service = service;
        f.params.max_tokens = FLOOD_TOKENS;
        flood(&f, 1, SLOTS);
}

static void agents(void) {
        flood_of_class(SEEKD_CLASS_AGENT);
}

static void keystrokes(void) {
        flood_of_class(SEEKD_CLASS_INTERACTIVE);
}

static void absurd_class(void) {
        flood_of_class(MILLION);
}

/* As many as may be: each with all that the context has room for. */
static void everything(void) {
        struct flood f = { .params = short_params(), .again = true };
        flood(&f, CLIENTS - 1, SLOTS);
}

/* -- sessions ------------------------------------------------------------------------------------
 */

static void sessions(void) {
        struct seekd_client *client = connect_client();
        uint64_t session;
        for (unsigned i = 0; i < TRIES; i++)
                if (seekd_session_open(client, NULL, &session) < 0)
                        say(seekd_last_error(client));
}

static void forks(void) {
        struct seekd_client *client = connect_client();
        uint64_t session, n_tokens;
        if (seekd_session_open(client, NULL, &session) < 0 ||
            seekd_session_append(client, session, PROMPT, strlen(PROMPT), 0, &n_tokens) < 0)
                die(seekd_last_error(client));
        for (unsigned i = 0; i < TRIES; i++)
                if (seekd_session_fork(client, session, 0, &session) < 0)
                        say(seekd_last_error(client));
}

static const struct deed {
        const char *name;
        void (*run)(void);
} deeds[] = {
        { "connections", connections },     { "half-open", half_open },
        { "large-rings", large_rings },     { "requests", requests },
        { "request-bytes", request_bytes }, { "million-tokens", million_tokens },
        { "sessions", sessions },           { "forks", forks },
        { "long-prompts", long_prompts },   { "agents", agents },
        { "keystrokes", keystrokes },       { "absurd-class", absurd_class },
        { "everything", everything },
};

int main(int argc, char **argv) {
        for (size_t i = 0; argc == 3 && i < sizeof(deeds) / sizeof(deeds[0]); i++) {
                if (strcmp(argv[2], deeds[i].name) != 0)
                        continue;
                path = argv[1];
                deeds[i].run();
                die("nothing was refused");
        }
        fprintf(stderr, "usage: flooder SOCKET DEED\n");
        return 2;
}
