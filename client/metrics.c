/* The daemon's statistics as text for Prometheus. Numbers are written without the program's locale,
 * which may put a comma into them. */
#include "client/seekd.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

#define PREFIX "seekd_"

/* -------- the format -------- */

static void family(FILE *f, const char *name, const char *type, const char *help) {
        fprintf(f, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name, type);
}

/* A number of nanoseconds as seconds, without zeros at the end. */
static void put_seconds(FILE *f, double seconds) {
        uint64_t ns = seconds > 0 && seconds < 1e10 ? (uint64_t)(seconds * 1e9 + 0.5) : 0;
        unsigned digits = 9;
        uint64_t fraction = ns % 1000000000U;
        for (; digits > 1 && fraction % 10 == 0; digits--)
                fraction /= 10;
        fprintf(f, "%" PRIu64 ".%0*" PRIu64, ns / 1000000000U, (int)digits, fraction);
}

/* A label's value: a name from somewhere else. */
static void put_quoted(FILE *f, const char *text) {
        fputc('"', f);
        for (; *text; text++) {
                if (*text == '\\' || *text == '"')
                        fputc('\\', f);
                if (*text == '\n')
                        fputs("\\n", f);
                else
                        fputc(*text, f);
        }
        fputc('"', f);
}

static void count(FILE *f, const char *name, uint64_t value) {
        fprintf(f, PREFIX "%s %" PRIu64 "\n", name, value);
}

/* `text` is one of ours. */
static void count_of(FILE *f, const char *name, const char *label, const char *text,
                     uint64_t value) {
        fprintf(f, PREFIX "%s{%s=\"%s\"} %" PRIu64 "\n", name, label, text, value);
}

struct single {
        const char *name, *type, *help;
        uint64_t value;
};

static void put_singles(FILE *f, const struct single *singles, size_t n) {
        for (size_t i = 0; i < n; i++) {
                family(f, singles[i].name, singles[i].type, singles[i].help);
                count(f, singles[i].name, singles[i].value);
        }
}

static void single_seconds(FILE *f, const char *name, const char *type, const char *help,
                           double seconds) {
        family(f, name, type, help);
        fprintf(f, PREFIX "%s ", name);
        put_seconds(f, seconds);
        fputc('\n', f);
}

/* -------- the daemon -------- */

static void put_daemon(FILE *f, const struct seekd_stats *stats) {
        family(f, "info", "gauge", "What the daemon is; always 1.");
        fputs(PREFIX "info{version=", f);
        put_quoted(f, stats->version);
        fputs(",model=", f);
        put_quoted(f, stats->model);
        fputs(",backend=", f);
        put_quoted(f, stats->backend);
        fputs("} 1\n", f);
        single_seconds(f, "uptime_seconds", "gauge", "Since the daemon's start.",
                       stats->uptime_ms / 1000);
        const struct single singles[] = {
                { "model_ready", "gauge", "1 when the model answers, 0 while it loads.",
                  stats->model_ready != 0 },
                { "connections", "gauge", "Clients that are connected.", stats->connections },
                { "steps_total", "counter", "Steps of the engine.", stats->steps },
        };
        put_singles(f, singles, LENGTH(singles));
}

/* By enum seekd_error, negated; what a refusal can be. */
static void put_refused(FILE *f, const struct seekd_stats *stats) {
        static const struct {
                int code;
                const char *name;
        } reasons[] = {
                { SEEKD_E_INVALID, "invalid" },         { SEEKD_E_TOO_LARGE, "too_large" },
                { SEEKD_E_UNSUPPORTED, "unsupported" }, { SEEKD_E_BUSY, "busy" },
                { SEEKD_E_NOT_READY, "not_ready" },     { SEEKD_E_DEADLINE, "deadline" },
                { SEEKD_E_NOT_FOUND, "not_found" },     { SEEKD_E_STOPPING, "shutting_down" },
                { SEEKD_E_DAEMON, "internal" },         { SEEKD_E_FORBIDDEN, "forbidden" },
        };
        family(f, "requests_refused_total", "counter",
               "Requests that were answered with an error, questions included.");
        for (size_t i = 0; i < LENGTH(reasons); i++)
                if ((size_t)-reasons[i].code < stats->n_refused)
                        count_of(f, "requests_refused_total", "reason", reasons[i].name,
                                 stats->refused[-reasons[i].code]);
}

/* -------- classes -------- */

static const char *class_label(int service) {
        static const char *const names[] = { "default", "interactive", "turn", "agent",
                                             "background" };
        return service >= 0 && service < (int)LENGTH(names) ? names[service] : "unknown";
}

