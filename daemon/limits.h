/* What one peer, one user and one step may cost, each with its derivation.
 *
 * Numbers a client can push against. Limits of the wire itself (record, ring and message sizes) are
 * in proto/. */
#pragma once

/* From accept to hello. The library sends its hello in the same call that connects, so a second is
 * a thousand times what a loaded machine needs; it only has to be short enough that half-open
 * connections do not pile up. */
#define HELLO_TIMEOUT_MS 1000

/* Connections of one uid that have not said hello. An editor, a shell and an agent start a handful
 * at once; 16 times HELLO_TIMEOUT_MS bounds what a connect loop can hold to 16 descriptors. */
#define HALF_OPEN_PER_UID_MAX 16

/* Connections of one uid, configurable. A busy desk has an editor, a dozen agents with a few
 * sub-agents each. */
#define CONNECTIONS_PER_UID_DEFAULT 64

/* Connections of all uids: two descriptors each (socket, pidfd) and 320 KiB of regions by default,
 * so 512 of them are 1,024 descriptors and 160 MiB. */
#define CONNECTIONS_MAX 512

/* Region bytes of one uid (sum over its connections): 64 connections at the default 320 KiB are 20
 * MiB, leaving room for a few with large rings. */
#define REGION_BYTES_PER_UID_MAX (64ULL << 20)

/* Sequences computed together, configurable. Each adds one row to every step; 32 rows keep a CPU
 * step under twice the time of one row, and each holds its own KV. Others wait in arrival order. */
#define RUNNING_DEFAULT 32
#define RUNNING_MAX     256

/* A session (a connection's subject) starts no further request while it has more of these places
 * than are free, a user while it has more than so many times what is free: a connection that floods
 * gets 17 of 32, the next one 8, and there is always one for somebody who comes later (dynamic
 * thresholds: Choudhury and Hahne, 1998). One user at a desk of many agents gets 29. */
#define USER_PLACES_PER_FREE 7

/* Sequences more than that, for interactive requests: a completion at a keystroke must not wait for
 * the end of somebody's long answer. An editor has one or two under way. */
#define INTERACTIVE_PLACES 4

/* Time for prefills in one step, configurable: what a stream of tokens may be delayed by the
 * prompts of others. 50 ms are 20 tokens a second at the worst, faster than one reads. One chunk is
 * always computed, so a millisecond means chunk by chunk; a second is as long as anybody will look
 * at a text that does not go on. */
#define PREFILL_BUDGET_MS_DEFAULT 50
#define PREFILL_BUDGET_MS_MAX     1000

/* Requests of one uid that are queued or running; bounds their prompts in memory. 64 connections
 * with two each. */
#define REQUESTS_PER_UID_MAX 128

/* Bytes of those requests' messages, which live until they are tokenised: sixteen of the largest.
 */
#define REQUEST_BYTES_PER_UID_MAX (64ULL << 20)

/* Of them, on the pool threads at a time, of which libuv has four: one user's flood of the longest
 * prompts, half a second each, leaves two for others. */
#define PREPARING_PER_UID_MAX 2

/* One connection's share of a loop turn (and of its records: CHANNEL_TURN_RECORDS in
 * proto/channel.h), so that a flooding client costs the others at most about a millisecond. */
#define FRAMES_PER_TURN  16
#define ACCEPTS_PER_TURN 16

/* KV of running requests on the device by default. On a CPU, device and host are the same memory:
 * as much as is kept, so that a request over the whole context of V4.1, a million tokens in 0.94
 * GB, still runs without gathering a row. */
#define DEVICE_KV_DEFAULT (1ULL << 30)

/* Slots of a spilled sequence's hot pool by default: four times the 512 rows that a token of V4.1
 * selects. At most 2^20: all rows of the longest context. */
#define HOT_ROWS_DEFAULT 2048
#define HOT_ROWS_MAX     (1U << 20)

/* Sequences left on the device after their turn, for the next one: a busy desk has a dozen agents
 * between two turns. Each new request is compared with each. */
