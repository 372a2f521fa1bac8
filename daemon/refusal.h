/* Why a request is not served: what becomes an Error message. */
#pragma once

#include <stdint.h>

#include "proto/seekd.pb-c.h"

#define ERROR_CODES (SEEKD__V1__ERROR_CODE__ERROR_CODE_FORBIDDEN + 1)

struct refusal {
        int code; /* Seekd__V1__ErrorCode, 0 = none */
        uint32_t retry_after_ms;
        char field[64];
        char text[512]; /* Error.message: at most 511 bytes */
};

/* `field` may be NULL. Returns -1, so that checks can `return refuse(...)`. */
int refuse(struct refusal *refusal, int code, const char *field, const char *format, ...)
        __attribute__((format(printf, 4, 5), cold));
