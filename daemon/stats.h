/* What the daemon tells about itself. Loop thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct connection;
struct server;

/* A packed StatsResult as `asker` may see it: its own uid's clients and requests, all of them for
 * root and the daemon's own uid; totals over everybody. The caller frees it; NULL: out of memory.
 */
uint8_t *stats_pack(const struct server *server, const struct connection *asker,
                    uint32_t request_id, size_t *ret_n);
