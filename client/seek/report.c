/* Failures and results, for people and for programs. */
#include <stdarg.h>
#include <stdio.h>

#include "client/seek/seek.h"

int usage_error(const char *format, ...) {
        va_list args;
        va_start(args, format);
        fputs("seek: ", stderr);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
        va_end(args);
        return EXIT_USAGE;
}

int exit_code_of(int seekd_code) {
        switch (seekd_code) {
        case SEEKD_OK: return EXIT_DONE;
        case SEEKD_E_INVALID:
        case SEEKD_E_TOO_LARGE:
        case SEEKD_E_UNSUPPORTED:
        case SEEKD_E_BUSY:
        case SEEKD_E_NOT_READY:
        case SEEKD_E_DEADLINE:
        case SEEKD_E_NOT_FOUND:
        case SEEKD_E_REFUSED:
        case SEEKD_E_FORBIDDEN:
        case SEEKD_E_STOPPING: return EXIT_REFUSED;
        case SEEKD_E_NO_DAEMON: return EXIT_NO_DAEMON;
        case SEEKD_E_LOST: return EXIT_LOST;
        default: return EXIT_FAILED;
        }
}

int report_failure(int code, const char *text, bool json) {
        fprintf(stderr, "seek: %s\n", text);
        if (json)
                print_json(json_pack("{s:{s:i, s:s, s:s}}", "error", "code", code, "name",
                                     seekd_strerror(code), "message", text));
        return exit_code_of(code);
}

int print_json(json_t *object) {
        int r = object ? json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) : -1;
        json_decref(object);
        if (r == 0 && fputc('\n', stdout) != EOF && fflush(stdout) == 0)
                return EXIT_DONE;
        fputs("seek: writing to standard output failed\n", stderr);
        return EXIT_FAILED;
}

int print_ids(const uint32_t *ids, size_t n, bool json) {
        if (json) {
                json_t *array = json_array();
                for (size_t i = 0; i < n; i++)
                        json_array_append_new(array, json_integer(ids[i]));
                return print_json(json_pack("{s:o, s:I}", "tokens", array, "n", (json_int_t)n));
        }
        for (size_t i = 0; i < n; i++)
                printf("%s%u", i > 0 ? " " : "", ids[i]);
        if (putchar('\n') == EOF || fflush(stdout) != 0)
                return report_failure(SEEKD_E_SYSTEM, "writing to standard output failed", false);
        return EXIT_DONE;
}

struct seekd_client *connect_or_report(const char *socket_path, bool json, int *ret_exit) {
        struct seekd_client *client = NULL;
        char error[SEEKD_ERROR_BYTES];
        int code = seekd_connect(socket_path, &client, error, sizeof(error));
        if (code < 0)
                *ret_exit = report_failure(code, error, json);
        return client;
}
