#include "daemon/parking.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/request.h"
#include "daemon/retention.h"
#include "engine/engine.h"
#include "memory/kv_cache.h"

static void remove_at(struct parking *parking, unsigned i) {
        parking->n--;
        memmove(&parking->parked[i], &parking->parked[i + 1],
                (parking->n - i) * sizeof(parking->parked[0]));
}

static void drop_at(struct parking *parking, unsigned i) {
        struct parked *parked = &parking->parked[i];
        sequence_free(parked->sequence);
        kv_lease_end(parked->lease);
        free(parked->ids);
        remove_at(parking, i);
}

/* True: its tokens are the first ones of these, for the same user and subject. */
static bool begins(const struct parked *parked, const struct request *request, uint64_t n) {
        return parked->uid == request->uid && parked->n <= n &&
                strcmp(parked->subject, request->subject) == 0 &&
                memcmp(parked->ids, request->tokens.ids, parked->n * sizeof(parked->ids[0])) == 0;
}

static void claims(const struct parking *parking, struct retained *ret) {
        for (unsigned i = 0; i < parking->n; i++)
                ret[i] = (struct retained){ parking->parked[i].uid, parking->parked[i].until_ns };
}

bool parking_drop(struct parking *parking, const struct parked *except, uint64_t now_ns) {
        struct retained retained[PARKED_MAX];
        claims(parking, retained);
        size_t i = retention_choose(retained, parking->n,
                                    except ? (size_t)(except - parking->parked) : SIZE_MAX, now_ns);
        if (i == SIZE_MAX)
                return false;
        drop_at(parking, (unsigned)i);
        return true;
}

void parking_drop_user(struct parking *parking, uint32_t uid) {
        for (unsigned i = parking->n; i > 0; i--)
                if (parking->parked[i - 1].uid == uid)
                        drop_at(parking, i - 1);
}

uint64_t parking_bytes(const struct parking *parking, const struct parked *except) {
        uint64_t bytes = 0;
        for (unsigned i = 0; i < parking->n; i++)
                if (&parking->parked[i] != except)
                        bytes += sequence_bytes(parking->parked[i].sequence);
        return bytes;
}

/* Room for one more of this kind. False: it would be the next to go itself. */
static bool make_room(struct parking *parking, const struct retained *more, uint64_t bytes,
                      uint64_t now_ns) {
        struct retained retained[PARKED_MAX + 1];
        while (parking->n == PARKED_MAX ||
               (parking->n > 0 && parking_bytes(parking, NULL) + bytes > parking->bytes_max)) {
                claims(parking, retained);
                retained[parking->n] = *more;
                size_t i = retention_choose(retained, parking->n + 1, SIZE_MAX, now_ns);
                if (i == parking->n)
                        return false;
                drop_at(parking, (unsigned)i);
        }
        return true;
}

bool parking_add(struct parking *parking, struct request *request, uint64_t until_ns,
                 uint64_t now_ns) {
        uint64_t n = sequence_position(request->sequence),
                 bytes = sequence_bytes(request->sequence);
        if (n == 0 || bytes > parking->bytes_max)
                return false;
        uint32_t *ids = malloc(n * sizeof(*ids));
        if (!ids)
                return false;
        memcpy(ids, request->tokens.ids, n * sizeof(*ids));
        /* What the conversation has left behind: its next turn begins with all that there is. */
        for (unsigned i = parking->n; i > 0; i--)
                if (begins(&parking->parked[i - 1], request, n))
                        drop_at(parking, i - 1);
        if (!make_room(parking, &(struct retained){ request->uid, until_ns }, bytes, now_ns)) {
                free(ids);
                return false;
        }
        struct parked *parked = &parking->parked[parking->n++];
        *parked = (struct parked){ .uid = request->uid,
                                   .ids = ids,
                                   .n = (uint32_t)n,
                                   .until_ns = until_ns,
                                   .sequence = request->sequence,
                                   .lease = request->lease };
        memcpy(parked->subject, request->subject, sizeof(parked->subject));
        request->sequence = NULL;
        request->lease = NULL;
        return true;
}

struct parked *parking_find(struct parking *parking, const struct request *request) {
        struct parked *best = NULL;
        for (unsigned i = 0; i < parking->n; i++) {
                struct parked *parked = &parking->parked[i];
                if ((!best || parked->n > best->n) &&
                    begins(parked, request, request->tokens.n - 1))
                        best = parked;
        }
        return best;
}

void parking_take(struct parking *parking, struct parked *parked, struct request *request) {
        request->sequence = parked->sequence;
        request->lease = parked->lease;
        free(parked->ids);
        remove_at(parking, (unsigned)(parked - parking->parked));
}
