#include "engine/topk.h"

#include "engine/numerics.h"

/* A total order as an unsigned integer: larger score first, then lower index. */
static uint64_t order_key(float score, uint32_t index) {
        uint32_t u = float_bits(score + 0.0f); /* -0 + 0 = +0 */
        u = u & 0x80000000 ? ~u : u | 0x80000000;
        return (uint64_t)u << 32 | (UINT32_MAX - index);
}

static void swap(uint64_t *a, uint64_t *b) {
        uint64_t t = *a;
        *a = *b;
        *b = t;
}

/* Value of the k-th largest (k >= 1) of n distinct keys; reorders them. Hoare's selection, median
 * of three. */
static uint64_t kth_largest(uint64_t *key, uint32_t n, uint32_t k) {
        uint32_t low = 0, high = n - 1, target = k - 1;
        while (low < high) {
                uint32_t mid = low + (high - low) / 2;
                if (key[mid] > key[low])
                        swap(&key[mid], &key[low]);
                if (key[high] > key[low])
                        swap(&key[high], &key[low]);
                if (key[high] > key[mid])
                        swap(&key[high], &key[mid]);
                uint64_t pivot = key[mid];
                int64_t i = (int64_t)low - 1, j = (int64_t)high + 1;
                for (;;) {
                        do
                                i++;
                        while (key[i] > pivot);
                        do
                                j--;
                        while (key[j] < pivot);
                        if (i >= j)
                                break;
                        swap(&key[i], &key[j]);
                }
                if (target <= (uint32_t)j)
                        high = (uint32_t)j;
                else
                        low = (uint32_t)j + 1;
        }
        return key[target];
}

uint32_t topk_select(const float *score, uint32_t n, uint32_t k, uint64_t *scratch,
                     uint32_t *ret_index) {
        uint32_t n_finite = 0;
        for (uint32_t i = 0; i < n; i++)
                if (score[i] > -INFINITY)
                        scratch[n_finite++] = order_key(score[i], i);
        uint64_t threshold = k > 0 && k < n_finite ? kth_largest(scratch, n_finite, k) : 0;
        uint32_t n_selected = 0;
        for (uint32_t i = 0; k > 0 && i < n && n_selected < k; i++)
                if (score[i] > -INFINITY && order_key(score[i], i) >= threshold)
                        ret_index[n_selected++] = i;
        return n_selected;
}
