#include "daemon/scheduler.h"

#include <assert.h>

#include "daemon/limits.h"

static uint64_t pending(const struct schedule_item *item) {
        return item->n_known - item->position;
}

/* Tokens up to the next multiple of CHUNK_TOKENS, or all that are pending. */
static uint32_t chunk(const struct schedule_item *item) {
        uint64_t room = CHUNK_TOKENS - item->position % CHUNK_TOKENS;
        return (uint32_t)(pending(item) < room ? pending(item) : room);
}

/* Index of the first item that arrived after `arrival`, 0 when there is none. */
static size_t first_after(const struct schedule_item *items, size_t n_items, uint64_t arrival) {
        for (size_t i = 0; i < n_items; i++)
                if (items[i].arrival > arrival)
                        return i;
        return 0;
}

size_t schedule_step(const struct schedule_item *items, size_t n_items, uint32_t rows_max,
                     struct schedule_cursor *cursor, struct schedule_pick *ret) {
        assert(rows_max >= 2 * CHUNK_TOKENS);

        size_t n_prefills = 0;
        for (size_t i = 0; i < n_items; i++) {
                assert(items[i].n_known > items[i].position);
                n_prefills += pending(&items[i]) > 1;
        }

        uint32_t decode_rows = n_prefills > 0 ? rows_max - CHUNK_TOKENS : rows_max;
        size_t n_picks = 0;
        uint32_t rows = 0;
        size_t start = first_after(items, n_items, cursor->decode);
        for (size_t k = 0; k < n_items && rows < decode_rows; k++) {
                size_t i = (start + k) % n_items;
                if (pending(&items[i]) != 1)
                        continue;
                ret[n_picks++] = (struct schedule_pick){ i, 1 };
                cursor->decode = items[i].arrival;
                rows++;
        }

        start = first_after(items, n_items, cursor->prefill);
        for (size_t k = 0; k < n_items; k++) {
                size_t i = (start + k) % n_items;
                if (pending(&items[i]) < 2)
                        continue;
                if (chunk(&items[i]) > rows_max - rows)
                        break; /* a smaller one behind it must not overtake it for ever */
                ret[n_picks++] = (struct schedule_pick){ i, chunk(&items[i]) };
                cursor->prefill = items[i].arrival;
                rows += chunk(&items[i]);
        }
        return n_picks;
}
