/* The `type` of a ring record: which message of seekd.proto its payload is. Numbers are never
 * reused.
 *
 * Client to daemon below 128, daemon to client from 128. 0 is not a type. A record's `stream` is
 * the request id. */
#pragma once

enum record_type {
        /* Requests. */
        RECORD_GENERATE = 1,
        RECORD_TOKENIZE = 2,
        RECORD_DETOKENIZE = 3,
        RECORD_MODEL_INFO = 4,
        RECORD_STATS = 5,
        RECORD_SESSION_OPEN = 16,
        RECORD_SESSION_ATTACH = 17,
        RECORD_SESSION_FORK = 18,
        RECORD_SESSION_REWIND = 19,
        RECORD_SESSION_PIN = 20,
        RECORD_SESSION_CLOSE = 21,
        RECORD_APPEND = 22,
        RECORD_HINT = 23,
        RECORD_REMEMBER = 24,
        RECORD_RECALL = 25,
        RECORD_SESSION_LIST = 26,
        RECORD_CACHE_LIST = 32,
        RECORD_CACHE_VERIFY = 33,
        RECORD_CACHE_PURGE = 34,
        RECORD_IMPORT = 35,

        /* Answers. */
        RECORD_ERROR = 128,
        RECORD_ACCEPTED = 129,
        RECORD_TOKENS = 130, /* struct token_delta (proto/token_delta.h), not protobuf */
        RECORD_DONE = 131,
        RECORD_TOKENIZE_RESULT = 132,
        RECORD_DETOKENIZE_RESULT = 133,
        RECORD_MODEL_INFO_RESULT = 134,
        RECORD_STATS_RESULT = 135,
        RECORD_SESSION_RESULT = 144,
        RECORD_RECALL_RESULT = 145,
        RECORD_ACKNOWLEDGED = 146,
        RECORD_SESSION_LIST_RESULT = 147,
        RECORD_CACHE_LIST_RESULT = 152,
        RECORD_CACHE_VERIFY_RESULT = 153,
        RECORD_CACHE_PURGE_RESULT = 154,
        RECORD_IMPORT_RESULT = 155,
        RECORD_PROGRESS = 156,
};
