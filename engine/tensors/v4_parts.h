/* What layers of DeepSeek-V4 and V4.1 have in common. */
#pragma once

#include "engine/tensors/lister.h"

/* The coefficients that mix hc residual streams at a layer's two sites. */
void put_mixing(struct lister *l);

/* Attention but for its compressed rows. */
void put_shared_kv(struct lister *l);

/* The index query of a layer that selects rows. */
void put_index_query(struct lister *l);

/* The shared expert and n routed ones. `of`: "layers.3" or "mtp.0", which the prefix is again at
 * the end. */
void put_expert_mlps(struct lister *l, const char *of, uint32_t n_experts);
