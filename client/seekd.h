/* libseekd: text completion and chat by the local seekd daemon.
 *
 * The short way, for a program that may wait:
 *
 *         struct seekd_client *client;
 *         char error[SEEKD_ERROR_BYTES];
 *         if (seekd_connect(NULL, &client, error, sizeof(error)) < 0)
 *                 ...
 *         struct seekd_params params = SEEKD_PARAMS_INIT;
 *         params.prompt = "int main(";
 *         params.prompt_bytes = SEEKD_ZERO_TERMINATED;
 *         params.max_tokens = 64;
 *         seekd_complete(client, &params, print_piece, NULL, NULL);
 *         seekd_disconnect(client);
 *
 * The other way, for an event loop: seekd_submit() starts a request, seekd_fd() and seekd_events()
 * say what to poll for, seekd_dispatch() reads what came and calls back.
 *
 * Errors: functions return 0 (or a count) on success and a negative enum seekd_error on failure;
 * seekd_last_error() has a sentence that names the thing and the place.
 *
 * Threads: the library has no threads, no signal handlers and no global state. One client and all
 * its requests belong to one thread at a time; different clients are independent. seekd_version(),
 * seekd_strerror() and seekd_free(): any thread.
 *
 * Callbacks run inside seekd_dispatch() and the blocking calls. Inside one, seekd_submit(),
 * seekd_hint(), seekd_cancel(), seekd_progress(), seekd_request_free() and the functions that only
 * read are allowed; everything that would dispatch or end the connection is refused with
 * SEEKD_E_INVALID.
 *
 * Structs begin with their size, so that programs and libraries of different versions fit:
 * initialise them with their *_INIT. Fields are only ever added at the end, zero is the default. */
#ifndef SEEKD_H
#define SEEKD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SEEKD_API __attribute__((visibility("default")))

#define SEEKD_VERSION_MAJOR 0
#define SEEKD_VERSION_MINOR 1
#define SEEKD_VERSION_PATCH 0
/* Enough for any error message. */
#define SEEKD_ERROR_BYTES 512

/* All fields at their default; the *_INIT macros use it. */
#ifdef __cplusplus
#define SEEKD_INIT_(type)                                                                          \
        { sizeof(type) }
#else
#define SEEKD_INIT_(type)                                                                          \
        { .size = sizeof(type) }
#endif

/* As a length: the text ends at its first NUL. */
#define SEEKD_ZERO_TERMINATED ((size_t)-1)

struct seekd_client;
struct seekd_request;

enum seekd_error {
        SEEKD_OK = 0,
        SEEKD_E_INVALID = -1,     /* a parameter is malformed, out of range, or not allowed here */
        SEEKD_E_TOO_LARGE = -2,   /* more tokens or bytes than fit */
        SEEKD_E_UNSUPPORTED = -3, /* this daemon or model does not do that */
        SEEKD_E_BUSY = -4,        /* no free slot or over quota: try again later */
        SEEKD_E_NOT_READY = -5,   /* the model is still loading */
        SEEKD_E_DEADLINE = -6,    /* the deadline passed before the request was accepted */
        SEEKD_E_NOT_FOUND = -7,   /* no such thing, or it is not the caller's */
        SEEKD_E_NO_DAEMON = -8,   /* nobody listens at the socket */
        SEEKD_E_REFUSED = -9,     /* the daemon does not accept the connection */
        SEEKD_E_LOST = -10,       /* the daemon went away; the client is of no more use */
        SEEKD_E_PROTOCOL =
                -11, /* the two sides do not understand each other; the client is of no more use */
        SEEKD_E_STOPPING = -12, /* the daemon is shutting down and takes no new work */
        SEEKD_E_DAEMON = -13,   /* the daemon failed at the request */
        SEEKD_E_NO_MEMORY = -14,
        SEEKD_E_SYSTEM = -15,    /* the operating system refused something */
        SEEKD_E_FORBIDDEN = -16, /* only root and the daemon's user may do that */
};

/* What kind of wait a request is. Decides when it runs, never its result. */
enum seekd_class {
        SEEKD_CLASS_DEFAULT = 0,     /* as TURN */
        SEEKD_CLASS_INTERACTIVE = 1, /* a completion at a keystroke */
        SEEKD_CLASS_TURN = 2,        /* a person waits for the answer */
        SEEKD_CLASS_AGENT = 3,       /* a sub-agent or tool loop */
        SEEKD_CLASS_BACKGROUND = 4,
};

enum seekd_flag {
        SEEKD_PARSE_SPECIAL = 1 << 0, /* text forms of special tokens become those tokens */
        SEEKD_ECHO_SPECIAL = 1 << 1,  /* special tokens have text in the output */
        SEEKD_LOGPROBS = 1 << 2,      /* report log probabilities */
        SEEKD_ADD_BOS = 1 << 3,       /* seekd_tokenize(): begin with the BOS token */
};

/* A call of one of the program's functions, written by the model. In a result, also NUL-terminated.
 * Since 0.1. */
