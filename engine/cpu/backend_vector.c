/* Which of the vector versions that were compiled in this processor runs. */
#include "engine/backend.h"

#if defined(__x86_64__)
#include <cpuid.h>

extern const struct backend avx2_backend, avx512_backend;

/* Every processor with AVX2 has it; compilers do not agree on a name to ask for. */
static bool has_f16c(void) {
        unsigned a, b, c, d;
        return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

const struct backend *backend_vector(unsigned index) {
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && index-- == 0)
                return &avx512_backend;
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c() &&
            index-- == 0)
                return &avx2_backend;
        return NULL;
}
#else
const struct backend *backend_vector(unsigned index) {
        (void)index;
        return NULL;
}
#endif
