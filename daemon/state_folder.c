#include "daemon/state_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"

int state_folder_open(const char *path, struct error *err) {
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return error_errno(err, "%s", path);
        CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, "%s", path);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno == EWOULDBLOCK)
                        return error_set(err, -EBUSY, "%s: another seekd uses this state folder",
                                         path);
                return error_errno(err, "%s", path);
        }
        return TAKE_FD(fd);
}
