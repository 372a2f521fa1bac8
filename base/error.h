/* Errors: a negative errno for the program, a sentence for the person.
 *
 * Functions return 0 on success and a negative errno on failure. Those that judge input (files,
 * client bytes, configuration) also take a `struct error *` and leave a message there that names
 * the thing and the place: "model.safetensors: tensor 'embed.weight': offset 96 is past the end of
 * the file (64 bytes)". The pointer may be NULL when nobody will read the message. Any thread; an
 * error belongs to its caller. */
#pragma once

struct error {
        int code; /* negative errno, 0 = none */
        char text[512];
};

/* Writes code and message, returns code: `return error_set(err, -EINVAL, "...", ...);` */
int error_set(struct error *err, int code, const char *format, ...)
        __attribute__((format(printf, 3, 4), cold));

/* Puts "<prefix>: " before the message that is there, returns the code that is there. */
int error_prefix(struct error *err, const char *format, ...)
        __attribute__((format(printf, 2, 3), cold));

/* Like error_set() with -errno, appending ": <strerror>". Call before anything can change errno. */
int error_errno(struct error *err, const char *format, ...)
        __attribute__((format(printf, 2, 3), cold));
