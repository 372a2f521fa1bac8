#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizer.h"

int token_list_append(struct token_list *list, const uint32_t *ids, size_t n) {
        if (n == 0)
                return 0;
        if (n > SIZE_MAX / sizeof(*ids) / 2 - list->n)
                return -ENOMEM;
        if (list->n + n > list->capacity) {
                size_t capacity = list->capacity ? list->capacity : 64;
                while (capacity < list->n + n)
                        capacity *= 2;
                uint32_t *grown = realloc(list->ids, capacity * sizeof(*grown));
                if (!grown)
                        return -ENOMEM;
                list->ids = grown;
                list->capacity = capacity;
        }
        memcpy(list->ids + list->n, ids, n * sizeof(*ids));
        list->n += n;
        return 0;
}

void token_list_deinit(struct token_list *list) {
        if (!list)
                return;
        free(list->ids);
        *list = (struct token_list){ 0 };
}