struct seekd_tool_call {
        size_t size;
        const char *id;        /* what the tool message that answers it names; NULL = none */
        const char *name;      /* of the function; 1 to 256 bytes */
        const char *arguments; /* one JSON object, UTF-8 */
        size_t arguments_bytes;
};
#define SEEKD_TOOL_CALL_INIT SEEKD_INIT_(struct seekd_tool_call)

/* One message of a conversation. Text never becomes special tokens, whatever it contains. Since
 * 0.1. */
struct seekd_message {
        size_t size;
        const char *role;    /* "system", "developer", "user", "assistant", "tool" or
                                "latest_reminder" */
        const char *content; /* UTF-8; NULL = empty */
        size_t content_bytes;
        const char *reasoning; /* of an assistant, UTF-8; NULL = none. The daemon drops what the
                                  model does not want to see again */
        size_t reasoning_bytes;
        const char *tool_call_id;                        /* of a tool message */
        const struct seekd_tool_call *const *tool_calls; /* of an assistant */
        size_t n_tool_calls;
        const char *task; /* one of the model's quick tasks ("title") instead of an answer, or NULL
                           */
        int open;         /* of the last message, an assistant's: the answer continues its text */
};
#define SEEKD_MESSAGE_INIT SEEKD_INIT_(struct seekd_message)

/* A conversation whose last message is to be answered. Since 0.1. */
struct seekd_chat {
        size_t size;
        const struct seekd_message *const *messages;
        size_t n_messages;
        const char *const *tools; /* JSON, one OpenAI "function" object each, NUL-terminated */
        size_t n_tools;
        int thinking;                /* reason first */
        uint32_t effort;             /* of the reasoning, 1 to 100; 0 = 75 */
        const char *tool_choice;     /* NULL = "auto"; "none", "required", or the name of a tool */
        const char *response_format; /* JSON schema shown to the model, NUL-terminated; NULL = none.
                                        params.json_schema enforces one */
};
#define SEEKD_CHAT_INIT SEEKD_INIT_(struct seekd_chat)

/* What to complete and how. The prompt is exactly one of (with a session: at most one): text
 * (prompt), token ids (tokens), code around a gap (prefix and suffix; at least one of the two
 * pointers set), or a conversation (chat). Everything is read during the call only. Since 0.1. */
struct seekd_params {
        size_t size;

        const char *prompt; /* UTF-8; the daemon adds BOS */
        size_t prompt_bytes;
        const uint32_t *tokens; /* exact ids, starting with BOS */
        size_t n_tokens;
        const char *prefix; /* UTF-8 */
        size_t prefix_bytes;
        const char *suffix; /* UTF-8 */
        size_t suffix_bytes;

        uint32_t max_tokens; /* 0 = until the context is full */
        float temperature;   /* 0 = always the likeliest token */
        uint32_t top_k;      /* 0 = all */
        float top_p;         /* in (0, 1]; 0 = 1 = all */
        float min_p;         /* in [0, 1]; 0 = all */
        int seed_given;      /* 0 = the daemon draws a seed; seekd_result.seed has it */
        uint64_t seed;
        /* NUL-terminated UTF-8 strings of 1 to 256 bytes that end the output. */
        const char *const *stop;
        size_t n_stop; /* at most 16 */

        int service;          /* enum seekd_class */
        uint32_t flags;       /* enum seekd_flag */
        const char *subject;  /* separates caches inside the caller's own user id; NULL = none; at
                                 most 128 bytes */
        uint32_t deadline_ms; /* 0 = none */

        const char *json_schema; /* UTF-8: the output is JSON that this schema accepts; "{}" = any
                                    JSON; NULL = no restriction. In a chat it holds for the text
                                    behind the reasoning */
        size_t json_schema_bytes;
        const struct seekd_chat *chat; /* prompt: a conversation */

        /* Continue this session; 0 = none. The prompt is appended to its tokens, without BOS unless
         * it has none, and may then be missing; a chat needs a session without tokens. What is
         * generated is part of the session, however the request ends: then it has prompt_tokens +
         * generated_tokens of the result. `subject` is the session's. */
        uint64_t session;
};
#define SEEKD_PARAMS_INIT SEEKD_INIT_(struct seekd_params)

enum seekd_channel {
        SEEKD_CHANNEL_TEXT = 0,
        SEEKD_CHANNEL_REASONING = 1,
        SEEKD_CHANNEL_TOOL = 2,
};

/* What a piece on SEEKD_CHANNEL_TOOL is. */
enum seekd_call_event {
        SEEKD_CALL_ARGUMENTS =
                0,            /* text: the next part of the JSON of the arguments; may be empty */
        SEEKD_CALL_BEGIN = 1, /* text: the function's name; call_id is set */
        SEEKD_CALL_END = 2,   /* the call is whole. One that gets no end never is */
};

/* One token as it comes. Text is whole UTF-8 characters: a token that ends within one has no text
 * yet. */
