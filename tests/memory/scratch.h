/* A folder of a test's own, removed with all that is in it. */
#pragma once

#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct scratch {
        char path[64];
};

static inline void scratch_make(struct scratch *scratch) {
        /* Memory when there is some: hundreds of syncs are slow on a disk. */
        strcpy(scratch->path,
               access("/dev/shm", W_OK) == 0 ? "/dev/shm/seekd-test-XXXXXX"
                                             : "/tmp/seekd-test-XXXXXX");
        char *made = mkdtemp(scratch->path);
        assert(made);
        (void)made;
}

static inline void scratch_remove(const struct scratch *scratch) {
        DIR *dir = opendir(scratch->path);
        assert(dir);
        for (struct dirent *entry; (entry = readdir(dir));)
                unlinkat(dirfd(dir), entry->d_name, 0);
        closedir(dir);
        rmdir(scratch->path);
}

/* The path of a file in it; valid until the fourth next call. */
static inline const char *scratch_file(const struct scratch *scratch, const char *name) {
        static char paths[4][128];
        static unsigned next;
        char *path = paths[next++ % 4];
        snprintf(path, sizeof(paths[0]), "%s/%s", scratch->path, name);
        return path;
}
