/* The inside of a client: one connection, its requests, and what waits to be sent.
 *
 * Requests form a list from submission until they are over and their owner has given them back.
 * Everything runs in the one thread that uses the client (seekd.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "client/seekd.h"
#include "proto/channel.h"
#include "proto/message.h"

/* Spinning longer than a sleeping thread's wake-up costs only burns a core. */
#define CLIENT_SPIN_NS_MAX 50000U

/* Results as large as the protocol allows: the library accepts what a daemon may send. */
#define CLIENT_MESSAGE_BYTES_MAX MESSAGE_PROMPT_BYTES_MAX

struct outgoing;

struct seekd_client {
        int socket;
        struct channel channel;
        uint64_t message_bytes_max; /* of one request */
        uint32_t spin_ns;
        uint32_t next_request_id;
        int load_permille;
        bool calling_back; /* inside a callback of the program */
        int lost;          /* 0, or the enum seekd_error that ended the connection */
        char lost_text[SEEKD_ERROR_BYTES];
        struct error error; /* of the last failed call */
        struct seekd_request *requests;
        struct outgoing *outgoing_first;
        struct outgoing *outgoing_last;
        struct arena arena; /* of the message being read */
};

/* Gets the answer to a question (not called on failure). Returns 0 or an enum seekd_error with a
 * message. */
typedef int (*answer_fn)(void *userdata, const ProtobufCMessage *answer, struct error *err);

struct seekd_request {
        struct seekd_client *client;
        struct seekd_request *next;
        uint32_t id;
        unsigned answer_type; /* record type of a question's answer; 0: a generation */
        answer_fn answer;
        seekd_work_fn work; /* of a question that takes long: told how far it is; may be NULL */
        bool takes_long;
        seekd_piece_fn piece;
        seekd_done_fn done;
        void *userdata;
        bool accepted;
        uint32_t slot;
        bool cancel_wanted;
        bool silent;  /* deliver no more pieces */
        bool over;    /* result is final */
        bool orphan;  /* nobody holds it: free when over */
        bool running; /* its callback is on the stack */
        struct seekd_result result;
};

/* send.c: packs the message and queues it under this request's id. 0 or a negative enum seekd_error
 * with a message. */
int client_send(struct seekd_client *client, unsigned record_type, uint32_t request_id,
                const ProtobufCMessage *message);
/* Sends what can be sent without waiting. 0 or a negative errno with a message. */
int client_flush(struct seekd_client *client, struct error *err);
void client_drop_outgoing(struct seekd_client *client);

/* receive.c: handles what the ring holds until it is empty; with `arm` also until a kick is asked
 * for, which must be so before anyone sleeps. Count of messages, or a negative errno with a message
 * when the daemon broke a rule. */
int client_receive(struct seekd_client *client, bool arm, struct error *err);

/* dispatch.c: ends the connection: every request is over with this code, callbacks are called.
 * Returns `code`. */
int client_lose(struct seekd_client *client, int code, const char *text);
/* Dispatches until the request is over. 0 or the code that ended the connection. */
int client_wait(struct seekd_client *client, const struct seekd_request *request);
/* Whether a call that dispatches is legal now; else the code, with a message. */
int client_check_usable(struct seekd_client *client);

/* questions.c: a request with one answer of this type, which `answer` takes; waits for it. NULL:
 * not possible now, client->error says why. Its owner sends it by client_ask(), which frees it. 0
 * or a negative enum seekd_error, with a message. */
struct seekd_request *client_question(struct seekd_client *client, unsigned answer_type,
                                      answer_fn answer, void *userdata);
int client_ask(struct seekd_client *client, struct seekd_request *request, unsigned question_type,
               const ProtobufCMessage *question);

/* request.c: a new request in the client's list, orphaned until someone keeps it. NULL: no memory.
 */
struct seekd_request *request_new(struct seekd_client *client);
/* Marks it over with the result it holds, calls done, frees it when orphaned. */
void request_finish(struct seekd_request *request);
/* Takes it off the list and frees it. */
void request_delete(struct seekd_request *request);
/* Stores the cancel word when the slot is known. */
void request_send_cancel(struct seekd_request *request);

/* A text parameter as a protobuf field and a NUL-terminated one as a string, checked: UTF-8,
 * without NUL in a string. The fields point to the program's memory. 0, or SEEKD_E_INVALID with a
 * message.
 */
int client_text_field(struct seekd_client *client, const char *name, const char *text, size_t bytes,
                      ProtobufCBinaryData *ret);
int client_string_field(struct seekd_client *client, const char *name, const char *text,
                        char **ret);

/* conversation.c: fills `ret` (initialised) from the program's conversation. What it points to is
 * the program's, or in `arena` (a zeroed struct; the caller's, also after a failure). 0,
 * SEEKD_E_INVALID or SEEKD_E_NO_MEMORY, with a message that names the field. */
int conversation_fill(struct seekd_client *client, const struct seekd_chat *given,
                      struct arena *arena, Seekd__V1__Chat *ret);

/* result.c: what the daemon's final messages say, in the terms of seekd.h. */
void result_from_error(struct seekd_result *result, const Seekd__V1__Error *error);
/* Tool calls are copied: the request's, until request_delete(). */
void result_from_done(struct seekd_result *result, const Seekd__V1__Done *done);
int result_code_of(Seekd__V1__ErrorCode code); /* enum seekd_error */
void result_from_code(struct seekd_result *result, int code, const char *text);

/* Fails a call: remembers the message for seekd_last_error() and returns `code`. */
int client_fail(struct seekd_client *client, int code, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* An enum seekd_error for a negative errno of the layers below. */
int seekd_code_of_errno(int negative_errno);

/* versioned.c: size-prefixed structs from and to programs of other versions. */

/* Copies the program's struct into ours, zero beyond its end. `bytes_min`: the size in the first
 * release. 0, or SEEKD_E_INVALID: too small, or it sets fields that this library does not know. */
int versioned_read(void *ours, size_t our_bytes, const void *theirs, size_t bytes_min);
/* Copies as much of ours as the program's struct holds, leaving its size. 0 or SEEKD_E_INVALID. */
int versioned_write(void *theirs, const void *ours, size_t our_bytes, size_t bytes_min);