struct seekd_piece {
        size_t size;
        const char *text;  /* not NUL-terminated; valid during the callback */
        size_t text_bytes; /* may be 0 */
        int has_token;     /* 0: held-back text without a token of its own */
        uint32_t token;
        int channel; /* enum seekd_channel */
        int has_logprob;
        float logprob;     /* natural logarithm, before temperature and filters */
        uint64_t position; /* of the token in its sequence, prompt included */
        int call_event;    /* enum seekd_call_event, with SEEKD_CHANNEL_TOOL */
        const char
                *call_id; /* with SEEKD_CALL_BEGIN, NUL-terminated, as in the result; else NULL */
};

enum seekd_finish {
        SEEKD_FINISH_NONE = 0,
        SEEKD_FINISH_EOS = 1,     /* the model ended its text */
        SEEKD_FINISH_STOP = 2,    /* a stop string was found; it is not part of the output */
        SEEKD_FINISH_LENGTH = 3,  /* max_tokens tokens */
        SEEKD_FINISH_CONTEXT = 4, /* the model's context is full */
        SEEKD_FINISH_CANCELLED = 5,
        SEEKD_FINISH_DEADLINE = 6,
        SEEKD_FINISH_SLOW_CONSUMER = 7, /* this program did not read for too long */
        SEEKD_FINISH_SHUTDOWN = 8,      /* the daemon stopped */
        SEEKD_FINISH_ERROR = 9,         /* see code and error */
        SEEKD_FINISH_TOOL_CALLS = 10,   /* the model's text ended with calls: result.tool_calls */
};

enum seekd_tier {
        SEEKD_TIER_UNKNOWN = 0,
        SEEKD_TIER_NONE = 1, /* nothing was reused */
        SEEKD_TIER_DEVICE = 2,
        SEEKD_TIER_HOST = 3,
        SEEKD_TIER_DISK = 4,
};

/* Why reuse of kept computation ended before the end of the prompt. */
enum seekd_cache_end {
        SEEKD_CACHE_END_UNKNOWN = 0,
        SEEKD_CACHE_END_WHOLE = 1,            /* it did not */
        SEEKD_CACHE_END_COLD = 2,             /* nothing kept starts like this prompt */
        SEEKD_CACHE_END_DIFFERENT_PROMPT = 3, /* from cache_position on */
        SEEKD_CACHE_END_EVICTED = 4,
        SEEKD_CACHE_END_NO_FRONTIER = 5,
        SEEKD_CACHE_END_DIFFERENT_MODEL = 6,
};

/* How a request ended. Since 0.1. */
struct seekd_result {
        size_t size;
        int code;   /* 0, or an enum seekd_error: then `error` says why */
        int finish; /* enum seekd_finish */
        char error[SEEKD_ERROR_BYTES];
        uint32_t retry_after_ms; /* with SEEKD_E_BUSY and SEEKD_E_NOT_READY; 0 = unknown */
        uint64_t seed;           /* the one used */

        uint32_t prompt_tokens; /* = cached + computed */
        uint32_t cached_tokens;
        uint32_t computed_tokens;
        uint32_t generated_tokens;

        double queue_ms;       /* milliseconds; the phases do not overlap */
        double prefill_ms;     /* first work to first token */
        double decode_ms;      /* first token to last */
        double first_token_ms; /* reception to first token */

        int cache_tier; /* enum seekd_tier: the slowest that took part */
        int cache_end;  /* enum seekd_cache_end */
        uint32_t cache_position;
        uint32_t n_cache_prompt_ids; /* with DIFFERENT_PROMPT: what the two sides say from there, at
                                        most 8 */
        uint32_t n_cache_kept_ids;
        uint32_t cache_prompt_ids[8];
        uint32_t cache_kept_ids[8];

        /* Of a chat: the calls that are whole, one block of memory with all they point to. In a
         * done callback valid during the call; what seekd_complete() wrote is the program's:
         * seekd_free() `tool_calls`, which is NULL when there are none. */
        const struct seekd_tool_call *const *tool_calls;
        size_t n_tool_calls;
        int tool_call_incomplete; /* the model was writing a call that is cut off or malformed */
};
#define SEEKD_RESULT_INIT SEEKD_INIT_(struct seekd_result)

enum seekd_phase {
        SEEKD_PHASE_SUBMITTED = 0, /* the daemon has not looked at it */
        SEEKD_PHASE_QUEUED = 1,
        SEEKD_PHASE_PREFILL = 2, /* reading the prompt */
        SEEKD_PHASE_DECODE = 3,  /* writing */
        SEEKD_PHASE_PAUSED = 4,  /* this program does not read */
        SEEKD_PHASE_FINISHED = 5,
        SEEKD_PHASE_WORKING = 6, /* no generation: a verification, a purge or an import */
};

