#include "bench/workplace.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "bench/checkpoint_make.h"

/* Folders that are open at once while a tree is removed. */
#define DEPTH_MAX 16

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void)st, (void)type, (void)ftw;
        return remove(path);
}

/* In the new process, which outlives whatever ends the other. It leaves the terminal's and the
 * caller's descriptors, so that nobody waits for it at the end of a pipe. */
static void keep(const char *folder, int alive) {
        static const int ending[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE };
        for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
                signal(ending[i], SIG_IGN);
        int null = open("/dev/null", O_RDWR);
        for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
                dup2(null, fd);
        char byte;
        while (read(alive, &byte, sizeof(byte)) < 0 && errno == EINTR)
                ;
        nftw(folder, remove_entry, DEPTH_MAX, FTW_DEPTH | FTW_PHYS);
        _exit(0);
}

int workplace_make(const char *parent, const char *name, struct workplace *ret, struct error *err) {
        int n = snprintf(ret->folder, sizeof(ret->folder), "%s/%s-XXXXXX", parent, name), ends[2];
        if (n < 0 || (size_t)n >= sizeof(ret->folder))
                return error_set(err, -ENAMETOOLONG, "--folder: path too long");
        if (!mkdtemp(ret->folder))
                return error_errno(err, "%s", ret->folder);
        fflush(NULL);
        int r = pipe(ends) < 0 ? error_errno(err, "pipe") : 0;
        ret->keeper = r == 0 ? fork() : -1;
        if (r == 0 && ret->keeper < 0) {
                r = error_errno(err, "fork");
                close(ends[0]);
                close(ends[1]);
        }
        if (r < 0) {
                remove(ret->folder);
                return r;
        }
        if (ret->keeper == 0) {
                close(ends[1]);
                keep(ret->folder, ends[0]);
        }
        close(ends[0]);
        ret->alive = ends[1];
        return 0;
}

void workplace_remove(struct workplace *place) {
        close(place->alive);
        waitpid(place->keeper, NULL, 0);
}

/* A file of the tree that this program was built in or installed to: relative to its own folder. */
static const char *find_near(const char *const places[], char ret[PATH_MAX]) {
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        self[n > 0 ? n : 0] = '\0';
        char *slash = strrchr(self, '/');
        for (size_t i = 0; slash && places[i]; i++) {
                int m = snprintf(ret, PATH_MAX, "%.*s/%s", (int)(slash - self), self, places[i]);
                if (m > 0 && m < PATH_MAX && access(ret, R_OK) == 0)
                        return ret;
        }
        return NULL;
}

int workplace_find_seekd(char buffer[PATH_MAX], const char **ret, struct error *err) {
        static const char *const places[] = { "seekd", "../daemon/seekd", NULL };
        *ret = find_near(places, buffer);
        return *ret ? 0
                    : error_set(err, -ENOENT, "no seekd beside this program; name it with --seekd");
}

int workplace_make_model(const char *out, const struct config_request *config,
                         const char *tokenizer, struct error *err) {
        static const char *const places[] = { "../share/seekd/models/seed-coder/tokenizer.json",
                                              "../../models/seed-coder/tokenizer.json", NULL };
        char near[PATH_MAX];
        const struct checkpoint_order order = { .out = out,
                                                .tokenizer = tokenizer ? tokenizer
                                                                       : find_near(places, near),
                                                .config = *config };
        struct checkpoint_made made;
        return checkpoint_make(&order, &made, err);
}
