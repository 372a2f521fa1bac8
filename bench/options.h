/* The options of a command: one table that is parsed and printed as the usage.
 *
 * One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exactly one of flag, text, number and set is set; what it points to holds the default and is only
 * written when the option is given. */
struct option_rule {
        const char *name; /* without the dashes */
        const char *what; /* of the value, "DIR"; NULL for a flag */
        const char *help; /* "\n" begins another line */
        bool *flag;
        const char **text; /* into argv */
        unsigned *number;
        unsigned min, max;        /* of the number */
        unsigned *set;            /* bit i: names[i] is in the list */
        const char *const *names; /* at most 32; NULL ends them */
        bool required;
};

#define OPTION_FLAG(n, pointer, text_)                                                             \
        { .name = (n), .flag = (pointer), .help = (text_) }
#define OPTION_TEXT(n, value, pointer, text_)                                                      \
        { .name = (n), .what = (value), .text = (pointer), .help = (text_) }
#define OPTION_REQUIRED(n, value, pointer, text_)                                                  \
        { .name = (n), .what = (value), .text = (pointer), .help = (text_), .required = true }
#define OPTION_NUMBER(n, pointer, min_, max_, text_)                                               \
        {                                                                                          \
                .name = (n), .what = "N", .number = (pointer), .min = (min_), .max = (max_),       \
                .help = (text_)                                                                    \
        }

/* "some,of,the,names" */
#define OPTION_SET(n, pointer, names_, text_)                                                      \
        { .name = (n), .what = "LIST", .set = (pointer), .names = (names_), .help = (text_) }

struct command_line {
        const char *command;
        const char *summary; /* lines without the last "\n" */
        const struct option_rule *rules;
        size_t n_rules;
};

/* 0, or -EINVAL and stderr says why. --help prints the usage and ends the program. */
int options_parse(const struct command_line *line, int argc, char **argv);
