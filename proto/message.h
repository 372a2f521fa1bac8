/* Bounded protobuf: reading a payload that a hostile peer wrote, and packing our own.
 *
 * protobuf-c turns hostile input into up to 80 times its size in heap and recurses without limit.
 * So a payload is first walked along its descriptor without allocating: fields are counted, nesting
 * is bounded, wire types must match, strings must be UTF-8 without NUL. Only then it is unpacked,
 * into an arena of fixed size. The message and all it points to live in the arena and die with it
 * (no free_unpacked). One thread at a time per arena. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "proto/record_types.h"
#include "proto/seekd.pb-c.h"

struct error;

/* The largest honest message is a long conversation: an agent's of 2,000 messages with eight fields
 * each, calls and results included. A scan record costs protobuf-c 48 bytes, so this is also at
 * most 0.8 MiB of scratch. */
#define MESSAGE_FIELDS_MAX 16384

/* The schema's deepest paths are Generate.chat.messages.tool_calls and Append.chat...: 4. Each
 * level costs about 0.9 KB of stack. */
#define MESSAGE_DEPTH_MAX 8

/* A control message is parameters and short strings. */
#define MESSAGE_CONTROL_BYTES_MAX (64U << 10)

/* Text or ids: 4 MiB is over a million tokens of text, the longest context of any model of this
 * family. */
#define MESSAGE_PROMPT_BYTES_MAX (4U << 20)

/* 4 bytes of memory per wire byte is the worst of packed ids (one byte on the wire, a uint32_t in
 * memory); the rest is for structs and scan records: of small messages, and of the short messages
 * of a long conversation, which have three fields in at least 12 bytes and take 260 bytes of
 * memory. */
#define MESSAGE_ARENA_BYTES(wire_bytes)                                                            \
        (4 * (size_t)(wire_bytes) + (64U << 10) +                                                  \
         24 *                                                                                      \
                 (size_t)((wire_bytes) < 4 * MESSAGE_FIELDS_MAX ? (wire_bytes)                     \
                                                                : 4 * MESSAGE_FIELDS_MAX))

/* Static facts of a record type; NULL descriptor = unknown type or not protobuf (RECORD_TOKENS). */
const ProtobufCMessageDescriptor *message_descriptor(unsigned record_type);
uint32_t message_bytes_max(unsigned record_type);

/* Unpacks a private copy of a payload. `arena` is a zeroed struct or one from an earlier call,
 * which is reset and made larger when needed; its owner calls arena_deinit(). On success
 * *ret_message points into the arena; cast it to the struct of the record type. Errors: -ENOTSUP
 * (unknown record type), -EMSGSIZE (larger than the type allows), -EBADMSG (malformed, with field
 * path and byte offset), -E2BIG (more fields, nesting or memory than allowed), -ENOMEM. */
int message_unpack(unsigned record_type, const void *payload, size_t bytes, struct arena *arena,
                   const ProtobufCMessage **ret_message, struct error *err);

/* Checks a `bytes` field that must hold UTF-8. 0 or -EBADMSG: "<field>: invalid UTF-8 at byte 17".
 */
int message_check_utf8(const char *field, const void *text, size_t bytes, struct error *err);

/* Bytes that a message takes on the wire. */
size_t message_packed_bytes(const ProtobufCMessage *message);

/* Packs into the caller's buffer. Returns the bytes written, or -ENOSPC. */
int64_t message_pack(const ProtobufCMessage *message, void *buffer, size_t capacity);
