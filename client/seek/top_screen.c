#include "client/seek/top_screen.h"

#include <curses.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/seek/seek.h"
#include "client/seek/top_view.h"

struct screen {
        struct top_view view;
        struct top_model model;
        struct top_reading earlier, now;
        struct top_reader *reader;
        int signal_fd;
};

/* -------- frames -------- */

static void put(void *userdata, int line, const char *text, enum top_style style) {
        static const attr_t attributes[] = {
                [TOP_PLAIN] = A_NORMAL, [TOP_STRONG] = A_BOLD, [TOP_HEADING] = A_REVERSE
        };
        (void)userdata;
        attrset((int)attributes[style]);
        mvaddstr(line, 0, text);
        for (int x = (int)strlen(text); style == TOP_HEADING && x < COLS; x++)
                addch(' ');
        attrset(A_NORMAL);
}

static void draw(struct screen *screen) {
        screen->view.columns = COLS < TOP_COLUMNS_MAX ? COLS : TOP_COLUMNS_MAX;
        screen->view.lines = LINES;
        top_model_sort(&screen->model, screen->view.order, screen->view.grouped);
        erase();
        top_draw(&screen->view, &screen->model, put, NULL);
        refresh();
}

/* The reading before is needed once more, for the rates of the next. While paused readings go on
 * and nothing is made of them, so that the first frame after it tells of the last interval. */
static void take_reading(struct screen *screen) {
        struct top_reading reading;
        if (!top_reader_take(screen->reader, &reading))
                return;
        if (reading.stats) {
                top_reading_deinit(&screen->earlier);
                screen->earlier = screen->now;
                screen->now = reading;
        }
        if (!screen->view.paused &&
            top_model_update(&screen->model, &screen->earlier, &reading) < 0)
                snprintf(screen->model.error, sizeof(screen->model.error), "no memory");
        if (!reading.stats)
                top_reading_deinit(&reading);
}

/* -------- keys -------- */

static void change_interval(struct screen *screen, double factor) {
        double interval_s = screen->view.interval_s * factor;
        if (interval_s < TOP_INTERVAL_MIN_S)
                interval_s = TOP_INTERVAL_MIN_S;
        if (interval_s > TOP_INTERVAL_MAX_S)
                interval_s = TOP_INTERVAL_MAX_S;
        screen->view.interval_s = interval_s;
        top_reader_set_interval(screen->reader, interval_s);
}

/* Drawing brings it into range. More lines than any table has. */
#define BEHIND_THE_END (1 << 30)

/* Returns whether to go on. */
static bool take_key(struct screen *screen, int key) {
        struct top_view *view = &screen->view;
        if (key == 'q')
                return false;
        if (key == KEY_RESIZE) {
                clearok(curscr, TRUE); /* who knows what the terminal made of the old lines */
                return true;
        }
        if (view->help) {
                view->help = false;
                return true;
        }
        switch (key) {
        case 's': view->order = (enum top_order)((view->order + 1) % TOP_N_ORDERS); break;
        case 'c': view->grouped = !view->grouped; break;
        case 'p': view->paused = !view->paused; break;
        case 'h':
        case '?': view->help = true; break;
        case '+': change_interval(screen, 2); break;
        case '-': change_interval(screen, 0.5); break;
        case KEY_UP: view->first--; break;
        case KEY_DOWN: view->first++; break;
        case KEY_PPAGE: view->first -= view->page; break;
        case KEY_NPAGE: view->first += view->page; break;
        case KEY_HOME: view->first = 0; break;
        case KEY_END: view->first = BEHIND_THE_END; break;
        default: break;
        }
        return true;
}

static bool take_keys(struct screen *screen) {
        for (int key = getch(); key != ERR; key = getch())
                if (!take_key(screen, key))
                        return false;
        return true;
}

/* -------- the loop -------- */

static int watch(struct screen *screen) {
        for (;;) {
                draw(screen);
                struct pollfd fds[] = {
                        { STDIN_FILENO, POLLIN, 0 },
                        { screen->signal_fd, POLLIN, 0 },
                        { top_reader_fd(screen->reader), POLLIN, 0 },
                };
                /* Interrupted: the window's size has changed, which getch() says. */
                if (poll(fds, 3, -1) < 0 && errno != EINTR)
                        return EXIT_FAILED;
                if (fds[1].revents & POLLIN)
                        return EXIT_INTERRUPTED;
                if (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL))
                        return EXIT_INTERRUPTED; /* the terminal is gone */
                if (!take_keys(screen))
                        return EXIT_DONE;
                take_reading(screen);
        }
}

/* All that end a program in peace arrive here, so that each finds the terminal restored. */
static int open_signals(void) {
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGQUIT);
        sigaddset(&signals, SIGHUP);
        sigprocmask(SIG_BLOCK, &signals, NULL);
        return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void set_up_terminal(void) {
        cbreak();
        noecho();
        nonl();
        keypad(stdscr, TRUE);
        nodelay(stdscr, TRUE);
        set_escdelay(25); /* no terminal takes longer between the bytes of one key */
        curs_set(0);
}

static int fail(const char *what, int error) {
        char text[128];
        snprintf(text, sizeof(text), "%s: %s", what, strerror(error));
        return report_failure(SEEKD_E_SYSTEM, text, false);
}

int top_screen_run(struct top_source *source, double interval_s) {
        struct screen screen = {
                .view = { .keys = true, .interval_s = interval_s },
                .signal_fd = open_signals(),
        };
        if (screen.signal_fd < 0)
                return fail("signals", errno);
        int r = top_reader_start(source, interval_s, &screen.reader);
        if (r < 0) {
                close(screen.signal_fd);
                return fail("starting a thread", -r);
        }
        int exit_code;
        SCREEN *terminal = newterm(NULL, stdout, stdin);
        if (terminal && tigetstr("cup")) {
                set_up_terminal();
                exit_code = watch(&screen);
                endwin();
                delscreen(terminal);
        } else if (terminal) {
                endwin();
                delscreen(terminal);
                exit_code = usage_error("the terminal's cursor cannot be moved (TERM); --once "
                                        "needs no such thing");
        } else {
                exit_code = usage_error("the terminal is of a kind that is not known here "
                                        "(TERM); --once needs none");
        }
        top_reader_stop(screen.reader);
        close(screen.signal_fd);
        top_reading_deinit(&screen.earlier);
        top_reading_deinit(&screen.now);
        top_model_deinit(&screen.model);
        return exit_code;
}