/* Where a request is now. Since 0.1. */
struct seekd_progress {
        size_t size;
        int phase;              /* enum seekd_phase */
        uint32_t tokens_done;   /* PREFILL: of the prompt; DECODE: generated */
        uint32_t tokens_total;  /* PREFILL: prompt tokens; DECODE: the most that may come */
        uint32_t tokens_cached; /* of the prompt */
        uint32_t queue_place;   /* QUEUED: 1 goes next, 0 = none yet */
        int64_t estimate_ms;    /* milliseconds until it starts (QUEUED), until its first token
                                   (PREFILL), until tokens_total (DECODE); -1 = unknown */
};
#define SEEKD_PROGRESS_INIT SEEKD_INIT_(struct seekd_progress)

/* Called for every token. `piece` is valid during the call. Return 0 to go on, anything else to
 * cancel the request: no more pieces are delivered, and the request finishes as
 * SEEKD_FINISH_CANCELLED. */
typedef int (*seekd_piece_fn)(void *userdata, const struct seekd_piece *piece);

/* Called once when a request is over, however it ended. `result` is valid during the call; the
 * request stays the caller's, who may free it here. */
typedef void (*seekd_done_fn)(void *userdata, struct seekd_request *request,
                              const struct seekd_result *result);

/* "0.1.0". Static. Since 0.1. */
SEEKD_API const char *seekd_version(void);

/* A short English name of an enum seekd_error. Static. Since 0.1. */
SEEKD_API const char *seekd_strerror(int code);

/* Connects and waits for the daemon's welcome, at most 60 seconds (a socket-activated daemon starts
 * first).
 *
 * `socket_path`: NULL tries, in this order, $SEEKD_SOCKET (alone, when set),
 * $XDG_RUNTIME_DIR/seekd/seekd.sock, /run/seekd/seekd.sock. `error` (may be NULL) gets a message of
 * at most `error_bytes` bytes with its NUL, also ("") on success. On success *ret_client is the
 * caller's: seekd_disconnect() it.
 * Errors: NO_DAEMON, REFUSED, PROTOCOL, LOST, INVALID, NO_MEMORY, SYSTEM. Since 0.1. */
SEEKD_API int seekd_connect(const char *socket_path, struct seekd_client **ret_client, char *error,
                            size_t error_bytes);

/* Ends the connection and frees the client and all its requests, the caller's too; no callback is
 * called. The daemon cancels what was running. NULL is allowed. Returns NULL. Since 0.1. */
SEEKD_API struct seekd_client *seekd_disconnect(struct seekd_client *client);

/* Message of the last failed call on this client, or "". The client's; valid until the next call.
 * Since 0.1. */
SEEKD_API const char *seekd_last_error(const struct seekd_client *client);

/* How far the daemon has loaded its model, as of the last dispatch: 0 to 1000, 1000 = ready; -1 =
 * it failed to load. Requests sent before are queued. Since 0.1. */
SEEKD_API int seekd_load_permille(const struct seekd_client *client);

/* Before sleeping, look at the ring for up to this many nanoseconds: spends a core to save the
 * wake-up, worth it only when tokens come faster than that. 0 (default): never; at most 50,000.
 * Returns 0 or SEEKD_E_INVALID. Since 0.1. */
SEEKD_API int seekd_set_spin_ns(struct seekd_client *client, uint32_t spin_ns);

/* Completes and waits. `piece` (may be NULL) is called for every token; `result` (may be NULL, else
 * SEEKD_RESULT_INIT) is written when the function returns, with size, code and error also on
 * failure. Returns 0 when the request finished (see result->finish; a cancelled one too), else the
 * error: INVALID, TOO_LARGE, UNSUPPORTED, BUSY, NOT_READY, DEADLINE, STOPPING, DAEMON, LOST,
 * PROTOCOL, NO_MEMORY, SYSTEM. After LOST and PROTOCOL the client can only be disconnected. Other
 * requests of this client proceed meanwhile. Since 0.1. */
SEEKD_API int seekd_complete(struct seekd_client *client, const struct seekd_params *params,
                             seekd_piece_fn piece, void *userdata, struct seekd_result *result);

/* Starts a request and returns at once. `piece` and `done` (each may be NULL) are called from later
 * dispatches. On success *ret_request is the caller's until seekd_request_free(); ret_request may
 * be NULL: then the library frees it when it is over. Errors as seekd_complete(), of which those
 * found by the daemon come to `done`. Since 0.1. */
SEEKD_API int seekd_submit(struct seekd_client *client, const struct seekd_params *params,
                           seekd_piece_fn piece, seekd_done_fn done, void *userdata,
                           struct seekd_request **ret_request);

/* Says what will probably be submitted soon (prompt, session, subject and SEEKD_PARSE_SPECIAL of
 * `params`), so that the daemon prepares it while nobody needs the machine; no result changes. The
 * newest hint of a user counts, for a minute. Returns at once. `done` (may be NULL) is called when
 * it is noted or refused (result->code); errors as seekd_submit(). Since 0.1. */
SEEKD_API int seekd_hint(struct seekd_client *client, const struct seekd_params *params,
                         seekd_done_fn done, void *userdata);

