#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "client/seek/seek.h"
#include "client/seek/work_line.h"

struct asked {
        struct seekd_client *client;
        bool json;
        const char *user;
        uint64_t session;
};

static int fail(const struct asked *asked, int code) {
        return report_failure(code, seekd_last_error(asked->client), asked->json);
}

static int flushed(void) {
        return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

/* -------- list -------- */

static json_t *owner_json(const struct seekd_cache_owner *owner) {
        return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "uid", (json_int_t)owner->uid,
                         "host_bytes", (json_int_t)owner->host_bytes, "pinned_bytes",
                         (json_int_t)owner->pinned_bytes, "disk_bytes",
                         (json_int_t)owner->disk_bytes, "disk_pages", (json_int_t)owner->disk_pages,
                         "disk_tokens", (json_int_t)owner->disk_pages * 128, "disk_states",
                         (json_int_t)owner->disk_states);
}

static json_t *list_json(const struct seekd_cache_list *list) {
        json_t *owners = json_array();
        for (size_t i = 0; i < list->n_owners; i++)
                json_array_append_new(owners, owner_json(list->owners[i]));
        return json_pack("{s:o, s:I, s:I}", "owners", owners, "host_bytes_max",
                         (json_int_t)list->host_bytes_max, "disk_bytes_max",
                         (json_int_t)list->disk_bytes_max);
}

static int print_list(const struct seekd_cache_list *list) {
        char host[BYTES_TEXT], disk[BYTES_TEXT], pinned[BYTES_TEXT], name[USER_TEXT];
        if (list->n_owners > 0)
                printf("%-16s %12s %12s %12s %14s %8s\n", "user", "memory", "disk", "pinned",
                       "tokens on disk", "states");
        for (size_t i = 0; i < list->n_owners; i++) {
                const struct seekd_cache_owner *owner = list->owners[i];
                printf("%-16s %12s %12s %12s %14llu %8llu\n", user_text(owner->uid, name),
                       bytes_text(owner->host_bytes, host), bytes_text(owner->disk_bytes, disk),
                       bytes_text(owner->pinned_bytes, pinned),
                       (unsigned long long)owner->disk_pages * 128,
                       (unsigned long long)owner->disk_states);
        }
        printf("one user may have %s of memory", bytes_text(list->host_bytes_max, host));
        if (list->disk_bytes_max > 0)
                printf(" and %s of disk", bytes_text(list->disk_bytes_max, disk));
        putchar('\n');
        return flushed();
}

static int run_list(const struct asked *asked) {
        struct seekd_cache_list *list = NULL;
        int code = seekd_cache_list(asked->client, &list);
        if (code < 0)
                return fail(asked, code);
        int exit_code = asked->json ? print_json(list_json(list)) : print_list(list);
        seekd_free(list);
        return exit_code;
}

/* -------- verify -------- */

static json_t *verified_json(const struct seekd_cache_verified *v) {
        json_t *engram = json_null();
        if (v->engram)
                engram = json_pack("{s:I, s:I, s:s}", "bytes", (json_int_t)v->engram_bytes,
                                   "damaged", (json_int_t)v->engram_damaged, "message",
                                   v->engram_message);
        return json_pack("{s:b, s:I, s:I, s:I, s:o}", "complete", v->complete, "values",
                         (json_int_t)v->values, "bytes", (json_int_t)v->bytes, "damaged",
                         (json_int_t)v->damaged, "engram", engram);
}

static int print_verified(const struct seekd_cache_verified *v) {
        char bytes[BYTES_TEXT];
        printf("kept KV: %llu values, %s: ", (unsigned long long)v->values,
               bytes_text(v->bytes, bytes));
        if (v->damaged > 0)
                printf("%llu damaged, forgotten\n", (unsigned long long)v->damaged);
        else
                puts("all sound");
        if (v->engram) {
                printf("engram.mdb: %s: ", bytes_text(v->engram_bytes, bytes));
                if (v->engram_damaged > 0)
                        printf("%llu extents damaged: %s\n", (unsigned long long)v->engram_damaged,
                               v->engram_message);
                else
                        puts("all sound");
        }
        if (!v->complete)
                puts("not complete: interrupted");
        return flushed();
}

static int run_verify(const struct asked *asked) {
        struct seekd_cache_verified verified = SEEKD_CACHE_VERIFIED_INIT;
        struct work_line line;
        work_line_begin(&line);
        int code = seekd_cache_verify(asked->client, work_line_show, &line, &verified);
        work_line_end(&line);
        if (code < 0)
                return fail(asked, code);
        int exit_code =
                asked->json ? print_json(verified_json(&verified)) : print_verified(&verified);
        if (exit_code != EXIT_DONE)
                return exit_code;
        if (!verified.complete)
                return EXIT_INTERRUPTED;
        return verified.damaged + verified.engram_damaged > 0 ? EXIT_DAMAGED : EXIT_DONE;
}

/* -------- pin and unpin -------- */

static int set_pinned(const struct asked *asked, int pinned) {
        int code = seekd_session_pin(asked->client, asked->session, pinned);
        if (code < 0)
                return fail(asked, code);
        char id[24];
        snprintf(id, sizeof(id), "%016llx", (unsigned long long)asked->session);
        return asked->json ? print_json(json_pack("{s:s, s:b}", "session", id, "pinned", pinned))
                           : EXIT_DONE;
}

static int run_pin(const struct asked *asked) {
        return set_pinned(asked, 1);
}

static int run_unpin(const struct asked *asked) {
        return set_pinned(asked, 0);
}

/* -------- purge -------- */

