#include "memory/eviction.h"

#include <math.h>

double eviction_score(const struct eviction_input *input, double half_life) {
        if (input->pinned)
                return INFINITY;
        if (input->superseded || input->cost_ms <= 0)
                return -INFINITY;
        return log2(input->cost_ms / (double)input->bytes * (1.0 + input->hits)) +
                (double)input->used / half_life;
}

size_t eviction_owner(const struct eviction_owner *owners, size_t n, size_t asking, uint64_t bytes,
                      uint64_t bytes_max, uint64_t owner_bytes_max) {
        uint64_t share = bytes_max / n, mine = owners[asking].bytes + bytes;
        size_t loser = EVICTION_NOBODY;
        bool own_limit = owner_bytes_max > 0 && mine > owner_bytes_max;
        for (size_t i = 0; i < n && !own_limit; i++) {
                uint64_t has = i == asking ? mine : owners[i].bytes;
                if (has > share && owners[i].score < INFINITY &&
                    (loser == EVICTION_NOBODY || owners[i].score < owners[loser].score))
                        loser = i;
        }
        if (loser == EVICTION_NOBODY && owners[asking].score < INFINITY)
                loser = asking;
        return loser;
}
