/* seek top: which of its three forms, and the two that need no terminal. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "client/seek/seek.h"
#include "client/seek/top_screen.h"
#include "client/seek/top_view.h"

struct top {
        struct top_source source;
        float interval_s;
        bool json;
        bool once;
};

static void sleep_interval(const struct top *top) {
        double seconds = (double)top->interval_s;
        struct timespec left = { .tv_sec = (time_t)seconds };
        left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
        while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
                continue;
}

/* -------- JSON -------- */

static json_t *rate_json(double rate) {
        return rate < 0 ? json_null() : json_real(rate);
}

/* The order of the rows is that of the readings: nobody has sorted them. */
static json_t *top_json(const struct top_reading *reading, const struct top_model *model) {
        json_t *object = status_json(reading->stats, reading->model_known ? &reading->model : NULL,
                                     reading->load_permille);
        const struct top_rates *rates = &model->rates;
        json_object_set_new(object, "rates",
                            json_pack("{s:o, s:o, s:o, s:o, s:o}", "seconds",
                                      rate_json(rates->seconds), "prefill_tokens_per_second",
                                      rate_json(rates->prefill_tokens), "decode_tokens_per_second",
                                      rate_json(rates->decode_tokens), "steps_per_second",
                                      rate_json(rates->steps), "requests_per_second",
                                      rate_json(rates->requests)));
        json_t *classes = json_object_get(object, "classes");
        for (size_t i = 0; i < model->n_classes; i++) {
                json_t *class = json_array_get(classes, i);
                json_object_set_new(class, "share", rate_json(model->classes[i].share));
                json_object_set_new(class, "decode_tokens_per_second",
                                    rate_json(model->classes[i].decode_tokens));
        }
        json_t *requests = json_object_get(object, "requests");
        for (size_t i = 0; i < model->n_rows; i++)
                json_object_set_new(json_array_get(requests, i), "tokens_per_second",
                                    rate_json(model->rows[i].tokens_per_second));
        return object;
}

/* -------- text -------- */

struct printed {
        int line;
};

static void print_line(void *userdata, int line, const char *text, enum top_style style) {
        struct printed *printed = userdata;
        (void)style;
        for (; printed->line < line; printed->line++)
                putchar('\n');
        fputs(text, stdout);
}

#define COLUMNS_DEFAULT 80

static int columns(void) {
        struct winsize size = { 0 };
        const char *wanted = getenv("COLUMNS");
        int n = wanted ? atoi(wanted) : 0;
        if (n <= 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
                n = size.ws_col;
        if (n <= 0)
                n = COLUMNS_DEFAULT;
        return n < TOP_COLUMNS_MAX ? n : TOP_COLUMNS_MAX;
}

static int print_frame(struct top_model *model) {
        struct top_view view = { .columns = columns(), .lines = INT32_MAX };
        struct printed printed = { 0 };
        top_model_sort(model, view.order, view.grouped);
        top_draw(&view, model, print_line, &printed);
        return putchar('\n') != EOF && fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

/* -------- one reading after the other -------- */

/* Prints what `now` says, or that it says nothing: only a stream goes on then. */
static int print_reading(const struct top *top, const struct top_reading *earlier,
                         const struct top_reading *now) {
        if (!now->stats) {
                int exit_code = report_failure(now->code, now->error, top->json);
                return top->once ? exit_code : EXIT_DONE;
        }
        struct top_model model = { 0 };
        if (top_model_update(&model, earlier, now) < 0)
                return report_failure(SEEKD_E_NO_MEMORY, "no memory", top->json);
        int exit_code = top->json ? print_json(top_json(now, &model)) : print_frame(&model);
        top_model_deinit(&model);
        return exit_code;
}

/* A stream begins with a reading without rates; a single one has a silent one before it. */
static int run_readings(struct top *top) {
        struct top_reading earlier = { 0 }, now = { 0 };
        int exit_code = EXIT_DONE;
        top_source_read(&top->source, &now);
        if (!top->once)
                exit_code = print_reading(top, NULL, &now);
        while (exit_code == EXIT_DONE) {
                sleep_interval(top);
                top_reading_deinit(&earlier);
                earlier = now;
                top_source_read(&top->source, &now);
                exit_code = print_reading(top, &earlier, &now);
                if (top->once)
                        break;
        }
        top_reading_deinit(&earlier);
        top_reading_deinit(&now);
        return exit_code;
}

/* -------- the command -------- */

static bool take_option(struct top *top, int option) {
        switch (option) {
        case 'i':
                return parse_float("--interval", optarg, TOP_INTERVAL_MIN_S, TOP_INTERVAL_MAX_S,
                                   &top->interval_s);
        case 'j': return top->json = true;
        case 'o': return top->once = true;
        case 'S': top->source.socket_path = optarg; return true;
        default: return false;
        }
}

static int run(int argc, char **argv, const struct command *command) {
        static const struct option options[] = {
                { "interval", required_argument, NULL, 'i' },
                { "json", no_argument, NULL, 'j' },
                { "once", no_argument, NULL, 'o' },
                { "socket", required_argument, NULL, 'S' },
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        struct top top = { .interval_s = 1 };
        int option;
        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (option == 'h') {
                        fputs(command->help, stdout);
                        return EXIT_DONE;
                }
                if (!take_option(&top, option))
                        return EXIT_USAGE;
        }
        if (argc > optind)
                return usage_error("top takes no argument; '%s' is one too many", argv[optind]);
        bool screen = !top.json && !top.once;
        if (screen && !(isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)))
                return usage_error("top needs a terminal for input and output; --once prints one "
                                   "frame as text, --json a stream for programs");
        /* Nobody there at the very beginning is more likely a wrong socket than a restart. */
        int exit_code = EXIT_FAILED;
        top.source.client = connect_or_report(top.source.socket_path, top.json, &exit_code);
        if (top.source.client)
                exit_code = screen ? top_screen_run(&top.source, (double)top.interval_s)
                                   : run_readings(&top);
        top_source_deinit(&top.source);
        return exit_code;
}

const struct command command_top = {
        .name = "top",
        .summary = "watch the daemon at work",
        .help = "usage: seek top [OPTION...]\n\n"
                "Shows speed, memory by tier, and the running requests of your user (root: of "
                "all)\nuntil q is pressed; h lists the keys.\n\n"
                "  --interval SECONDS between two readings, 0.1 to 3600 (default 1)\n"
                "  --once             print one frame as text, after one interval\n"
                "  --json             print one JSON object a line and interval; with --once, "
                "one\n"
                "  --socket PATH      where the daemon listens\n"
                "  --help             this text\n",
        .run = run,
};