/* Asks the daemon to stop the request before its next step. Tokens under way still come, then
 * `done` with SEEKD_FINISH_CANCELLED (or another finish that was faster). Nothing happens when it
 * is over. Since 0.1. */
SEEKD_API void seekd_cancel(struct seekd_request *request);

/* Whether the request is over: 1 or 0. Since 0.1. */
SEEKD_API int seekd_finished(const struct seekd_request *request);

/* Reads the request's progress from shared memory: a few loads, no system call, so it may be polled
 * as often as a screen is redrawn. Returns 0; SEEKD_E_INVALID when ret->size is not set. Since 0.1.
 */
SEEKD_API int seekd_progress(const struct seekd_request *request, struct seekd_progress *ret);

/* Gives the request back; one that is still running is cancelled and its callbacks are not called
 * any more. NULL is allowed. Returns NULL. Since 0.1. */
SEEKD_API struct seekd_request *seekd_request_free(struct seekd_request *request);

/* The descriptor to poll; stays the client's: neither read nor close it. Since 0.1. */
SEEKD_API int seekd_fd(const struct seekd_client *client);

/* The events to poll it for: POLLIN, or POLLIN | POLLOUT while something waits to be sent.
 * Since 0.1. */
SEEKD_API int seekd_events(const struct seekd_client *client);

/* Sends what waits, reads what came and calls back; waits up to `timeout_ms` milliseconds (0: not
 * at all, -1: without limit) when there was nothing. Returns the number of messages handled (0:
 * timeout, signal, or only housekeeping), or LOST, PROTOCOL, NO_MEMORY, SYSTEM, after which all
 * requests are over (their `done` has been called) and the client can only be disconnected. Since
 * 0.1. */
SEEKD_API int seekd_dispatch(struct seekd_client *client, int timeout_ms);

/* Text to token ids; waits. `flags`: SEEKD_PARSE_SPECIAL, SEEKD_ADD_BOS. *ret_ids is the caller's:
 * seekd_free() it. Errors as seekd_complete(). Since 0.1. */
SEEKD_API int seekd_tokenize(struct seekd_client *client, const char *text, size_t text_bytes,
                             uint32_t flags, uint32_t **ret_ids, size_t *ret_n_ids);

/* Token ids to bytes; waits. `flags`: SEEKD_ECHO_SPECIAL. The bytes may begin or end within a UTF-8
 * character; a NUL that is not counted follows them. *ret_text is the caller's: seekd_free() it.
 * Errors as seekd_complete(). Since 0.1. */
SEEKD_API int seekd_detokenize(struct seekd_client *client, const uint32_t *ids, size_t n_ids,
                               uint32_t flags, char **ret_text, size_t *ret_text_bytes);

/* The model that answers. Since 0.1. */
struct seekd_model_info {
        size_t size;
        char name[256];
        char architecture[128];
        char backend[128];
        uint32_t vocab_size;
        uint32_t context_tokens; /* prompt and output together */
        uint32_t bos_token;
        uint32_t eos_token;
        int fim; /* prefix and suffix are understood */
        uint64_t weight_bytes;
        uint32_t prompt_bytes_max;
};
#define SEEKD_MODEL_INFO_INIT SEEKD_INIT_(struct seekd_model_info)

/* Asks about the model; waits. Errors as seekd_complete(). Since 0.1. */
SEEKD_API int seekd_model_info(struct seekd_client *client, struct seekd_model_info *ret);

struct seekd_client_stats {
        uint64_t connection; /* the daemon's number for it */
        uint32_t pid;
        uint32_t uid;
        uint32_t running; /* requests */
        uint32_t queued;
};

struct seekd_request_stats {
        uint64_t connection;
        uint32_t request_id; /* unique within its connection */
        uint32_t pid;
        uint32_t slot;
        int phase;   /* enum seekd_phase */
        int service; /* enum seekd_class */
        uint32_t prompt_tokens;
        uint32_t prompt_done;
        uint32_t generated_tokens;
        double age_ms;
};

/* Kept KV: what was computed for earlier prompts. Bytes of pages and states; totals since the
 * daemon's start, over everybody. Since 0.1. */
struct seekd_kv_stats {
        uint64_t device_bytes; /* of running requests, and of turns that wait for the next one */
        uint64_t device_bytes_max; /* at most so far */
        uint32_t parked;           /* turns that wait there */
        uint64_t parked_bytes;
        uint64_t spills; /* sequences that had to leave rows to the host */
        uint64_t rows_gathered;
        uint64_t rows_missed; /* of these, copied from the host */
        uint64_t gave_way;    /* requests that left the device for others */

        uint64_t host_bytes; /* in memory */
        uint64_t host_bytes_max;

