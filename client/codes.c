#include "client/client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_OF_(x) #x
#define TEXT_OF(x)  TEXT_OF_(x)

const char *seekd_version(void) {
        return TEXT_OF(SEEKD_VERSION_MAJOR) "." TEXT_OF(SEEKD_VERSION_MINOR) "." TEXT_OF(
                SEEKD_VERSION_PATCH);
}

const char *seekd_strerror(int code) {
        switch (code) {
        case SEEKD_OK: return "no error";
        case SEEKD_E_INVALID: return "invalid parameter";
        case SEEKD_E_TOO_LARGE: return "too large";
        case SEEKD_E_UNSUPPORTED: return "not supported";
        case SEEKD_E_BUSY: return "busy, try again later";
        case SEEKD_E_NOT_READY: return "the model is still loading";
        case SEEKD_E_DEADLINE: return "the deadline passed";
        case SEEKD_E_NOT_FOUND: return "not found";
        case SEEKD_E_NO_DAEMON: return "no daemon";
        case SEEKD_E_REFUSED: return "connection refused by the daemon";
        case SEEKD_E_LOST: return "connection lost";
        case SEEKD_E_PROTOCOL: return "protocol violation";
        case SEEKD_E_STOPPING: return "the daemon is shutting down";
        case SEEKD_E_DAEMON: return "the daemon failed";
        case SEEKD_E_NO_MEMORY: return "out of memory";
        case SEEKD_E_SYSTEM: return "system error";
        case SEEKD_E_FORBIDDEN: return "not allowed";
        default: return "unknown error";
        }
}

int seekd_code_of_errno(int negative_errno) {
        switch (negative_errno) {
        case 0: return SEEKD_OK;
        case -ENOMEM: return SEEKD_E_NO_MEMORY;
        case -EPROTO:
        case -EBADMSG:
        case -E2BIG:
        case -EMSGSIZE:
        case -ENOTSUP: return SEEKD_E_PROTOCOL;
        case -EPIPE:
        case -ECONNRESET: return SEEKD_E_LOST;
        default: return SEEKD_E_SYSTEM;
        }
}

int client_fail(struct seekd_client *client, int code, const char *format, ...) {
        va_list args;
        va_start(args, format);
        vsnprintf(client->error.text, sizeof(client->error.text), format, args);
        va_end(args);
        client->error.code = code;
        return code;
}

void seekd_free(void *pointer) {
        free(pointer);
}
