/* Chooses among the vector versions that were compiled in. */
#include "engine/backend.h"

#if defined(__x86_64__)
extern const struct backend backend_avx2, backend_avx512;

const struct backend *backend_fast(void) {
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"))
                return &backend_avx512;
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
                return &backend_avx2;
        return NULL;
}
#else
const struct backend *backend_fast(void) {
        return NULL;
}
#endif