        int on_disk; /* 0: nothing is kept there, the following are 0 */
        uint64_t disk_bytes;
        uint64_t disk_bytes_max;
        uint64_t disk_file_bytes;
        uint64_t disk_pages;  /* of 128 tokens */
        uint64_t disk_states; /* positions to go on from */
        uint64_t disk_sessions;
        uint64_t disk_written_bytes;
        uint64_t disk_read_bytes;
        uint64_t day_bytes;     /* written today (UTC) */
        uint64_t day_bytes_max; /* 0 = no limit */
        const char *suspended;  /* why nothing can be stored now; "" = it can */
        uint64_t quarantined;   /* values found damaged and forgotten */
        int moved_aside;        /* the file was damaged at start; an empty one was begun */
        double load_ms;         /* checking the file and reading its index at start */

        uint64_t device_hits; /* requests by the slowest tier that took part */
        uint64_t host_hits;
        uint64_t disk_hits;
        uint64_t misses;
        uint64_t asked_tokens; /* of their prompts */
        uint64_t reused_tokens;

        uint64_t evicted; /* pages and states that left memory */
        uint64_t deleted; /* values that left the disk */
        uint64_t thinned; /* states dropped because newer ones serve */
        uint64_t refused; /* pages and states for which there was no memory */
        uint64_t failed_reads;

        uint64_t device_bytes_limit; /* of what the device may hold; 0 = no limit */
};

/* Engram rows by where they came from, since the daemon's start. Since 0.1. */
struct seekd_engram_stats {
        uint64_t rows_requested;
        uint64_t rows_cached;     /* of these: in the cache of rows, */
        uint64_t rows_resident;   /* in the kernel's memory, */
        uint64_t rows_read;       /* from disk */
        uint64_t rows_prefetched; /* read before they were requested */
        uint64_t rows_damaged;
        uint64_t late; /* requests that a step had to wait for */
        double late_ms;
};

/* Durations counted by length. Buckets never change in one life of the daemon, so that counts of
 * two moments can be subtracted. Since 0.1. */
struct seekd_histogram {
        const double *bounds_s; /* ascending, each above 0 */
        size_t n_bounds;
        const uint64_t *counts; /* n_bounds + 1: up to each bound and above the one before; the last
                                   is above all bounds */
        double sum_s;           /* of all durations */
};

/* Hints since the daemon's start, over everybody. Since 0.1. */
struct seekd_hint_stats {
        uint64_t noted, done;       /* done: all of it is kept */
        uint64_t replaced, dropped; /* by a newer one; too old, or no room for it */
        uint64_t tokens;            /* computed for them */
        uint32_t waiting;           /* now */
};

/* What the generations of one class got since the daemon's start, over everybody. Since 0.1. */
struct seekd_class_stats {
        int service;              /* enum seekd_class */
        uint32_t running;         /* now */
        uint32_t queued;          /* now */
        const uint64_t *finished; /* requests by enum seekd_finish; those whose client vanished are
                                     CANCELLED */
        size_t n_finished;
        uint64_t prompt_tokens; /* computed */
        uint64_t generated_tokens;
        double engine_ms; /* of the time of all steps, the part that its tokens cost */
        const struct seekd_histogram
                *queue; /* reception to first work, of those that got a token */
        const struct seekd_histogram *first_token; /* reception to first token */
        const struct seekd_histogram *token; /* from one token to the next, without pauses of a
                                                program that does not read */
};

/* What the daemon does. Made by the library; later versions may add fields at the end of each
 * struct, which is why the lists hold pointers. Since 0.1. */
struct seekd_stats {
        size_t size;
        const char *version; /* of the daemon */
        const char *model;
        const char *backend;
        double uptime_ms;
        int model_ready;
        /* Of the caller's own user id (all, for root and the daemon's user). */
        const struct seekd_client_stats *const *clients;
        size_t n_clients;
        const struct seekd_request_stats *const *requests;
        size_t n_requests;
        /* Since the daemon's start, over everybody. */
        uint64_t requests_done;
        uint64_t requests_refused;
        uint64_t requests_cancelled; /* also those whose client vanished */
        uint64_t prompt_tokens;      /* computed */
        uint64_t generated_tokens;
        uint64_t steps;
        /* Now, over everybody. */
        uint32_t connections;
        uint32_t running;
        uint32_t queued;
        uint64_t kv_bytes;
        const struct seekd_kv_stats *kv;         /* NULL while the model loads */
        const struct seekd_engram_stats *engram; /* NULL: rows come from the model's files */
        /* Most urgent first; none while the model loads. */
        const struct seekd_class_stats *const *classes;
        size_t n_classes;
        const uint64_t *refused; /* requests_refused: refused[-code] by enum seekd_error */
        size_t n_refused;
        const struct seekd_hint_stats *hints; /* NULL while the model loads */
};

/* Asks what the daemon does; waits. *ret_stats with all it points to is the caller's: seekd_free()
 * it once. Errors as seekd_complete(). Since 0.1. */
SEEKD_API int seekd_stats(struct seekd_client *client, struct seekd_stats **ret_stats);

