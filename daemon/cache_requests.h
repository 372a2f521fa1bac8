/* What clients ask of kept KV and Engram tables: list, verify, purge, import. Loop thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct request;
struct server;

/* Whether a type of record is served here. */
bool cache_requests_serve(uint16_t type);

/* It was prepared: gives it the errand or the job that answers it, or refuses it. Other requests
 * are left as they are. */
void cache_requests_do(struct server *server, struct request *request);

/* It is about to be freed. */
void cache_requests_leave(struct request *request);
