/* Which of the vector versions that were compiled in this processor runs. */
#include "engine/backend.h"
#include "engine/cpu/e2m1_words.h"

#if defined(__x86_64__)
extern const struct backend avx2_backend, avx512_backend;

const struct backend *backend_vector(unsigned index) {
        __builtin_cpu_init();
        e2m1_words_init();
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && index-- == 0)
                return &avx512_backend;
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && index-- == 0)
                return &avx2_backend;
        return NULL;
}
#else
const struct backend *backend_vector(unsigned index) {
        (void)index;
        return NULL;
}
#endif
