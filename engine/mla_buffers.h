/* What latent attention (attention_mla.c) has in the workspace. R rows, H heads; a latent row is
 * kv_lora_rank + rope_dim wide. */
#pragma once

#include <stdint.h>

struct mla_buffers {
        float *query;  /* [R][H][latent row] absorbed */
        float *output; /* [R][H][kv_lora_rank] weighted latents */

        /* Grow with the context, for n_tokens_max tokens: */
        float *keys;   /* [n][latent row] one sequence's, unpacked */
        float *scores; /* [workers][scratch of an attention operation] */
        uint32_t n_tokens_max;
};
