#include "memory/thinning.h"

void thinning_choose(struct thinning_state *states, size_t n) {
        for (size_t i = 0; i < n; i++)
                states[i].goes = false;
        if (n <= THINNING_NEWEST)
                return;
        uint32_t end = states[n - 1].position;
        size_t after = n - THINNING_NEWEST; /* the next one that stays */
        for (size_t i = after; i-- > 1;) {
                uint32_t gap = states[after].position - states[i - 1].position;
                states[i].goes = !states[i].needed && gap <= end - states[after].position;
                if (!states[i].goes)
                        after = i;
        }
}
