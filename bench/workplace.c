#include "bench/workplace.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "bench/checkpoint_make.h"

/* Folders that are open at once while a tree is removed. */
#define DEPTH_MAX 16

int workplace_make(const char *parent, const char *name, char ret[PATH_MAX], struct error *err) {
        int n = snprintf(ret, PATH_MAX, "%s/%s-XXXXXX", parent, name);
        if (n < 0 || n >= PATH_MAX)
                return error_set(err, -ENAMETOOLONG, "--folder: path too long");
        return mkdtemp(ret) ? 0 : error_errno(err, "%s", ret);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void)st, (void)type, (void)ftw;
        return remove(path);
}

void workplace_remove(const char *folder) {
        nftw(folder, remove_entry, DEPTH_MAX, FTW_DEPTH | FTW_PHYS);
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
