#include "engine/eval/lent_pages.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/engine.h"

int lent_pages_init(struct lent_pages *lent, const struct engine *engine, size_t n_tokens) {
        *lent = (struct lent_pages){ 0 };
        if (engine_page_bytes(engine) == 0)
                return 0;
        lent->slab = calloc(n_tokens / ENGINE_PAGE_TOKENS + 1, sizeof(*lent->slab));
        return lent->slab ? 0 : -ENOMEM;
}

void lent_pages_deinit(struct lent_pages *lent) {
        for (size_t i = 0; i < lent->n; i++)
                free(lent->slab[i]);
        free(lent->slab);
        *lent = (struct lent_pages){ 0 };
}

int lent_pages_extend(struct lent_pages *lent, const struct engine *engine,
                      struct sequence *sequence) {
        while (lent->slab && (lent->n + 1) * ENGINE_PAGE_TOKENS <= sequence_position(sequence)) {
                uint8_t *slab = malloc(engine_page_bytes(engine));
                if (!slab)
                        return -ENOMEM;
                sequence_save_page(sequence, lent->n, slab);
                sequence_lend_page(sequence, lent->n, slab);
                lent->slab[lent->n++] = slab;
        }
        return 0;
}
