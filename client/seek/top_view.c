#include "client/seek/top_view.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/seek/latency.h"
#include "client/seek/seek.h"
#include "client/seek/top_table.h"

struct canvas {
        const struct top_view *view;
        top_line_fn put;
        void *userdata;
        int line;  /* the next one */
        int limit; /* lines from here on are not shown */
};

/* One line, cut to the terminal. What is no printable ASCII came from names and becomes '?'. */
__attribute__((format(printf, 3, 4))) static void
put_line(struct canvas *canvas, enum top_style style, const char *format, ...) {
        char text[TOP_COLUMNS_MAX + 1];
        va_list args;
        if (canvas->line >= canvas->limit)
                return;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        text[canvas->view->columns] = 0;
        for (char *c = text; *c; c++)
                if (*c < ' ' || *c > '~')
                        *c = '?';
        canvas->put(canvas->userdata, canvas->line++, text, style);
}

/* -------- numbers as text -------- */

#define NUMBER_TEXT 32

static const char *rate_text(double rate, char ret[NUMBER_TEXT]) {
        if (rate < 0)
                snprintf(ret, NUMBER_TEXT, "-");
        else if (rate < 1000)
                snprintf(ret, NUMBER_TEXT, "%.1f", rate);
        else if (rate < 1e6)
                snprintf(ret, NUMBER_TEXT, "%.0f", rate);
        else
                snprintf(ret, NUMBER_TEXT, "%.0fM", rate / 1e6);
        return ret;
}

/* At most six characters. */
static const char *age_text(double ms, char ret[NUMBER_TEXT]) {
        unsigned long long s = (unsigned long long)(ms / 1000);
        if (s < 100)
                snprintf(ret, NUMBER_TEXT, "%.1fs", ms / 1000);
        else if (s < 6000)
                snprintf(ret, NUMBER_TEXT, "%llum%02llu", s / 60, s % 60);
        else if (s < 360000)
                snprintf(ret, NUMBER_TEXT, "%lluh", s / 3600);
        else
                snprintf(ret, NUMBER_TEXT, "%llud", s / 86400);
        return ret;
}

#define UPTIME_TEXT 32

static const char *uptime_text(double ms, char ret[UPTIME_TEXT]) {
        unsigned long long s = (unsigned long long)(ms / 1000);
        if (s < 86400)
                snprintf(ret, UPTIME_TEXT, "%02llu:%02llu:%02llu", s / 3600, s / 60 % 60, s % 60);
        else
                snprintf(ret, UPTIME_TEXT, "%llu d %02llu:%02llu", s / 86400, s / 3600 % 24,
                         s / 60 % 60);
        return ret;
}

/* "[###---]" with `width` characters between the brackets; as full as part of whole. */
static void bar(char *ret, int width, double part, double whole) {
        int full = whole > 0 ? (int)((double)width * part / whole) : 0;
        full = full < 0 ? 0 : full > width ? width : full;
        ret[0] = '[';
        memset(ret + 1, '#', (size_t)full);
        memset(ret + 1 + full, '-', (size_t)(width - full));
        ret[width + 1] = ']';
        ret[width + 2] = 0;
}

static double percent(uint64_t part, uint64_t whole) {
        return whole > 0 ? 100 * (double)part / (double)whole : 0;
}

/* -------- above the table -------- */

static void put_title(struct canvas *canvas, const struct top_model *model) {
        char uptime[UPTIME_TEXT], state[160];
        if (model->model_ready)
                snprintf(state, sizeof(state), "%s on %s", model->name, model->backend);
        else if (model->load_permille < 0)
                snprintf(state, sizeof(state), "the model failed to load");
        else
                snprintf(state, sizeof(state), "loading the model: %d %%",
                         model->load_permille / 10);
        put_line(canvas, TOP_STRONG, "seekd %s, up %s, %s", model->version,
                 uptime_text(model->uptime_ms, uptime), state);
}