static void put_requests(FILE *f, const struct seekd_stats *stats) {
        family(f, "requests", "gauge", "Generations that run, and those that wait for a place.");
        for (size_t i = 0; i < stats->n_classes; i++) {
                const struct seekd_class_stats *class = stats->classes[i];
                const char *name = class_label(class->service);
                fprintf(f,
                        PREFIX "requests{class=\"%s\",state=\"running\"} %" PRIu32 "\n" PREFIX
                               "requests{class=\"%s\",state=\"queued\"} %" PRIu32 "\n",
                        name, class->running, name, class->queued);
        }
}

static void put_finished(FILE *f, const struct seekd_stats *stats) {
        static const char *const reasons[] = {
                [SEEKD_FINISH_EOS] = "eos",
                [SEEKD_FINISH_STOP] = "stop",
                [SEEKD_FINISH_LENGTH] = "length",
                [SEEKD_FINISH_CONTEXT] = "context",
                [SEEKD_FINISH_CANCELLED] = "cancelled",
                [SEEKD_FINISH_DEADLINE] = "deadline",
                [SEEKD_FINISH_SLOW_CONSUMER] = "slow_consumer",
                [SEEKD_FINISH_SHUTDOWN] = "shutdown",
                [SEEKD_FINISH_ERROR] = "error",
                [SEEKD_FINISH_TOOL_CALLS] = "tool_calls",
        };
        family(f, "requests_finished_total", "counter",
               "Generations by what ended them; one whose client vanished is cancelled.");
        for (size_t i = 0; i < stats->n_classes; i++) {
                const struct seekd_class_stats *class = stats->classes[i];
                for (size_t k = SEEKD_FINISH_EOS; k < LENGTH(reasons) && k < class->n_finished; k++)
                        fprintf(f,
                                PREFIX
                                "requests_finished_total{class=\"%s\",reason=\"%s\"} %" PRIu64 "\n",
                                class_label(class->service), reasons[k], class->finished[k]);
        }
}

static uint64_t prompt_tokens_of(const struct seekd_class_stats *class) {
        return class->prompt_tokens;
}

static uint64_t generated_tokens_of(const struct seekd_class_stats *class) {
        return class->generated_tokens;
}

static void put_by_class(FILE *f, const struct seekd_stats *stats, const char *name,
                         const char *help, uint64_t (*of)(const struct seekd_class_stats *class)) {
        family(f, name, "counter", help);
        for (size_t i = 0; i < stats->n_classes; i++)
                count_of(f, name, "class", class_label(stats->classes[i]->service),
                         of(stats->classes[i]));
}

static void put_engine_time(FILE *f, const struct seekd_stats *stats) {
        family(f, "engine_seconds_total", "counter",
               "Of the time of all steps, the part that the tokens of this class cost.");
        for (size_t i = 0; i < stats->n_classes; i++) {
                fprintf(f, PREFIX "engine_seconds_total{class=\"%s\"} ",
                        class_label(stats->classes[i]->service));
                put_seconds(f, stats->classes[i]->engine_ms / 1000);
                fputc('\n', f);
        }
}

