/* Stores that are not this start's: of another model, format or numerics, one of which is kept
 * beside kv.mdb under a name of its own, so that whoever goes back to that model finds it again;
 * and damaged ones. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "memory/kv_private.h"

#define OTHER_PREFIX KV_FILE_NAME ".other-"

/* 64 bits of the fingerprint: as good as all of them for telling a few models apart. */
#define OTHER_NAME_BYTES (sizeof(OTHER_PREFIX) + 16)

static void other_name(const struct page_id *fingerprint, char ret[OTHER_NAME_BYTES]) {
        char *at = ret + sprintf(ret, OTHER_PREFIX);
        for (size_t i = 0; i < 8; i++)
                at += sprintf(at, "%02x", fingerprint->bytes[i]);
}

/* Others but these (may be NULL). */
static void remove_others(int folder_fd, const char *keep, const char *keep_too) {
        int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
        if (!folder) {
                if (fd >= 0)
                        close(fd);
                return;
        }
        for (const struct dirent *e; (e = readdir(folder));)
                if (strncmp(e->d_name, OTHER_PREFIX, strlen(OTHER_PREFIX)) == 0 &&
                    (!keep || strcmp(e->d_name, keep) != 0) &&
                    (!keep_too || strcmp(e->d_name, keep_too) != 0))
                        unlinkat(folder_fd, e->d_name, 0);
        closedir(folder);
}

int kv_aside_take_back(struct kv_store *store, struct error *err) {
        char ours[OTHER_NAME_BYTES];
        other_name(&store->fingerprint, ours);
        if (renameat2(store->folder_fd, ours, store->folder_fd, KV_FILE_NAME, RENAME_NOREPLACE) <
            0) {
                if (errno == ENOENT || errno == EEXIST)
                        return 0;
                return error_errno(err, "%s: cannot be taken back", ours);
        }
        return fsync(store->folder_fd) < 0 ? error_errno(err, "fsync") : 1;
}

int kv_aside_put(struct kv_store *store, const struct page_id *fingerprint, struct error *err) {
        char ours[OTHER_NAME_BYTES], theirs[OTHER_NAME_BYTES];
        other_name(&store->fingerprint, ours);
        other_name(fingerprint, theirs);
        if (renameat(store->folder_fd, KV_FILE_NAME, store->folder_fd, theirs) < 0 ||
            fsync(store->folder_fd) < 0)
                return error_errno(err, "it is of another model, and cannot be renamed to %s",
                                   theirs);
        remove_others(store->folder_fd, ours, theirs);
        store->statistics.other_model = true;
        kv_report(
                store, KV_EVENT_OTHER_MODEL,
                "%s was of another model, format or numerics; kept as %s for when that comes back",
                KV_FILE_NAME, theirs);
        return 0;
}

void kv_store_drop_aside(struct kv_store *store) {
        remove_others(store->folder_fd, NULL, NULL);
        unlinkat(store->folder_fd, KV_DAMAGED_NAME, 0);
        fsync(store->folder_fd);
}