/* The same as text for Prometheus (text exposition format 0.0.4), NUL-terminated: totals, bytes and
 * histograms, no user, process or request. Names and labels are as stable as this header; seek(1)
 * lists them. `stats` NULL: what is to be said when no daemon answers, `seekd_up 0`. *ret_text is
 * the caller's: seekd_free() it. 0 or SEEKD_E_NO_MEMORY. Any thread. Since 0.1. */
SEEKD_API int seekd_metrics(const struct seekd_stats *stats, char **ret_text);

/* -- sessions ------------------------------------------------------------------------------------
 *
 * A session is a list of token ids in the daemon that starts with BOS and belongs to the caller's
 * user id: all programs of that user may use it by its id, others do not see it. Requests about one
 * session are done in the order in which they are sent; one sent while an answer is generated waits
 * for its end. What a function did is on disk within a second (where the daemon has a state folder)
 * and outlives the daemon.
 *
 * All wait for the daemon. Positions and lengths count tokens. Besides their own errors: NOT_FOUND
 * (no such session, or it is another user's), and those of seekd_complete(). ret_tokens may be
 * NULL, else gets how many tokens the session has now.
 */

/* Opens a session without tokens; it stays until seekd_session_close() forgets it. `subject`: as in
 * seekd_params, NULL = none; the session's for good. BUSY: this user has as many sessions as one
 * may have. Since 0.1. */
SEEKD_API int seekd_session_open(struct seekd_client *client, const char *subject,
                                 uint64_t *ret_session);

/* Says whether a session is there and can be continued, and marks it used. Nothing needs to be
 * attached to be used. Since 0.1. */
SEEKD_API int seekd_session_attach(struct seekd_client *client, uint64_t session,
                                   uint64_t *ret_tokens);

/* Appends text (UTF-8) as tokens of its own: what is there is not tokenised again. `flags`:
 * SEEKD_PARSE_SPECIAL. TOO_LARGE: it does not fit the model's context; BUSY: this user's sessions
 * have as many tokens as one user's may have. Since 0.1. */
SEEKD_API int seekd_session_append(struct seekd_client *client, uint64_t session, const char *text,
                                   size_t text_bytes, uint32_t flags, uint64_t *ret_tokens);

/* Appends exactly these ids; the first of all is BOS. Errors as above. Since 0.1. */
SEEKD_API int seekd_session_append_tokens(struct seekd_client *client, uint64_t session,
                                          const uint32_t *ids, size_t n_ids, uint64_t *ret_tokens);

/* A new session with the first `position` tokens of this one, 0 = all. What was computed for them
 * is shared. INVALID: it has fewer; BUSY: see seekd_session_open(). Since 0.1. */
SEEKD_API int seekd_session_fork(struct seekd_client *client, uint64_t session, uint64_t position,
                                 uint64_t *ret_session);

/* Cuts the session behind its first `position` tokens, at least 1. INVALID: it has fewer. Since
 * 0.1. */
SEEKD_API int seekd_session_rewind(struct seekd_client *client, uint64_t session,
                                   uint64_t position);

/* Keeps what was computed for it from making room for others, or (0) no longer. Since 0.1. */
SEEKD_API int seekd_session_pin(struct seekd_client *client, uint64_t session, int pinned);

/* Says that this program is done with it. `forget`: deletes it, for all; requests that wait for it
 * get NOT_FOUND. Else it stays. Since 0.1. */
SEEKD_API int seekd_session_close(struct seekd_client *client, uint64_t session, int forget);

struct seekd_session {
        uint64_t id;
        const char *subject;
        uint64_t tokens;
        uint64_t created_s; /* seconds since 1970 */
        uint64_t used_s;
        uint32_t uid; /* its owner */
        int pinned;
        int running; /* a request has it now */
        int durable; /* on the daemon's disk as it is now */
};

/* Made by the library, like seekd_stats. Since 0.1. */
struct seekd_session_list {
        size_t size;
        const struct seekd_session *const *sessions; /* by time of last use, the latest first */
        size_t n_sessions;
};

/* The sessions of the caller's user id; with `all` everybody's (root and the daemon's user, else
 * ignored). *ret_list with all it points to is the caller's: seekd_free() it once. Since 0.1. */
SEEKD_API int seekd_session_list(struct seekd_client *client, int all,
                                 struct seekd_session_list **ret_list);

/* Keeps exactly these token ids (at least one) under a key of 1 to 256 bytes, in place of what was
 * there, for this user and subject (NULL = none): a program that gets its history back as text,
 * from somewhere else, thus finds the tokens that it had. `session`: kept as long as that, 0 =
 * until the daemon needs the room: one user may have 1,024 keys with 4,194,304 ids in all, and what
 * was not used for the longest time goes first. Waits. Errors as seekd_complete(), and NOT_FOUND:
 * no such session. Since 0.1. */
SEEKD_API int seekd_remember(struct seekd_client *client, const char *subject, const void *key,
                             size_t key_bytes, const uint32_t *ids, size_t n_ids, uint64_t session);

