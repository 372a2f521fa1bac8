/* Fill-in-the-middle: where the gap is, and what lies around it. */
#include <stdio.h>
#include <string.h>

#include "client/seek/seek.h"

#define MARKER_DEFAULT "<FILL>"

enum {
        OPTION_LINE = 2000,
        OPTION_COLUMN,
        OPTION_MARKER,
        OPTION_PREFIX_FILE,
        OPTION_SUFFIX_FILE,
};

struct gap {
        uint32_t line;   /* from 1; 0 = not given */
        uint32_t column; /* from 1, in bytes; 0 = end of the line */
        const char *marker;
        const char *prefix_path;
        const char *suffix_path;
};

static bool take_gap_option(struct gap *gap, int option, const char *argument) {
        switch (option) {
        case OPTION_LINE: return parse_u32("--line", argument, 1, INT32_MAX, &gap->line);
        case OPTION_COLUMN: return parse_u32("--column", argument, 1, INT32_MAX, &gap->column);
        case OPTION_MARKER: gap->marker = argument; return true;
        case OPTION_PREFIX_FILE: gap->prefix_path = argument; return true;
        case OPTION_SUFFIX_FILE: gap->suffix_path = argument; return true;
        default: return false;
        }
}

static void set_halves(struct seekd_params *params, const struct input *text, size_t prefix_bytes,
                       size_t suffix_at) {
        params->prefix = text->bytes;
        params->prefix_bytes = prefix_bytes;
        params->suffix = text->bytes + suffix_at;
        params->suffix_bytes = text->n - suffix_at;
}

static int split_at_line(const struct gap *gap, const char *path, const struct input *text,
                         struct seekd_params *params) {
        size_t at = 0;
        for (uint32_t line = 1; line < gap->line; line++) {
                const char *newline = memchr(text->bytes + at, '\n', text->n - at);
                if (!newline)
                        return usage_error("%s: has %u lines, not %u", path, line, gap->line);
                at = (size_t)(newline - text->bytes) + 1;
        }
        const char *newline = memchr(text->bytes + at, '\n', text->n - at);
        size_t line_bytes = newline ? (size_t)(newline - text->bytes) - at : text->n - at;
        size_t column = gap->column > 0 ? gap->column - 1 : line_bytes;
        if (column > line_bytes)
                return usage_error("%s: line %u has %zu bytes, so no column %u", path, gap->line,
                                   line_bytes, gap->column);
        set_halves(params, text, at + column, at + column);
        return EXIT_DONE;
}

static int split_at_marker(const char *marker, const char *path, const struct input *text,
                           struct seekd_params *params) {
        size_t n = strlen(marker);
        const char *first = n > 0 ? memmem(text->bytes, text->n, marker, n) : NULL;
        if (!first)
                return usage_error("%s: the marker '%s' is not in it; say where the gap is with "
                                   "--line or --marker",
                                   path, marker);
        size_t after = (size_t)(first - text->bytes) + n;
        if (memmem(text->bytes + after, text->n - after, marker, n))
                return usage_error("%s: the marker '%s' is in it more than once", path, marker);
        set_halves(params, text, after - n, after);
        return EXIT_DONE;
}

static int run_on_file(const struct gap *gap, const char *path, struct generation *generation) {
        struct input text;
        int exit_code = EXIT_FAILED;
        if (!read_input(path, &text, &exit_code))
                return exit_code;
        const char *name = path ? path : "standard input";
        if (gap->line > 0)
                exit_code = split_at_line(gap, name, &text, &generation->params);
        else
                exit_code = split_at_marker(gap->marker ? gap->marker : MARKER_DEFAULT, name, &text,
                                            &generation->params);
        if (exit_code == EXIT_DONE)
                exit_code = generation_run(generation);
        input_deinit(&text);
        return exit_code;
}

static int run_on_halves(const struct gap *gap, struct generation *generation) {
        struct input prefix = { NULL, 0 };
        struct input suffix = { NULL, 0 };
        int exit_code = EXIT_FAILED;
        if ((!gap->prefix_path || read_input(gap->prefix_path, &prefix, &exit_code)) &&
            (!gap->suffix_path || read_input(gap->suffix_path, &suffix, &exit_code))) {
                generation->params.prefix = prefix.bytes;
                generation->params.prefix_bytes = prefix.n;
                generation->params.suffix = suffix.bytes;
                generation->params.suffix_bytes = suffix.n;
                exit_code = generation_run(generation);
        }
        input_deinit(&prefix);
        input_deinit(&suffix);
        return exit_code;
}

static int run(int argc, char **argv, const struct command *command) {
        static const struct option options[] = {
                GENERATION_OPTIONS,
                { "line", required_argument, NULL, OPTION_LINE },
                { "column", required_argument, NULL, OPTION_COLUMN },
                { "marker", required_argument, NULL, OPTION_MARKER },
                { "prefix-file", required_argument, NULL, OPTION_PREFIX_FILE },
                { "suffix-file", required_argument, NULL, OPTION_SUFFIX_FILE },
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        struct generation generation = GENERATION_INIT;
        struct gap gap = { 0 };
        int option;
        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (option == 'h') {
                        fputs(command->help, stdout);
                        return EXIT_DONE;
                }
                bool taken = option >= OPTION_LINE
                        ? take_gap_option(&gap, option, optarg)
                        : generation_take_option(&generation, option, optarg);
                if (!taken)
                        return EXIT_USAGE;
        }
        bool halves = gap.prefix_path || gap.suffix_path;
        if (halves && (gap.line > 0 || gap.marker || argc > optind))
                return usage_error(
                        "--prefix-file and --suffix-file go without FILE, --line and --marker");
        if ((gap.line > 0 && gap.marker) || (gap.column > 0 && gap.line == 0))
                return usage_error("give --line, perhaps with --column, or --marker");
        if (argc - optind > 1)
                return usage_error("fim takes one FILE; '%s' is one too many", argv[optind + 1]);
        return halves ? run_on_halves(&gap, &generation)
                      : run_on_file(&gap, argv[optind], &generation);
}

const struct command command_fim = {
        .name = "fim",
        .summary = "fill a gap in a file",
        .help = "usage: seek fim [OPTION...] [FILE|-]\n"
                "       seek fim [OPTION...] --prefix-file FILE --suffix-file FILE\n\n"
                "Prints what the model writes between the text before a gap and the text after "
                "it.\n\n"
                "  --line N           the gap is in line N of FILE, counted from 1\n"
                "  --column N         before byte N of that line, counted from 1 (default: its "
                "end)\n"
                "  --marker TEXT      or where TEXT stands, once (default " MARKER_DEFAULT ")\n"
                "  --prefix-file FILE or between these two files\n"
                "  --suffix-file FILE\n" GENERATION_HELP,
        .run = run,
};