/* Buckets of the format count from 0 up to their bound. */
static void put_histogram(FILE *f, const char *name, const char *class,
                          const struct seekd_histogram *histogram) {
        uint64_t n = 0;
        for (size_t i = 0; i < histogram->n_bounds; i++) {
                n += histogram->counts[i];
                fprintf(f, PREFIX "%s_bucket{class=\"%s\",le=\"", name, class);
                put_seconds(f, histogram->bounds_s[i]);
                fprintf(f, "\"} %" PRIu64 "\n", n);
        }
        n += histogram->counts[histogram->n_bounds];
        fprintf(f, PREFIX "%s_bucket{class=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name, class, n);
        fprintf(f, PREFIX "%s_sum{class=\"%s\"} ", name, class);
        put_seconds(f, histogram->sum_s);
        fprintf(f, "\n" PREFIX "%s_count{class=\"%s\"} %" PRIu64 "\n", name, class, n);
}

static const struct seekd_histogram *queue_of(const struct seekd_class_stats *class) {
        return class->queue;
}

static const struct seekd_histogram *first_token_of(const struct seekd_class_stats *class) {
        return class->first_token;
}

static const struct seekd_histogram *token_of(const struct seekd_class_stats *class) {
        return class->token;
}

static void
put_histograms(FILE *f, const struct seekd_stats *stats, const char *name, const char *help,
               const struct seekd_histogram *(*of)(const struct seekd_class_stats *class)) {
        family(f, name, "histogram", help);
        for (size_t i = 0; i < stats->n_classes; i++)
                put_histogram(f, name, class_label(stats->classes[i]->service),
                              of(stats->classes[i]));
}

/* A family without samples would be an error of its own. */
static void put_classes(FILE *f, const struct seekd_stats *stats) {
        if (stats->n_classes == 0)
                return;
        put_requests(f, stats);
        put_finished(f, stats);
        put_by_class(f, stats, "prompt_tokens_total", "Prompt tokens that were computed.",
                     prompt_tokens_of);
        put_by_class(f, stats, "generated_tokens_total", "Tokens that were generated.",
                     generated_tokens_of);
        put_engine_time(f, stats);
        put_histograms(f, stats, "queue_seconds",
                       "From a request's reception to its first work, of those that got a token.",
                       queue_of);
        put_histograms(f, stats, "first_token_seconds",
                       "From a request's reception to its first token.", first_token_of);
        put_histograms(f, stats, "token_seconds",
                       "From one token to the next, while the client reads.", token_of);
}

/* -------- kept KV -------- */

struct tier_value {
        const char *tier;
        uint64_t value;
        bool shown;
};

static void put_tiers(FILE *f, const char *name, const char *type, const char *help,
                      const struct tier_value *values, size_t n) {
        bool begun = false;
        for (size_t i = 0; i < n; i++) {
                if (!values[i].shown)
                        continue;
                if (!begun)
                        family(f, name, type, help);
                begun = true;
                count_of(f, name, "tier", values[i].tier, values[i].value);
        }
}

static void put_tiered(FILE *f, const struct seekd_kv_stats *kv) {
        bool on_disk = kv->on_disk != 0;
        const struct tier_value bytes[] = { { "device", kv->device_bytes, true },
                                            { "host", kv->host_bytes, true },
                                            { "disk", kv->disk_bytes, on_disk } };
        const struct tier_value limits[] = {
                { "device", kv->device_bytes_limit, kv->device_bytes_limit > 0 },
                { "host", kv->host_bytes_max, true },
                { "disk", kv->disk_bytes_max, on_disk },
        };
        const struct tier_value hits[] = { { "device", kv->device_hits, true },
                                           { "host", kv->host_hits, true },
                                           { "disk", kv->disk_hits, true },
                                           { "none", kv->misses, true } };
        const struct tier_value evicted[] = { { "host", kv->evicted, true },
                                              { "disk", kv->deleted, on_disk } };
        put_tiers(f, "kv_bytes", "gauge", "KV that is held in a tier.", bytes, LENGTH(bytes));
        put_tiers(f, "kv_limit_bytes", "gauge", "KV that a tier may hold, where it is bounded.",
                  limits, LENGTH(limits));
        put_tiers(f, "kv_hits_total", "counter",
                  "Generations by the slowest tier that they went on from; none: from nothing.",
                  hits, LENGTH(hits));
        put_tiers(f, "kv_evicted_total", "counter",
                  "Pages and states that left memory, values that left the disk.", evicted,
                  LENGTH(evicted));
}

static void put_kept(FILE *f, const struct seekd_kv_stats *kv) {
        const struct single singles[] = {
                { "kv_asked_tokens_total", "counter", "Prompt tokens of all generations.",
                  kv->asked_tokens },
                { "kv_reused_tokens_total", "counter",
                  "Of kv_asked_tokens_total, those that did not have to be computed.",
                  kv->reused_tokens },
                { "kv_device_peak_bytes", "gauge", "The most that the device has held.",
                  kv->device_bytes_max },
                { "kv_parked_sequences", "gauge",
                  "Sequences that wait on the device for their next turn.", kv->parked },
                { "kv_parked_bytes", "gauge", "What these hold there.", kv->parked_bytes },
                { "kv_spills_total", "counter", "Sequences that had to leave rows to the host.",
                  kv->spills },
                { "kv_gathered_rows_total", "counter", "Rows selected from spilled sequences.",
                  kv->rows_gathered },
                { "kv_missed_rows_total", "counter",
                  "Of kv_gathered_rows_total, those copied from the host.", kv->rows_missed },
                { "requests_gave_way_total", "counter",
                  "Generations that left the device for others and went on later.", kv->gave_way },
                { "kv_thinned_total", "counter", "States dropped because newer ones serve.",
                  kv->thinned },
                { "kv_refused_total", "counter", "Pages and states that memory had no room for.",
                  kv->refused },
                { "kv_failed_reads_total", "counter", "Reads of kept KV that failed.",
                  kv->failed_reads },
        };
        put_singles(f, singles, LENGTH(singles));
}

static void put_disk(FILE *f, const struct seekd_kv_stats *kv) {
        const struct single singles[] = {
                { "kv_disk_file_bytes", "gauge", "Size of kv.mdb.", kv->disk_file_bytes },
                { "kv_disk_pages", "gauge", "Pages of 128 tokens on disk.", kv->disk_pages },
                { "kv_disk_states", "gauge", "Positions to go on from on disk.", kv->disk_states },
                { "kv_disk_sessions", "gauge", "Sessions on disk.", kv->disk_sessions },
                { "kv_disk_written_bytes_total", "counter", "Written to the disk.",
                  kv->disk_written_bytes },
                { "kv_disk_read_bytes_total", "counter", "Read from the disk.",
                  kv->disk_read_bytes },
                { "kv_disk_today_bytes", "gauge", "Written today (UTC).", kv->day_bytes },
                { "kv_disk_suspended", "gauge", "1 when nothing can be stored at the moment.",
                  kv->suspended && kv->suspended[0] },
                { "kv_disk_quarantined_total", "counter", "Values found damaged and forgotten.",
                  kv->quarantined },
                { "kv_disk_moved_aside", "gauge",
                  "1 when the file was damaged at start and an empty one was begun.",
                  kv->moved_aside != 0 },
                { "kv_disk_today_limit_bytes", "gauge", "What may be written in a day.",
                  kv->day_bytes_max },
        };
        /* The last: only where there is a limit. */
        put_singles(f, singles, LENGTH(singles) - (kv->day_bytes_max == 0));
        single_seconds(f, "kv_disk_load_seconds", "gauge",
                       "Checking the file and reading its index at start.", kv->load_ms / 1000);
}

static void put_engram(FILE *f, const struct seekd_engram_stats *engram) {
        const struct single singles[] = {
                { "engram_requested_rows_total", "counter", "Engram rows that steps asked for.",
                  engram->rows_requested },
                { "engram_prefetched_rows_total", "counter",
                  "Rows read before they were asked for.", engram->rows_prefetched },
                { "engram_damaged_rows_total", "counter", "Rows found damaged.",
                  engram->rows_damaged },
                { "engram_waits_total", "counter", "Requests for rows that a step had to wait for.",
                  engram->late },
        };
        const struct tier_value found[] = { { "cache", engram->rows_cached, true },
                                            { "memory", engram->rows_resident, true },
                                            { "disk", engram->rows_read, true } };
        put_tiers(f, "engram_rows_total", "counter",
                  "Engram rows by where they were: in the cache, in the kernel's memory, on disk.",
                  found, LENGTH(found));
        put_singles(f, singles, LENGTH(singles));
        single_seconds(f, "engram_wait_seconds_total", "counter", "Time of engram_waits_total.",
                       engram->late_ms / 1000);
}

static void put_hints(FILE *f, const struct seekd_hint_stats *hints) {
        const struct single singles[] = {
                { "hints_total", "counter", "Hints noted.", hints->noted },
                { "hints_done_total", "counter", "Hints of which all is kept.", hints->done },
                { "hints_replaced_total", "counter",
                  "Hints given up for a newer one of the same user.", hints->replaced },
                { "hints_dropped_total", "counter", "Hints too old, or without room.",
                  hints->dropped },
                { "hint_tokens_total", "counter", "Tokens computed for hints.", hints->tokens },
        };
        put_singles(f, singles, LENGTH(singles));
}

/* -------- all of it -------- */

static void put_all(FILE *f, const struct seekd_stats *stats) {
        const struct single up = { "up", "gauge", "1 when the daemon answered.", stats != NULL };
        put_singles(f, &up, 1);
        if (!stats)
                return;
        put_daemon(f, stats);
        put_refused(f, stats);
        put_classes(f, stats);
        if (stats->kv) {
                put_tiered(f, stats->kv);
                put_kept(f, stats->kv);
        }
        if (stats->kv && stats->kv->on_disk)
                put_disk(f, stats->kv);
        if (stats->engram)
                put_engram(f, stats->engram);
        if (stats->hints)
                put_hints(f, stats->hints);
}

int seekd_metrics(const struct seekd_stats *stats, char **ret_text) {
        char *text = NULL;
        size_t n;
        FILE *f = open_memstream(&text, &n);
        if (!f)
                return SEEKD_E_NO_MEMORY;
        put_all(f, stats);
        bool failed = ferror(f) != 0;
        if (fclose(f) != 0 || failed) {
                free(text);
                return SEEKD_E_NO_MEMORY;
        }
        *ret_text = text;
        return 0;
}
