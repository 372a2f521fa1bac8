/* What travels over the control socket: the handshake, then kicks, descriptors of bulk payloads,
 * and farewells.
 *
 * The socket is AF_UNIX SOCK_SEQPACKET: one frame per packet. The client speaks first with a HELLO;
 * the daemon answers with WELCOME (and the descriptors of regions D and C) or REFUSE. After that:
 *
 *   frame    bytes  fds  from    says
 *   HELLO       64   -   client  first packet: versions and capabilities offered, sizes wanted
 *   WELCOME    128   2   daemon  what was chosen; fds: region D, region C
 *   REFUSE     256   -   daemon  why not, and which versions would do; then the socket closes
 *   KICK         8   -   both    "look at the rings"
 *   STATE       16   -   daemon  how far loading the model is
 *   BULK        32   1   client  a message too large for the ring, in a sealed memfd
 *   ERROR      256   -   both    the receiver broke a rule; the sender closes the connection
 *   GOODBYE      8   -   both    the sender closes the connection in peace
 *
 * Versions: another major is another protocol and is refused. Minors add features behind capability
 * bits; the daemon picks the highest minor both know. Unknown capability bits are ignored; reserved
 * fields are zero, and checked. All integers little-endian. Texts are NUL-terminated and
 * NUL-padded.
 *
 * Threads: functions without state; two threads may send on one socket, one receives. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

#define PROTOCOL_MAJOR     1
#define PROTOCOL_MINOR_MIN 0
#define PROTOCOL_MINOR_MAX 0

/* Capabilities. FUTEX: the client may FUTEX_WAIT on the low 32 bits of region D's head; the daemon
 * then tries FUTEX_WAKE first and sends a KICK only when nobody slept there. */
#define CAP_FUTEX  (1ULL << 0)
#define CAPS_KNOWN (CAP_FUTEX)

#define FRAME_BYTES_MAX  256 /* the largest frame (REFUSE, ERROR) */
#define FRAME_TEXT_BYTES 232
#define FRAME_FDS_MAX    2 /* WELCOME */

#define HELLO_MAGIC 0x6f6c68646b656573ULL /* "seekdhlo" read as little-endian */
#define HELLO_BYTES 64

enum frame_kind {
        FRAME_HELLO = 1,
        FRAME_WELCOME = 2,
        FRAME_REFUSE = 3,
        FRAME_KICK = 4,
        FRAME_STATE = 5,
        FRAME_BULK = 6,
        FRAME_ERROR = 7,
        FRAME_GOODBYE = 8,
};
#define FRAME_BIT(kind) (1u << (kind))
/* Sets for frame_recv(): what may come now. */
#define FRAMES_HELLO  FRAME_BIT(FRAME_HELLO)
#define FRAMES_ANSWER (FRAME_BIT(FRAME_WELCOME) | FRAME_BIT(FRAME_REFUSE))
#define FRAMES_FROM_CLIENT                                                                         \
        (FRAME_BIT(FRAME_KICK) | FRAME_BIT(FRAME_BULK) | FRAME_BIT(FRAME_ERROR) |                  \
         FRAME_BIT(FRAME_GOODBYE))
#define FRAMES_FROM_DAEMON                                                                         \
        (FRAME_BIT(FRAME_KICK) | FRAME_BIT(FRAME_STATE) | FRAME_BIT(FRAME_ERROR) |                 \
         FRAME_BIT(FRAME_GOODBYE))

enum model_state {
        MODEL_LOADING = 0, /* load_permille says how far; requests are queued */
        MODEL_READY = 1,
        MODEL_FAILED = 2, /* requests are answered with an error */
};

struct frame_hello {
        uint16_t abi_major;
        uint16_t minor_min;
        uint16_t minor_max;
        uint64_t caps;
        uint32_t d_data_bytes; /* wanted ring sizes; 0: the daemon's default */
        uint32_t c_data_bytes;
        uint32_t library_version; /* major << 16 | minor << 8 | patch; for logs only */
};

struct frame_welcome {
        uint16_t abi_major;
        uint16_t minor;
        uint64_t caps;       /* the intersection of both sides' */
        uint64_t session_id; /* of this connection, unique while the daemon runs */
        uint64_t generation;
        uint64_t message_bytes_max; /* of one message to the daemon, in the ring or by BULK */
        uint32_t n_requests_max;    /* at one time on this connection; <= REGION_N_SLOTS */
        uint32_t model_state;       /* enum model_state */
        uint32_t load_permille;     /* 0 to 1000 */
        uint32_t daemon_version;    /* as library_version */
};

