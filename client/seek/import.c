#include <stdio.h>

#include "client/seek/seek.h"
#include "client/seek/work_line.h"

static int print_imported(const struct seekd_imported *imported, bool json) {
        if (json)
                return print_json(json_pack("{s:b, s:b, s:b, s:s}", "complete", imported->complete,
                                            "already", imported->already, "in_use",
                                            imported->in_use, "path", imported->path));
        if (!imported->complete)
                puts("interrupted: another import goes on from there");
        else
                printf("%s %s the model's Engram tables%s\n", imported->path,
                       imported->already ? "already holds" : "holds",
                       imported->in_use ? "" : "; they are used from the daemon's next start on");
        return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

static int import(struct seekd_client *client, bool json) {
        struct seekd_imported imported = SEEKD_IMPORTED_INIT;
        struct work_line line;
        work_line_begin(&line);
        int code = seekd_import(client, work_line_show, &line, &imported);
        work_line_end(&line);
        if (code < 0)
                return report_failure(code, seekd_last_error(client), json);
        int exit_code = print_imported(&imported, json);
        return exit_code == EXIT_DONE && !imported.complete ? EXIT_INTERRUPTED : exit_code;
}

static int run(int argc, char **argv, const struct command *command) {
        return run_without_arguments(argc, argv, command, import);
}

const struct command command_import = {
        .name = "import",
        .summary = "copy the model's Engram tables into the daemon's state folder",
        .help = "usage: seek import [OPTION...]\n\n"
                "Has the daemon copy the Engram tables of its model into engram.mdb, from where "
                "it reads\nthem from its next start on. For root and the daemon's user. An "
                "interrupted import goes on\nwhere it was.\n\n"
                "  --json             print one JSON object\n"
                "  --socket PATH      where the daemon listens\n"
                "  --help             this text\n",
        .run = run,
};