static void put_rates(struct canvas *canvas, const struct top_model *model) {
        char prefill[NUMBER_TEXT], decode[NUMBER_TEXT], steps[NUMBER_TEXT], requests[NUMBER_TEXT];
        put_line(canvas, TOP_PLAIN,
                 "tokens/s: prefill %s, decode %s   steps/s: %s   requests/s: %s",
                 rate_text(model->rates.prefill_tokens, prefill),
                 rate_text(model->rates.decode_tokens, decode),
                 rate_text(model->rates.steps, steps), rate_text(model->rates.requests, requests));
        put_line(canvas, TOP_PLAIN,
                 "requests: %u running, %u queued   done %llu, cancelled %llu, refused %llu",
                 model->running, model->queued, (unsigned long long)model->requests_done,
                 (unsigned long long)model->requests_cancelled,
                 (unsigned long long)model->requests_refused);
}

/* The widest text beside a bar of bytes. */
#define BYTES_COLUMNS 49
#define BAR_MAX       40
#define LABEL_COLUMNS 7

__attribute__((format(printf, 5, 6))) static void put_bytes(struct canvas *canvas,
                                                            const char *label, uint64_t bytes,
                                                            uint64_t bytes_max, const char *format,
                                                            ...) {
        char drawn[BAR_MAX + 4] = "", text[TOP_COLUMNS_MAX];
        int width = canvas->view->columns - LABEL_COLUMNS - BYTES_COLUMNS - 3;
        if (width > BAR_MAX)
                width = BAR_MAX;
        if (width >= 4) {
                bar(drawn, width, (double)bytes, (double)bytes_max);
                strcat(drawn, " ");
        }
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        put_line(canvas, TOP_PLAIN, "%-*s%s%s", LABEL_COLUMNS, label, drawn, text);
}

/* Without a limit the bar ends at the most so far. */
static void put_device(struct canvas *canvas, const struct seekd_kv_stats *kv) {
        char bytes[BYTES_TEXT], max[BYTES_TEXT], limit[BYTES_TEXT];
        bytes_text(kv->device_bytes, bytes);
        bytes_text(kv->device_bytes_max, max);
        if (kv->device_bytes_limit > 0)
                put_bytes(canvas, "device", kv->device_bytes, kv->device_bytes_limit,
                          "%s of %s, peak %s, %u parked", bytes,
                          bytes_text(kv->device_bytes_limit, limit), max, kv->parked);
        else
                put_bytes(canvas, "device", kv->device_bytes, kv->device_bytes_max,
                          "%s, peak %s, %u parked", bytes, max, kv->parked);
}

static void put_kept(struct canvas *canvas, const struct top_model *model) {
        const struct seekd_kv_stats *kv = &model->kv;
        char bytes[BYTES_TEXT], max[BYTES_TEXT], day[BYTES_TEXT];
        if (!model->has_kv)
                return;
        put_device(canvas, kv);
        put_bytes(canvas, "host", kv->host_bytes, kv->host_bytes_max, "%s of %s",
                  bytes_text(kv->host_bytes, bytes), bytes_text(kv->host_bytes_max, max));
        if (kv->on_disk)
                put_bytes(canvas, "disk", kv->disk_bytes, kv->disk_bytes_max, "%s of %s, today %s",
                          bytes_text(kv->disk_bytes, bytes), bytes_text(kv->disk_bytes_max, max),
                          bytes_text(kv->day_bytes, day));
        else
                put_line(canvas, TOP_PLAIN, "%-*snothing is kept there", LABEL_COLUMNS, "disk");
        if (kv->on_disk && model->suspended[0])
                put_line(canvas, TOP_STRONG, "%-*sNOTHING IS STORED: %s", LABEL_COLUMNS, "",
                         model->suspended);
        put_line(canvas, TOP_PLAIN,
                 "%-*sdevice %llu, host %llu, disk %llu, none %llu; %.1f %% of prompts reused",
                 LABEL_COLUMNS, "hits", (unsigned long long)kv->device_hits,
                 (unsigned long long)kv->host_hits, (unsigned long long)kv->disk_hits,
                 (unsigned long long)kv->misses, percent(kv->reused_tokens, kv->asked_tokens));
}