/* -2 after a message. */
static int64_t uid_of(const char *user) {
        struct passwd entry, *found = NULL;
        char buffer[4096];
        uint64_t uid;
        if (!user)
                return SEEKD_OWN_UID;
        if (getpwnam_r(user, &entry, buffer, sizeof(buffer), &found) == 0 && found)
                return (int64_t)entry.pw_uid;
        if (user[0] >= '0' && user[0] <= '9')
                return parse_u64("--user", user, 0, UINT32_MAX, &uid) ? (int64_t)uid : -2;
        usage_error("--user: there is no user '%s'", user);
        return -2;
}

static int run_purge(const struct asked *asked) {
        struct seekd_cache_purged purged = SEEKD_CACHE_PURGED_INIT;
        int64_t uid = uid_of(asked->user);
        if (uid == -2)
                return EXIT_USAGE;
        int code = seekd_cache_purge(asked->client, uid, &purged);
        if (code < 0)
                return fail(asked, code);
        char host[BYTES_TEXT], disk[BYTES_TEXT], name[USER_TEXT];
        if (asked->json)
                return print_json(json_pack(
                        "{s:I, s:I, s:I, s:I, s:b}", "uid", (json_int_t)purged.uid, "host_bytes",
                        (json_int_t)purged.host_bytes, "disk_bytes", (json_int_t)purged.disk_bytes,
                        "sessions", (json_int_t)purged.sessions, "gone_from_disk", purged.on_disk));
        printf("forgotten for %s: %s in memory, %s on disk, %llu sessions and remembered keys\n",
               user_text(purged.uid, name), bytes_text(purged.host_bytes, host),
               bytes_text(purged.disk_bytes, disk), (unsigned long long)purged.sessions);
        if (!purged.on_disk)
                puts("the disk could not be written yet: it is not gone from there");
        return flushed();
}

/* -------- export -------- */

static int run_export(const struct asked *asked) {
        struct seekd_stats *stats = NULL;
        struct seekd_cache_list *list = NULL;
        int code = seekd_stats(asked->client, &stats);
        if (code == 0)
                code = seekd_cache_list(asked->client, &list);
        int exit_code = code < 0
                ? fail(asked, code)
                : print_json(json_pack("{s:s, s:f, s:o, s:o, s:o}", "version", stats->version,
                                       "uptime_ms", stats->uptime_ms, "kv",
                                       kv_stats_json(stats->kv), "engram",
                                       engram_stats_json(stats->engram), "cache", list_json(list)));
        seekd_free(stats);
        seekd_free(list);
        return exit_code;
}

/* -------- command line -------- */

static const struct deed {
        const char *name;
        int (*run)(const struct asked *asked);
        bool takes_session;
} deeds[] = {
        { "list", run_list, false },   { "verify", run_verify, false },
        { "pin", run_pin, true },      { "unpin", run_unpin, true },
        { "purge", run_purge, false }, { "export", run_export, false },
};

static const struct deed *take_arguments(struct asked *asked, int argc, char **argv) {
        const char *name = argc > 0 ? argv[0] : "list";
        const struct deed *deed = NULL;
        for (size_t i = 0; i < sizeof(deeds) / sizeof(deeds[0]) && !deed; i++)
                if (strcmp(deeds[i].name, name) == 0)
                        deed = &deeds[i];
        if (!deed) {
                usage_error("'%s' is none of list, verify, pin, unpin, purge, export", name);
                return NULL;
        }
        int n_wanted = deed->takes_session ? 2 : 1;
        if (deed->takes_session && argc < 2) {
                usage_error("cache %s: the id of a session is missing", name);
                return NULL;
        }
        if (argc > n_wanted) {
                usage_error("cache %s: '%s' is one too many", name, argv[n_wanted]);
                return NULL;
        }
        if (asked->user && deed->run != run_purge) {
                usage_error("--user: goes with purge alone");
                return NULL;
        }
        if (deed->takes_session && !parse_session(argv[1], &asked->session))
                return NULL;
        return deed;
}

static int run(int argc, char **argv, const struct command *command) {
        static const struct option options[] = {
                { "json", no_argument, NULL, 'j' },
                { "socket", required_argument, NULL, 'S' },
                { "user", required_argument, NULL, 'u' },
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        struct asked asked = { 0 };
        const char *socket_path = NULL;
        int option;
        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                switch (option) {
                case 'j': asked.json = true; break;
                case 'S': socket_path = optarg; break;
                case 'u': asked.user = optarg; break;
                case 'h': fputs(command->help, stdout); return EXIT_DONE;
                default: return EXIT_USAGE;
                }
        }
        const struct deed *deed = take_arguments(&asked, argc - optind, argv + optind);
        if (!deed)
                return EXIT_USAGE;
        int exit_code = EXIT_FAILED;
        asked.client = connect_or_report(socket_path, asked.json, &exit_code);
        if (asked.client)
                exit_code = deed->run(&asked);
        seekd_disconnect(asked.client);
        return exit_code;
}

const struct command command_cache = {
        .name = "cache",
        .summary = "what is kept of earlier prompts",
        .help = "usage: seek cache [list]\n"
                "       seek cache verify\n"
                "       seek cache pin|unpin SESSION\n"
                "       seek cache purge [--user NAME|UID]\n"
                "       seek cache export\n\n"
                "Lists what your user keeps in memory and on disk (root, the daemon's user: every "
                "user),\nreads what is on disk back and forgets what is damaged, keeps what is "
                "kept of a session\nfrom making room for others, forgets all of your user, and "
                "prints all statistics as\nJSON.\n\n"
                "  --user NAME|UID    forget another user's (root and the daemon's user)\n"
                "  --json             print JSON\n"
                "  --socket PATH      where the daemon listens\n"
                "  --help             this text\n",
        .run = run,
};
