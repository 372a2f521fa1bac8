#include "base/background.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From linux/ioprio.h, which Debian 12's headers have without the constant for a thread. */
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_IDLE        (3U << 13)

void background_thread(void) {
        setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19);
        syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
}