enum refuse_code {
        REFUSE_VERSION = 1, /* no common version: see the range in the frame */
        REFUSE_MALFORMED = 2,
        REFUSE_PEER = 3,     /* this user may not connect */
        REFUSE_QUOTA = 4,    /* too many connections; retry_after_ms */
        REFUSE_STOPPING = 5, /* the daemon is shutting down */
        REFUSE_INTERNAL = 6,
};

struct frame_refuse {
        uint32_t code;      /* enum refuse_code */
        uint16_t abi_major; /* what the daemon speaks */
        uint16_t minor_min;
        uint16_t minor_max;
        uint32_t retry_after_ms; /* 0: trying again does not help */
        char text[FRAME_TEXT_BYTES];
};

struct frame_state {
        uint32_t model_state;
        uint32_t load_permille;
};

struct frame_bulk {
        uint16_t type; /* as in a ring record */
        uint32_t stream;
        uint64_t bytes; /* exact size of the memfd */
};

struct frame_error {
        int32_t code; /* negative errno; EPROTO for ring and frame violations */
        char text[FRAME_TEXT_BYTES];
};

enum goodbye_reason {
        GOODBYE_DONE = 1,     /* the client needs nothing more */
        GOODBYE_STOPPING = 2, /* the daemon is shutting down */
};

struct frame {
        enum frame_kind kind;
        union {
                struct frame_hello hello;
                struct frame_welcome welcome;
                struct frame_refuse refuse;
                struct frame_state state;
                struct frame_bulk bulk;
                struct frame_error error;
                uint32_t goodbye_reason;
        };
        int fds[FRAME_FDS_MAX]; /* WELCOME: D, C; BULK: the memfd; -1 otherwise */
};

/* Writes the wire form. Returns its length; the frame must be legal (programmer error otherwise).
 */
size_t frame_encode(const struct frame *frame, uint8_t ret_bytes[FRAME_BYTES_MAX]);

/* Parses one packet strictly: length, reserved fields, ranges, text termination. `ret->fds` are set
 * to -1. 0 or -EPROTO with a message. `bytes` must be private memory. */
int frame_decode(const uint8_t *bytes, size_t n_bytes, struct frame *ret, struct error *err);

/* Receives one frame without blocking. `accept` is a set of FRAME_BIT()s; anything else is a
 * violation. 1: a frame, whose descriptors (close-on-exec) the caller now owns: frame_close_fds()
 * or take them. 0: the peer hung up. -EAGAIN: nothing there. -EPROTO: malformed, unexpected,
 * truncated, or the wrong number of descriptors (all are closed). Other negative errno: the socket
 * failed. */
int frame_recv(int socket, unsigned accept, struct frame *ret, struct error *err);

/* Sends one frame without blocking, never raising SIGPIPE; its fds are passed, and remain the
 * caller's. 0, -EAGAIN or -errno. */
int frame_send(int socket, const struct frame *frame);

/* Sends a KICK. A full socket is success: there are unread kicks already. 0, or -EPIPE,
 * -ECONNRESET... when the peer is gone, which the receiving side of the caller will notice by
 * itself. */
int frame_send_kick(int socket);

/* Sends ERROR or REFUSE or GOODBYE as well as possible: failures are ignored, the connection ends
 * anyway. */
void frame_send_error(int socket, int code, const char *text);
void frame_send_refuse(int socket, enum refuse_code code, uint32_t retry_after_ms,
                       const char *text);
void frame_send_goodbye(int socket, enum goodbye_reason reason);

void frame_close_fds(struct frame *frame);

/* Daemon: what to answer to a HELLO: picks minor and capabilities into `ret` (its other fields are
 * left alone). 0, or -EPROTONOSUPPORT with a message when there is no common version. */
int hello_negotiate(const struct frame_hello *hello, uint64_t caps_offered,
                    struct frame_welcome *ret, struct error *err);

/* Bulk payloads. The sender's file is written with write() and then sealed SHRINK|GROW|WRITE, so it
 * can no longer change: its content may be trusted to stay, but not to be well-formed. */

/* Client: a sealed memfd with a copy of `bytes`. The descriptor (owned by the caller) or -errno
 * with a message. */
int bulk_create(const void *bytes, size_t n_bytes, struct error *err);

/* Daemon: checks seals and exact size (`bytes` from the frame, at most `bytes_max`) and reads the
 * file into `buffer` (at least `bytes` long, private). Never maps it; the descriptor stays the
 * caller's. 0, -EPROTO, -EMSGSIZE or -errno, with a message. */
int bulk_read(int fd, uint64_t bytes, uint64_t bytes_max, void *buffer, struct error *err);