/* -------- classes -------- */

enum class_column {
        CLASS_NAME,
        CLASS_RUNNING,
        CLASS_QUEUED,
        CLASS_SHARE,
        CLASS_SPEED,
        CLASS_FIRST_HALF,
        CLASS_FIRST_MOST,
        CLASS_TOKEN_HALF,
        CLASS_TOKEN_MOST,
        N_CLASS_COLUMNS
};

/* As wide as the other table. */
static const struct top_column class_columns[N_CLASS_COLUMNS] = {
        [CLASS_NAME] = { "class", 11, true },
        [CLASS_RUNNING] = { "running", 7, false },
        [CLASS_QUEUED] = { "queued", 6, false },
        [CLASS_SHARE] = { "share", 6, false },
        [CLASS_SPEED] = { "tok/s", 6, false },
        [CLASS_FIRST_HALF] = { "first 50%", 9, false },
        [CLASS_FIRST_MOST] = { "first 95%", 9, false },
        [CLASS_TOKEN_HALF] = { "token 50%", 9, false },
        [CLASS_TOKEN_MOST] = { "token 95%", 9, false },
};

static const int class_dispensable[] = { CLASS_SPEED,      CLASS_TOKEN_HALF, CLASS_TOKEN_MOST,
                                         CLASS_FIRST_HALF, CLASS_QUEUED,     CLASS_RUNNING,
                                         CLASS_FIRST_MOST, CLASS_SHARE };

static void fill_class_cell(char ret[TOP_CELL_BYTES], enum class_column column,
                            const struct top_served *class) {
        char text[NUMBER_TEXT];
        const double latency_s[N_CLASS_COLUMNS] = {
                [CLASS_FIRST_HALF] = class->first_token_s[0],
                [CLASS_FIRST_MOST] = class->first_token_s[1],
                [CLASS_TOKEN_HALF] = class->token_s[0],
                [CLASS_TOKEN_MOST] = class->token_s[1],
        };
        switch (column) {
        case CLASS_NAME: snprintf(ret, TOP_CELL_BYTES, "%s", class_name(class->service)); break;
        case CLASS_RUNNING: snprintf(ret, TOP_CELL_BYTES, "%u", class->running); break;
        case CLASS_QUEUED: snprintf(ret, TOP_CELL_BYTES, "%u", class->queued); break;
        case CLASS_SHARE:
                if (class->share < 0)
                        snprintf(ret, TOP_CELL_BYTES, "-");
                else
                        snprintf(ret, TOP_CELL_BYTES, "%.0f %%", 100 * class->share);
                break;
        case CLASS_SPEED:
                snprintf(ret, TOP_CELL_BYTES, "%s", rate_text(class->decode_tokens, text));
                break;
        default: snprintf(ret, TOP_CELL_BYTES, "%s", latency_text(latency_s[column], text));
        }
}

static void put_titles(struct canvas *canvas, const struct top_table *table) {
        char text[TOP_ROW_BYTES] = "";
        for (int i = 0; i < table->n; i++)
                top_table_cell(table, i, table->columns[i].title, text);
        put_line(canvas, TOP_HEADING, "%s", text);
}

/* On lower terminals the requests get the lines. */
#define CLASSES_LINES_MIN 20

/* Those that anything was ever done for. */
static void put_classes(struct canvas *canvas, const struct top_model *model) {
        struct top_table table = {
                .columns = class_columns,
                .n = N_CLASS_COLUMNS,
                .dispensable = class_dispensable,
                .n_dispensable = sizeof(class_dispensable) / sizeof(class_dispensable[0]),
        };
        bool begun = false;
        top_table_fit(&table, canvas->view->columns, CLASS_NAME, class_columns[CLASS_NAME].width);
        for (size_t i = 0; i < model->n_classes && canvas->view->lines >= CLASSES_LINES_MIN; i++) {
                char text[TOP_ROW_BYTES] = "", cell[TOP_CELL_BYTES];
                if (!model->classes[i].used)
                        continue;
                if (!begun)
                        put_titles(canvas, &table);
                begun = true;
                for (int c = 0; c < N_CLASS_COLUMNS; c++) {
                        fill_class_cell(cell, (enum class_column)c, &model->classes[i]);
                        top_table_cell(&table, c, cell, text);
                }
                put_line(canvas, TOP_PLAIN, "%s", text);
        }
}