/* What is kept under the key. *ret_ids is the caller's: seekd_free() it. NOT_FOUND: nothing is.
 * Waits. Other errors as seekd_complete(). Since 0.1. */
SEEKD_API int seekd_recall(struct seekd_client *client, const char *subject, const void *key,
                           size_t key_bytes, uint32_t **ret_ids, size_t *ret_n_ids);

/* How far a long piece of work is. Since 0.1. */
struct seekd_work {
        size_t size;
        const char *what; /* the present phase: "kept KV", "importing", "reading back" */
        uint64_t done;    /* bytes of this phase */
        uint64_t total;
        double bytes_per_s;
        double seconds_left; /* of this phase; -1 = unknown */
};

/* Called a few times a second. `work` is valid during the call. Return 0 to go on, anything else to
 * end it: the call then returns with what was done, complete = 0. */
typedef int (*seekd_work_fn)(void *userdata, const struct seekd_work *work);

/* What one user has kept. */
struct seekd_cache_owner {
        uint32_t uid;
        uint64_t host_bytes;   /* in memory */
        uint64_t pinned_bytes; /* for pinned sessions, in memory or on disk */
        uint64_t disk_bytes;
        uint64_t disk_pages;  /* of 128 tokens; what conversations have in common counts once */
        uint64_t disk_states; /* positions to go on from */
};

/* What is kept, by user. Made by the library; later versions may add fields. Since 0.1. */
struct seekd_cache_list {
        size_t size;
        const struct seekd_cache_owner *const *owners; /* by uid */
        size_t n_owners;
        uint64_t host_bytes_max; /* of one user */
        uint64_t disk_bytes_max; /* of one user; 0 = nothing is kept on disk */
};

/* Lists what the caller's user has kept (every user, for root and the daemon's user); waits.
 * *ret_list with all it points to is the caller's: seekd_free() it once. Errors as
 * seekd_complete(). Since 0.1. */
SEEKD_API int seekd_cache_list(struct seekd_client *client, struct seekd_cache_list **ret_list);

/* What a verification found. Since 0.1. */
struct seekd_cache_verified {
        size_t size;
        int complete;     /* 0 = ended by `work`; the numbers are up to there */
        uint64_t values;  /* extents and states read */
        uint64_t bytes;   /* of them */
        uint64_t damaged; /* of them: forgotten, and computed anew when needed */
        int engram;       /* engram.mdb was read */
        uint64_t engram_bytes;
        uint64_t engram_damaged;  /* extents */
        char engram_message[512]; /* about the first of them, or "" */
};
#define SEEKD_CACHE_VERIFIED_INIT SEEKD_INIT_(struct seekd_cache_verified)

/* Has the daemon read all back that the caller's user keeps on disk (root, the daemon's user:
 * everything, and the Engram tables), in the background; waits. `work` may be NULL. Errors as
 * seekd_complete(); BUSY: the same is being done. Since 0.1. */
SEEKD_API int seekd_cache_verify(struct seekd_client *client, seekd_work_fn work, void *userdata,
                                 struct seekd_cache_verified *ret);

/* What a purge has forgotten. Since 0.1. */
struct seekd_cache_purged {
        size_t size;
        uint32_t uid;
        uint64_t host_bytes;
        uint64_t disk_bytes;
        uint64_t sessions; /* and remembered keys */
        int on_disk; /* gone from the disk's index too; 0 = not yet, as it cannot be written */
};
#define SEEKD_CACHE_PURGED_INIT SEEKD_INIT_(struct seekd_cache_purged)

/* As a uid: the caller's. */
#define SEEKD_OWN_UID (-1)

/* Forgets all that a user has kept: KV, sessions, remembered keys; waits until it is gone from the
 * disk's index. Running requests are answered, and leave nothing of what they were. `uid` of
 * another only for root and the daemon's user (else FORBIDDEN). Errors as seekd_complete(). Since
 * 0.1. */
SEEKD_API int seekd_cache_purge(struct seekd_client *client, int64_t uid,
                                struct seekd_cache_purged *ret);

/* What an import did. Since 0.1. */
struct seekd_imported {
        size_t size;
        int complete; /* 0 = ended by `work`; another import goes on from there */
        int already;  /* it was there, and was not read */
        int in_use;   /* 0 = from the daemon's next start on */
        char path[4096];
};
#define SEEKD_IMPORTED_INIT SEEKD_INIT_(struct seekd_imported)

/* Has the daemon copy the model's Engram tables into its state folder; waits. For root and the
 * daemon's user (else FORBIDDEN). `work` may be NULL. Errors as seekd_complete(). Since 0.1. */
SEEKD_API int seekd_import(struct seekd_client *client, seekd_work_fn work, void *userdata,
                           struct seekd_imported *ret);

/* Frees what a function of this library allocated for its caller. NULL is allowed. Since 0.1. */
SEEKD_API void seekd_free(void *pointer);

#ifdef __cplusplus
}
#endif

#endif
