/* seek metrics: the daemon's statistics for Prometheus. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "client/seek/seek.h"

/* Who collects them is another user. */
#define FILE_MODE 0644

static int fail(const char *path) {
        fprintf(stderr, "seek: %s: %s\n", path, strerror(errno));
        return EXIT_FAILED;
}

static bool write_text(int fd, const char *text) {
        FILE *f = fdopen(fd, "w");
        if (!f) {
                close(fd);
                return false;
        }
        fputs(text, f);
        bool failed = ferror(f) != 0 || fchmod(fd, FILE_MODE) < 0;
        return fclose(f) == 0 && !failed;
}

/* Whoever reads the file finds the old text or the new one, never a part. The name in between ends
 * otherwise, so that collectors pass it over. */
static int replace_file(const char *path, const char *text) {
        CLEANUP_FREE char *beside = NULL;
        if (asprintf(&beside, "%s.XXXXXX", path) < 0)
                return fail(path);
        int fd = mkstemp(beside);
        if (fd < 0)
                return fail(beside);
        if (write_text(fd, text) && rename(beside, path) == 0)
                return EXIT_DONE;
        int exit_code = fail(path);
        unlink(beside);
        return exit_code;
}

/* Without statistics: that nobody answered. */
static int put_metrics(const struct seekd_stats *stats, const char *output) {
        char *text = NULL;
        int code = seekd_metrics(stats, &text);
        if (code < 0)
                return report_failure(code, seekd_strerror(code), false);
        int exit_code;
        if (output)
                exit_code = replace_file(output, text);
        else
                exit_code =
                        fputs(text, stdout) >= 0 && fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
        seekd_free(text);
        return exit_code;
}

/* What went wrong first decides the exit code. */
static int run_with(const char *socket_path, const char *output) {
        struct seekd_stats *stats = NULL;
        int asked = EXIT_FAILED;
        struct seekd_client *client = connect_or_report(socket_path, false, &asked);
        if (client) {
                int code = seekd_stats(client, &stats);
                asked = code < 0 ? report_failure(code, seekd_last_error(client), false)
                                 : EXIT_DONE;
        }
        int put = put_metrics(stats, output);
        seekd_free(stats);
        seekd_disconnect(client);
        return asked != EXIT_DONE ? asked : put;
}

static int run(int argc, char **argv, const struct command *command) {
        static const struct option options[] = {
                { "output", required_argument, NULL, 'o' },
                { "socket", required_argument, NULL, 'S' },
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        const char *socket_path = NULL, *output = NULL;
        int option;
        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                switch (option) {
                case 'o': output = optarg; break;
                case 'S': socket_path = optarg; break;
                case 'h': fputs(command->help, stdout); return EXIT_DONE;
                default: return EXIT_USAGE;
                }
        }
        if (argc > optind)
                return usage_error("metrics takes no argument; '%s' is one too many", argv[optind]);
        return run_with(socket_path, output);
}

const struct command command_metrics = {
        .name = "metrics",
        .summary = "statistics for Prometheus",
        .help = "usage: seek metrics [OPTION...]\n\n"
                "Prints what the daemon counts in Prometheus's text format, or, when no daemon "
                "answers,\nonly seekd_up 0.\n\n"
                "  --output FILE      replace FILE at once, as node_exporter's textfile collector "
                "wants it\n"
                "  --socket PATH      where the daemon listens\n"
                "  --help             this text\n",
        .run = run,
};