/* -------- the table -------- */

enum column {
        COLUMN_PID,
        COLUMN_USER,
        COLUMN_CLASS,
        COLUMN_PHASE,
        COLUMN_BAR,
        COLUMN_PROMPT,
        COLUMN_GENERATED,
        COLUMN_SPEED,
        COLUMN_AGE,
        N_COLUMNS
};

/* With a space between them exactly 80 wide: the narrowest terminal that has all. */
static const struct top_column columns[N_COLUMNS] = {
        [COLUMN_PID] = { "pid", 7, false },          [COLUMN_USER] = { "user", 8, true },
        [COLUMN_CLASS] = { "class", 11, true },      [COLUMN_PHASE] = { "phase", 7, true },
        [COLUMN_BAR] = { "prompt", 8, true },        [COLUMN_PROMPT] = { "done/total", 13, false },
        [COLUMN_GENERATED] = { "tokens", 6, false }, [COLUMN_SPEED] = { "tok/s", 6, false },
        [COLUMN_AGE] = { "age", 6, false },
};

/* pid stays. */
static const int dispensable[] = { COLUMN_BAR, COLUMN_SPEED,  COLUMN_USER,  COLUMN_CLASS,
                                   COLUMN_AGE, COLUMN_PROMPT, COLUMN_PHASE, COLUMN_GENERATED };

static struct top_table fit_requests(int width) {
        struct top_table table = {
                .columns = columns,
                .n = N_COLUMNS,
                .dispensable = dispensable,
                .n_dispensable = sizeof(dispensable) / sizeof(dispensable[0]),
        };
        top_table_fit(&table, width, COLUMN_BAR, BAR_MAX);
        return table;
}

static void fill_cell(char ret[TOP_CELL_BYTES], enum column column, const struct top_row *row,
                      int width) {
        char text[USER_TEXT];
        switch (column) {
        case COLUMN_PID: snprintf(ret, TOP_CELL_BYTES, "%u", row->pid); break;
        case COLUMN_USER:
                snprintf(ret, TOP_CELL_BYTES, "%s",
                         row->uid_known ? user_text(row->uid, text) : "-");
                break;
        case COLUMN_CLASS: snprintf(ret, TOP_CELL_BYTES, "%s", class_name(row->service)); break;
        case COLUMN_PHASE: snprintf(ret, TOP_CELL_BYTES, "%s", phase_name(row->phase)); break;
        case COLUMN_BAR: bar(ret, width - 2, row->prompt_done, row->prompt_tokens); break;
        case COLUMN_PROMPT:
                snprintf(ret, TOP_CELL_BYTES, "%u/%u", row->prompt_done, row->prompt_tokens);
                break;
        case COLUMN_GENERATED: snprintf(ret, TOP_CELL_BYTES, "%u", row->generated_tokens); break;
        case COLUMN_SPEED:
                snprintf(ret, TOP_CELL_BYTES, "%s", rate_text(row->tokens_per_second, text));
                break;
        case COLUMN_AGE: snprintf(ret, TOP_CELL_BYTES, "%s", age_text(row->age_ms, text)); break;
        case N_COLUMNS: ret[0] = 0;
        }
}

static void put_row(struct canvas *canvas, const struct top_table *table,
                    const struct top_row *row) {
        char text[TOP_ROW_BYTES] = "", cell[TOP_CELL_BYTES];
        for (int i = 0; i < N_COLUMNS; i++) {
                if (table->width[i] == 0)
                        continue;
                fill_cell(cell, (enum column)i, row, table->width[i]);
                top_table_cell(table, i, cell, text);
        }
        put_line(canvas, TOP_PLAIN, "%s", text);
}