#define PARKED_MAX 16

/* What they may hold there when device_kv is no bound. */
#define PARKED_BYTES_MAX DEVICE_KV_DEFAULT

/* Users whose hint is noted at once: more than work at one machine. Each holds its prompt's token
 * ids, 4 MiB at most with the longest context of a million tokens. With more of them the oldest
 * hint goes. */
#define HINTS_MAX 64

/* For how long a hint is worth work: who has not sent in a minute what he was about to send has
 * thought of something else. */
#define HINT_LIFE_S 60

/* A request whose client has not read for this long leaves the device when another one waits for
 * its room: long enough for a client that is only busy. It goes on from what was kept. */
#define PAUSED_LEAVES_MS 1000

/* Memory and disk for kept KV by default: a million tokens of V4.1 take 0.9 GB, and a state to go
 * on from 2.7 MB. On disk room for some hundred long conversations. */
#define HOST_KV_DEFAULT (1ULL << 30)
#define DISK_KV_DEFAULT (16ULL << 30)

/* Percent of these that one user may have. All: under pressure it is always a user with more than
 * an equal share who makes room (memory/eviction.h), so a lower limit protects nobody better, and
 * leaves room unused where one user works alone. */
#define USER_KV_DEFAULT 100

/* Bytes of kept KV written to disk in a day. The weakest consumer SSDs of 1 TB are warranted for
 * 200 TB over five years: 110 GB a day, of which this takes less than a third. A busy agent's
 * thousand turns a day write some 5 GB of V4.1. */
#define DISK_WRITES_PER_DAY_DEFAULT (32ULL << 30)

/* Room for a label such as "project/agent/run", and bounded because it becomes part of cache keys.
 */
#define SUBJECT_BYTES_MAX 128

/* Sessions of one uid: a dozen agents with a few dozen tasks each, and none of them ever closed. A
 * session without its tokens is 300 bytes of memory and as much on disk. */
#define SESSIONS_PER_UID_MAX 1024

/* Sessions of all uids: what the store keeps. */
#define SESSIONS_MAX 65536

/* Token ids of one uid's sessions, 4 bytes each in memory and on disk: 64 MiB, which are sixteen of
 * the longest context (a million tokens), or all sessions of that uid with 16,384 each. Answers
 * under way may pass it. */
#define SESSION_TOKENS_PER_UID_MAX (16U << 20)

/* A caller's own key: an id, a hash, a short path; and it has room in a record of the store. */
#define REMEMBERED_KEY_BYTES_MAX 256

/* Keys of one uid, and their token ids: each keeps a message, so four thousand tokens of each of a
 * thousand messages; 16 MiB. The least recently used make room for new ones. */
#define REMEMBERED_PER_UID_MAX        1024
#define REMEMBERED_TOKENS_PER_UID_MAX (4U << 20)

/* Prefill chunk: one page of the KV cache. Chunks end on absolute multiples of it (numerics
 * contract, and the unit in which a cancel is seen). */
#define CHUNK_TOKENS 128

/* Rows of one engine step: four chunks, or one chunk beside RUNNING_MAX decodes. Fixes the engine's
 * workspace. */
#define STEP_ROWS 512

/* Waiting streams are looked at again this often even without a kick: a client that stores a cancel
 * word while its ring is full does not have to kick. */
#define PAUSED_POLL_MS 100

/* A stream whose client has read nothing for this long ends; until then it only waits. Long enough
 * for a stopped debugger session or a suspended terminal, short enough that a forgotten one gives
 * its memory back the same day. */
#define SLOW_CONSUMER_S 600

/* Drain: time that running requests get after SIGTERM, configurable. Below systemd's default stop
 * timeout of 90 s. */
#define DRAIN_TIMEOUT_S_DEFAULT 20
#define DRAIN_TIMEOUT_S_MAX     3600

/* Between two log lines about what clients of one uid do wrong, or are refused; the rest is counted
 * and told with the next line. */
#define LOG_INTERVAL_PER_UID_S 1
