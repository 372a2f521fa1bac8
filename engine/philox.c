#include "engine/philox.h"

#define ROUNDS 10

void philox4x32(const uint32_t counter[static 4], const uint32_t key[static 2],
                uint32_t ret[static 4]) {
        uint32_t c[4] = { counter[0], counter[1], counter[2], counter[3] };
        uint32_t k[2] = { key[0], key[1] };
        for (unsigned round = 0; round < ROUNDS; round++) {
                uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
                uint32_t next[4] = {
                        (uint32_t)(b >> 32) ^ c[1] ^ k[0],
                        (uint32_t)b,
                        (uint32_t)(a >> 32) ^ c[3] ^ k[1],
                        (uint32_t)a,
                };
                for (unsigned i = 0; i < 4; i++)
                        c[i] = next[i];
                k[0] += 0x9E3779B9u;
                k[1] += 0xBB67AE85u;
        }
        for (unsigned i = 0; i < 4; i++)
                ret[i] = c[i];
}