static void put_class(struct canvas *canvas, const struct top_model *model, int service) {
        struct top_class class;
        char rate[NUMBER_TEXT];
        top_model_class(model, service, &class);
        put_line(canvas, TOP_STRONG, "%s: %zu %s, %s tokens/s", class_name(service), class.n,
                 class.n == 1 ? "request" : "requests", rate_text(class.tokens_per_second, rate));
}

static bool begins_class(const struct top_view *view, const struct top_model *model, size_t i) {
        return view->grouped && (i == 0 || model->rows[i - 1].service != model->rows[i].service);
}

static int count_table_lines(const struct top_view *view, const struct top_model *model) {
        int n = 0;
        for (size_t i = 0; i < model->n_rows; i++)
                n += 1 + begins_class(view, model, i);
        return n;
}

static void put_table(struct canvas *canvas, struct top_view *view, const struct top_model *model) {
        struct top_table table = fit_requests(view->columns);
        put_titles(canvas, &table);
        view->page = canvas->limit > canvas->line ? canvas->limit - canvas->line : 0;
        int last_first = count_table_lines(view, model) - view->page;
        if (view->first > last_first)
                view->first = last_first;
        if (view->first < 0)
                view->first = 0;
        int skip = view->first;
        for (size_t i = 0; i < model->n_rows; i++) {
                if (begins_class(view, model, i) && skip-- <= 0)
                        put_class(canvas, model, model->rows[i].service);
                if (skip-- <= 0)
                        put_row(canvas, &table, &model->rows[i]);
        }
        if (model->n_rows == 0)
                put_line(canvas, TOP_PLAIN, "no requests%s",
                         model->running + model->queued > 0 ? " of yours" : "");
}

/* -------- all of it -------- */

static void put_help(struct canvas *canvas) {
        static const char *const help[] = {
                "q           quit",
                "s           sort by the next of age, tok/s, prompt, generated, user, pid",
                "c           group by class, with the sum of each",
                "p           pause: keep what is shown; again: go on",
                "+ -         twice as long between readings, half as long",
                "up down     scroll the requests by a line,",
                "pages       by a screen; home, end: all the way",
                "h           this text; any other key ends it",
                "",
                "tokens/s    of all users, between the last two readings",
                "device      KV of running and parked requests, of what may be there",
                "host, disk  kept KV, of what may be kept",
                "share       of the engine's time, between the last two readings",
                "first       time to the first token that 50 %, 95 % of requests did not exceed,",
                "token       and that from one token to the next, since the daemon's start",
                "hits        requests by the slowest place they went on from",
                "tok/s       of the request: prompt tokens read and tokens written",
        };
        for (size_t i = 0; i < sizeof(help) / sizeof(help[0]); i++)
                put_line(canvas, TOP_PLAIN, "%s", help[i]);
}

static void put_keys(struct canvas *canvas) {
        const struct top_view *view = canvas->view;
        canvas->line = view->lines - 1;
        canvas->limit = view->lines;
        put_line(canvas, TOP_HEADING, "q quit  s sort: %s  c %s  p %s  +/- every %g s  h help",
                 top_order_name(view->order), view->grouped ? "ungroup" : "classes",
                 view->paused ? "PAUSED" : "pause", view->interval_s);
}

void top_draw(struct top_view *view, const struct top_model *model, top_line_fn put,
              void *userdata) {
        bool keys = view->keys && view->lines > 1;
        struct canvas canvas = { view, put, userdata, 0, view->lines - (keys ? 1 : 0) };
        if (view->help) {
                put_help(&canvas);
        } else {
                if (model->error[0])
                        put_line(&canvas, TOP_STRONG, "NO ANSWER, trying again: %s", model->error);
                if (model->known) {
                        put_title(&canvas, model);
                        put_rates(&canvas, model);
                        put_kept(&canvas, model);
                        put_classes(&canvas, model);
                        put_line(&canvas, TOP_PLAIN, "%s", "");
                        put_table(&canvas, view, model);
                }
        }
        if (keys)
                put_keys(&canvas);
}
