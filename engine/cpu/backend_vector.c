/* Which of the vector versions that were compiled in this processor runs. */
#include "engine/backend.h"

#if defined(__x86_64__)
extern const struct backend backend_avx2, backend_avx512;

const struct backend *backend_vector(unsigned index) {
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && index-- == 0)
                return &backend_avx512;
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && index-- == 0)
                return &backend_avx2;
        return NULL;
}
#else
const struct backend *backend_vector(unsigned index) {
        (void)index;
        return NULL;
}
#endif
