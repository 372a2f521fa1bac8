/* How long tools take: learned from the pauses between a turn that ends with a tool call and the
 * next turn of the same conversation, for each user and tool.
 *
 * A pause is open from the end of its turn until a prompt comes that begins with the same tokens.
 * What is learned decides how long a sequence waits on the device (daemon/retention.h), never what
 * is computed. Pure bookkeeping, the clock is the caller's. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Pauses remembered of one tool: enough for a quantile, few enough that a tool which has become
 * slower is believed after two calls. */
#define PAUSES_REMEMBERED 8

/* Tools of one user, and of all: an agent has 10 to 26, and some of them are never called. 512
 * tools are 48 KiB. What was used longest ago goes first. */
#define TOOLS_PER_USER_MAX 64
#define TOOLS_MAX          512

/* Pauses that are open: as many as a user's agents wait at once, and one may have a dozen. A
 * prompt is compared with those of its user: one pass over its tokens. */
#define OPEN_PER_USER_MAX 32
#define OPEN_MAX          256

/* For how long a sequence waits whose tool is not known: most of an agent's tools read or write a
 * file, and a build or a test of seconds is not rare. */
#define PAUSE_UNKNOWN_NS (10ULL * 1000000000)

/* The least is what a client needs to notice the call and to send the answer, also on a loaded
 * machine. What takes longer than the most (a person who is asked, a test suite) is not waited for:
 * a copy from the host takes milliseconds. */
#define PAUSE_LEAST_NS (1ULL * 1000000000)
#define PAUSE_MOST_NS  (300ULL * 1000000000)

struct tool {
        uint32_t uid;
        uint64_t id;                       /* tool_id() */
        uint64_t pause[PAUSES_REMEMBERED]; /* ns, a ring */
        unsigned n;                        /* ever observed */
        uint64_t used;                     /* tool_pauses.n_uses when it was used last */
};

struct pause {
        uint32_t uid;
        uint64_t tool;
        uint32_t n;      /* tokens of the turn, prompt and answer */
        uint32_t digest; /* of the subject and these tokens */
        uint64_t since_ns;
};

struct tool_pauses {
        struct tool tools[TOOLS_MAX];
        struct pause open[OPEN_MAX]; /* oldest first */
        unsigned n_tools, n_open;
        uint64_t n_uses;
};

/* A number for a tool's name. Names that collide share what is learned. */
uint64_t tool_id(const char *name, uint64_t n_bytes);

/* How long to wait for this tool: the pause that four of five of the last ones did not exceed, and
 * half of it more, within the least and the most. */
uint64_t tool_pauses_bound_ns(const struct tool_pauses *pauses, uint32_t uid, uint64_t tool);

/* A turn of these tokens has ended with a call of this tool. */
void tool_pauses_begin(struct tool_pauses *pauses, uint32_t uid, const char *subject,
                       const uint32_t *ids, uint32_t n, uint64_t tool, uint64_t now_ns);

/* A prompt of these tokens has come: the pauses that it ends are learned from. */
void tool_pauses_end(struct tool_pauses *pauses, uint32_t uid, const char *subject,
                     const uint32_t *ids, uint32_t n, uint64_t now_ns);

/* Nothing is known of this user any more. */
void tool_pauses_forget(struct tool_pauses *pauses, uint32_t uid);
