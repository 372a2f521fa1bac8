#include "tests/memory/power_cut.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/memory/faulty_disk.h"
#include "tests/splitmix64.h"

/* What a disk writes whole. */
#define SECTOR 512

/* Of a torn write one in three sectors is missing. */
#define TORN 3

static void apply(int fd, const struct disk_event *event, uint64_t *random, bool torn) {
        for (size_t from = 0; from < event->bytes;) {
                size_t at = (size_t)event->at + from, n = SECTOR - at % SECTOR;
                if (n > event->bytes - from)
                        n = event->bytes - from;
                if ((!torn || next_random(random) % TORN != 0) &&
                    pwrite(fd, event->data + from, n, (off_t)at) != (ssize_t)n) {
                        perror("pwrite");
                        abort();
                }
                from += n;
        }
}

static bool survives(enum power_mood mood, uint64_t *random) {
        return mood == POWER_ALL_WRITTEN || mood == POWER_TORN ||
                (mood == POWER_SOME_WRITTEN && next_random(random) % 2);
}

int power_cut(const char *path, size_t cut, enum power_mood mood, uint64_t *random) {
        size_t n, synced = 0;
        const struct disk_event *events = disk_events(&n);
        int mark = -1;
        unlink(path);
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (fd < 0) {
                perror(path);
                abort();
        }
        for (size_t i = 0; i < cut; i++)
                if (events[i].kind == DISK_SYNC)
                        synced = i;
        for (size_t i = 0; i < cut; i++) {
                const struct disk_event *event = &events[i];
                bool durable = i < synced || event->kind == DISK_WRITE_THROUGH;
                if (event->kind == DISK_MARK)
                        mark = (int)event->mark;
                if (event->kind != DISK_WRITE && event->kind != DISK_WRITE_THROUGH)
                        continue;
                if (durable)
                        apply(fd, event, random, false);
                else if (survives(mood, random))
                        apply(fd, event, random, mood == POWER_TORN);
        }
        close(fd);
        return mark;
}
