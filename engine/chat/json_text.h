/* JSON as the release's encoder writes it: one space behind ':' and ',', no other white space,
 * characters as they are, numbers in their shortest form. Member order is kept, and so are integers
 * of any size, which no parsed form would do. The input of all but the first function is what
 * json_text_check() accepted. No recursion, no state: any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct bytes;
struct chat_text;
struct error;

enum json_kind { JSON_TEXT_ANY, JSON_TEXT_OBJECT };

/* -EINVAL with a message: not one JSON value (an object, with JSON_TEXT_OBJECT), or nested deeper
 * than the parser allows. */
int json_text_check(struct chat_text json, enum json_kind kind, struct error *err);

/* Appends the value in the encoder's form. */
void json_text_add(struct bytes *out, struct chat_text json);

/* Appends UTF-8 text as it stands inside a JSON string, without the quotes. */
void json_text_escape(struct bytes *out, struct chat_text text);

/* Appends what a JSON string (with its quotes) says. */
void json_text_unescape(struct bytes *out, struct chat_text string);

/* The members of an object, from *at = 0 on: false at its end. The key has its quotes. */
bool json_text_member(struct chat_text object, size_t *at, struct chat_text *ret_key,
                      struct chat_text *ret_value);
