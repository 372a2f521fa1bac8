"""The mutations: one wrong line each, of the kind that other engines for this model have shipped.

(name, file, text that stands there exactly once, what it becomes). A text that no longer occurs once is an error: the
list follows the source.
"""

MUTATIONS = [
    # Attention
    ("sink dropped", "engine/cpu/reference.c",
     " + math_expf(a->sinks[head] - max);", ";"),
    ("rope on halves instead of interleaved pairs", "engine/cpu/reference.c",
     "float a = tail[2 * i], b = tail[2 * i + 1], c = cos[i],\n"
     "                              s = inverse ? -sin[i] : sin[i];\n"
     "                        tail[2 * i] = rounded(a * c - b * s, round);\n"
     "                        tail[2 * i + 1] = rounded(a * s + b * c, round);",
     "float a = tail[i], b = tail[i + n_pairs], c = cos[i],\n"
     "                              s = inverse ? -sin[i] : sin[i];\n"
     "                        tail[i] = rounded(a * c - b * s, round);\n"
     "                        tail[i + n_pairs] = rounded(a * s + b * c, round);"),
    ("rope on the first channels", "engine/cpu/reference.c",
     "float *tail = x + (size_t)v * dim + dim - 2 * n_pairs;", "float *tail = x + (size_t)v * dim;"),
    ("output not rotated back", "engine/shared_kv.c",
     "ws->sin[kind] + (size_t)r * pairs, pairs, true, e->round);", "ws->sin[kind] + (size_t)r * pairs, 0, true, e->round);"),
    ("per-head q norm", "engine/attention_csa2.c",
     "shared_kv_project(step, layer, false);", "shared_kv_project(step, layer, true);"),
    ("main rope where rows are compressed", "engine/shared_kv.c",
     "compress_ratio > 0 ? ROPE_COMPRESS", "compress_ratio > 9 ? ROPE_COMPRESS"),
    ("window one position short", "engine/attention_window.c",
     "return position < c->window - 1 ? (uint32_t)position : c->window - 1;",
     "return position < c->window - 2 ? (uint32_t)position : c->window - 2;"),
    ("window ring read one slot late", "engine/attention_window.c",
     "(uint32_t)((position - n_old + done) % c->window);", "(uint32_t)((position - n_old + done + 1) % c->window);"),
    ("input of wo_a quantised", "engine/shared_kv.c",
     "        linear_grouped(step, &w->wo_a,",
     "        for (uint32_t r = 0; w->wo_b.input_block && r < step->n_rows; r++)\n"
     "                e->backend->fp8_round(ws->o + (size_t)r * w->wo_a.k * e->config.o_groups,\n"
     "                                      w->wo_a.k * e->config.o_groups, w->wo_b.input_block,\n"
     "                                      ws->o + (size_t)r * w->wo_a.k * e->config.o_groups);\n"
     "        linear_grouped(step, &w->wo_a,"),
    ("softmax scale of the rotated part only", "engine/shared_kv.c",
     ".scale = 1.0f / sqrtf((float)c->head_dim)", ".scale = 1.0f / sqrtf((float)(c->head_dim - c->rope_dim))"),

    # Compressed rows
    ("latent rotated at j instead of 2j", "engine/compressor.c",
     "                rope_table(e->rope.frequency[ROPE_COMPRESS], pairs, (first + i) * ratio, cos, sin);\n"
     "                e->backend->rope(latent,",
     "                rope_table(e->rope.frequency[ROPE_COMPRESS], pairs, first + i, cos, sin);\n                e->backend->rope(latent,"),
    ("index key rotated at j instead of 2j", "engine/compressor.c",
     "                rope_table(e->rope.frequency[ROPE_COMPRESS], pairs, (first + i) * ratio, cos, sin);\n"
     "                e->backend->rmsnorm(key,",
     "                rope_table(e->rope.frequency[ROPE_COMPRESS], pairs, first + i, cos, sin);\n                e->backend->rmsnorm(key,"),
    ("index keys from the rotated latent", "engine/compressor.c",
     "        linear(step, &w->index_k, ws->latent,",
     "        for (uint32_t i = 0; i < n; i++) {\n"
     "                float cs[ROPE_PAIRS_MAX], sn[ROPE_PAIRS_MAX];\n"
     "                rope_table(e->rope.frequency[ROPE_COMPRESS], pairs, (first + i) * ratio, cs, sn);\n"
     "                e->backend->rope(ws->latent + (size_t)i * hd, 1, hd, cs, sn, pairs, false, e->round);\n"
     "        }\n"
     "        linear(step, &w->index_k, ws->latent,"),
    ("gates of a pair swapped", "engine/compressor.c",
     "pool_pair(open, open + hd, value, gate,", "pool_pair(open, gate, value, open + hd,"),
    ("open group counted from the chunk's start", "engine/compressor.c",
     "if ((position + i) % 2 == 0)", "if (i % 2 == 0)"),
    ("FP4 latents in blocks of 32", "engine/formats.h",
     "#define FP4_LATENT_BLOCK 16", "#define FP4_LATENT_BLOCK 32"),
    ("FP4 latents with power-of-two scales", "engine/formats.c",
     "uint8_t scale = e4m3_encode(\n                        clamp(block_max(block, FP4_LATENT_BLOCK, 6 * 0x1p-9f) / 6.0f, 448.0f));",
     "uint8_t scale = e4m3_encode(exp2f(ceilf(log2f(\n"
     "                        clamp(block_max(block, FP4_LATENT_BLOCK, 6 * 0x1p-9f) / 6.0f, 448.0f)))));"),
    ("FP4 codes rounded down", "engine/formats.c",
     "float a = fabsf(x);\n        unsigned c = a <= 0.25f ? 0", "float a = fabsf(x) - 0.25f;\n        unsigned c = a <= 0.25f ? 0"),
    ("nibbles of compressed rows swapped", "engine/formats.c",
     "ret_x[i] = e2m1_decode(row[i / 2] >> (i % 2 * 4) & 15) *\n                                e4m3_decode",
     "ret_x[i] = e2m1_decode(row[i / 2] >> ((i + 1) % 2 * 4) & 15) *\n                                e4m3_decode"),

    # Indexer
    ("index queries not quantised", "engine/indexer.c",
     "                e->backend->row_unpack(format, packed, 1, dim, q + (size_t)head * dim);\n", ""),
    ("index keys in FP4 with half the scale", "engine/formats.c",
     "6 * 0x1p-126f) * (1.0f / 6.0f));", "6 * 0x1p-126f) * (1.0f / 12.0f));"),
    ("no rectifier in index scores", "engine/cpu/reference.c",
     "s[i] += w[head] * (z > 0.0f ? z : 0.0f);", "s[i] += w[head] * z;"),
    ("row visible one position early", "engine/indexer.c",
     "return (uint32_t)((step->ws->position[r] + 1) /", "return (uint32_t)(step->ws->position[r] /"),
    ("ties to the higher row", "engine/topk.c",
     "(UINT32_MAX - index)", "index"),
    ("newest block not kept", "engine/indexer.c",
     "                scratch->blocks[n_blocks - 1] = INFINITY;", "                scratch->blocks[n_blocks - 1] += 0.0f;"),
    ("candidates ignored", "engine/config/deepseek_v41.c",
     "                layer->in_candidates = true;", "                layer->in_candidates = false;"),
    ("selection of the first source kept", "engine/attention_csa2.c",
     "        if (l->owns_index)", "        if (l->owns_kv && l->owns_index)"),

    # Rotations
    ("YaRN ramp one pair late", "engine/rope.c",
     "double ramp = ((double)pair - low) / width;", "double ramp = ((double)pair - low - 1.0) / width;"),
    ("YaRN dropped", "engine/rope.c",
     "        if (!rope->yarn.enabled)", "        if (true)"),
    ("YaRN on the main rope too", "engine/config/deepseek_v41.c",
     "        config_rope_scaling(in, false, &c->rope[ROPE_COMPRESS].yarn);",
     "        config_rope_scaling(in, false, &c->rope[ROPE_COMPRESS].yarn);\n"
     "        c->rope[ROPE_MAIN].yarn = c->rope[ROPE_COMPRESS].yarn;"),

    # Streams
    ("comb transposed", "engine/cpu/reference.c",
     "fmaf(comb[j * hc + k],", "fmaf(comb[k * hc + j],"),
    ("collapse with the sublayer's own pre", "engine/residual.c",
     "mix(step, hc, ws->next_pre);\n", "mix(step, hc, ws->next_pre);\n"
     "        memcpy(ws->pre, ws->next_pre, step->n_rows * step->engine->config.hc * sizeof(float));\n"),
    ("first mix over all streams", "engine/residual.c",
     "j == 0 ? 1.0f : 0.0f;", "1.0f / (float)hc;"),
    ("post without its factor of 2", "engine/cpu/reference.c",
     "post[i] = 2.0f * math_sigmoid", "post[i] = math_sigmoid"),
    ("one Sinkhorn round less", "engine/cpu/reference.c",
     "for (uint32_t i = 1; i < iterations; i++) {", "for (uint32_t i = 2; i < iterations; i++) {"),
    ("mHC epsilon dropped from pre", "engine/cpu/reference.c",
     "* c->scale[0] + c->base[i]) + c->hc_eps;", "* c->scale[0] + c->base[i]);"),
    ("norms with epsilon 1e-6", "engine/cpu/reference.c",
     "return 1.0f / sqrtf(dot(x, x, n) / (float)n + eps);", "return 1.0f / sqrtf(dot(x, x, n) / (float)n + 1e-6f);"),

    # Experts
    ("bias in the weights", "engine/router.c",
     "make_weights(c, score, expert,", "make_weights(c, ws->router_biased, expert,"),
    ("bias of images", "engine/tensors/deepseek_v41.c",
     'put_f32(l, "ffn.gate.bias", COMPONENT_ROUTER', 'put_f32(l, "ffn.gate.bias_vl", COMPONENT_ROUTER'),
    ("routing weight after w2", "engine/feed_forward.c",
     "        linear(step, &w->down, linear_input(step, &w->down, ws->gate, n, ws->gate), n, y, e->round);",
     "        for (uint32_t i = 0; weight && i < n; i++)\n"
     "                for (uint32_t j = 0; j < f; j++)\n"
     "                        ws->gate[(size_t)i * f + j] /= weight[i];\n"
     "        linear(step, &w->down, linear_input(step, &w->down, ws->gate, n, ws->gate), n, y, e->round);\n"
     "        for (uint32_t i = 0; weight && i < n; i++)\n"
     "                for (uint32_t j = 0; j < w->down.n; j++)\n"
     "                        y[(size_t)i * w->down.n + j] *= weight[i];"),
    ("gate cut off on both sides", "engine/cpu/reference.c",
     "float g = gate[i] > limit ? limit : gate[i];", "float g = gate[i] > limit ? limit : gate[i] < -limit ? -limit : gate[i];"),
    ("weights not scaled", "engine/router.c",
     "c->norm_topk_prob ? c->routed_scaling /", "c->norm_topk_prob ? 1.0f /"),
    ("shared expert dropped", "engine/moe.c",
     "        e->backend->add(ws->y, ws->expert_y, (uint32_t)(step->n_rows * d), e->round);", ""),

    # Formats of weights and their inputs
    ("inputs of quantised weights not quantised", "engine/linear.c",
     "        if (w->input_block == 0)", "        if (true)"),
    ("FP8 scale half as large", "engine/formats.c",
     "scales[b] = ue8m0_ceil(block_max(x, block, 1e-4f) * (1.0f / 448.0f));",
     "scales[b] = ue8m0_ceil(block_max(x, block, 1e-4f) * (1.0f / 896.0f));"),
    ("nibbles of expert weights swapped", "engine/cpu/reference.c",
     "return e2m1_decode(bytes[i / 2] >> (i % 2 * 4) & 15)", "return e2m1_decode(bytes[i / 2] >> ((i + 1) % 2 * 4) & 15)"),
    ("scale of the tile below", "engine/matrix.h",
     "(matrix_is_fp8(w) ? (w->tile_row + row) / w->tile : row)",
     "(matrix_is_fp8(w) ? ((w->tile_row + row) / w->tile + 1) % ((w->n + w->tile - 1) / w->tile) : row)"),
    ("tile scales transposed", "engine/cpu/reference.c",
     "ue8m0_decode(matrix_row_scales(w, row)[i / w->tile]);",
     "ue8m0_decode(((const uint8_t *)w->scales)[i / w->tile * (w->n / w->tile) + row / w->tile]);"),
    ("the FP4 code for 4 read as 5", "engine/formats.c",
     "{ 0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f }", "{ 0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 5.0f, 6.0f }"),

    # Engram
    ("hash off by one row", "engine/engram_hash.c",
     "ret_rows[row] = (uint64_t)(mixed % hash->prime[engram_layer][row] +",
     "ret_rows[row] = (uint64_t)((mixed + 1) % hash->prime[engram_layer][row] +"),
    ("n-gram one token late", "engine/engram_hash.c",
     "mixed ^= (int64_t)history[shift] * multiplier[shift];", "mixed ^= (int64_t)history[shift - 1] * multiplier[shift];"),
    ("history begins with id 0", "engine/sequence.c",
     "sequence_header(s)->history[i] = engine->hash.pad;", "sequence_header(s)->history[i] = 0;"),
    ("sign of the Engram gate dropped", "engine/cpu/reference.c",
     "math_sigmoid(copysignf(magnitude, z));", "math_sigmoid(magnitude);"),
    ("Engram gate without its root", "engine/cpu/reference.c",
     "float magnitude = sqrtf(fabsf(z) < 1e-6f ? 1e-6f : fabsf(z));", "float magnitude = fabsf(z);"),
    ("Engram rows read with one scale", "engine/engram.c",
     "ue8m0_decode(scales[d / FP8_BLOCK]);", "ue8m0_decode(scales[0] / 2 + 63);"),

    # Native sparse attention
    ("NSA: keys not rotated", "engine/attention_nsa.c",
     "                                      ws->sin[ROPE_MAIN] + (size_t)r * pairs, pairs, e->round);\n"
     "                for (uint32_t g",
     "                                      ws->sin[ROPE_MAIN] + (size_t)r * pairs, 0, e->round);\n"
     "                for (uint32_t g"),
    ("NSA: gates in another order", "engine/attention_nsa.c",
     "first * N_NSA_BRANCHES + branch;", "first * N_NSA_BRANCHES + (branch + 1) % N_NSA_BRANCHES;"),
    ("NSA: gates without their sigmoid", "engine/attention_nsa.c",
     "math_sigmoid(ws->nsa.gates[i]);", "ws->nsa.gates[i];"),
    ("NSA: heads in the next group's place", "engine/nsa_select.c",
     "size_t first_head = (size_t)r * c->n_heads + step->ws->nsa.group * heads;",
     "size_t first_head = (size_t)r * c->n_heads + (step->ws->nsa.group + 1) % c->n_kv_heads * heads;"),
    ("NSA: an entry one token late", "engine/nsa.h",
     "uint64_t rows = (position + 1) / c->nsa.compress_stride,", "uint64_t rows = position / c->nsa.compress_stride,"),
    ("NSA: shares not divided", "engine/cpu/reference.c",
     "a->shares[i] += w[i] / denominator;", "a->shares[i] += w[i];"),
    ("NSA: shares of the last head only", "engine/cpu/reference.c",
     "a->shares[i] += w[i] / denominator;", "a->shares[i] = w[i] / denominator;"),
    ("NSA: every overlap counted once", "engine/nsa_select.c",
     "sum += (float)((to - from) / stride) * share[i];", "sum += share[i];"),
    ("NSA: overlap with the block before left out", "engine/nsa_select.c",
     "start < length ? 0 : (start - length) / stride + 1;", "start / stride;"),
    ("NSA: first block not forced", "engine/nsa_select.c", "i < c->nsa.n_first || ", ""),
    ("NSA: one last block", "engine/nsa_select.c", "i + c->nsa.n_last >= n", "i + 1 >= n"),
    ("NSA: current block left to its importance", "engine/nsa_select.c", "i + c->nsa.n_last >= n", "i + c->nsa.n_last > n"),
    ("NSA: scale of the values' width", "engine/nsa_select.c",
     ".scale = 1.0f / sqrtf((float)c->head_dim)", ".scale = 1.0f / sqrtf((float)c->nsa.value_dim)"),
    ("NSA: window with the selected branch's tokens", "engine/attention_nsa.c",
     "step->ws->nsa.token[NSA_WINDOW] +", "step->ws->nsa.token[NSA_SELECTED] +"),
    ("NSA: entries of the selected branch's tokens", "engine/nsa_compress.c",
     "return step->ws->nsa.token[NSA_COMPRESSED] +", "return step->ws->nsa.token[NSA_SELECTED] +"),
    ("NSA: kept tokens read one late", "engine/nsa_compress.c",
     "position % config->nsa.compress_block * values;", "(position + 1) % config->nsa.compress_block * values;"),
    ("NSA: entry of the row, not of its number", "engine/nsa_compress.c",
     "*ret = (row - before) * config->nsa.compress_stride;", "*ret = (row - before + 1) * config->nsa.compress_stride - 1;"),
    ("NSA: positions inside a block dropped", "engine/nsa_compress.c",
     "row[k] + bf16_to_float(w->position[t * dim + k]);", "row[k];"),
    ("NSA: learned compression without max(0, x)", "engine/nsa_compress.c", "b->inner[i] < 0.0f", "b->inner[i] < -1e30f"),
    ("NSA: mean of one token less", "engine/nsa_compress.c", "entry[k] /= (float)n_tokens;",
     "entry[k] /= (float)(n_tokens - 1);"),

    # Latent attention, and the routers of V2 and V3
    ("MLA: latent not normed", "engine/attention_mla.c",
     "e->backend->rmsnorm(kv, w->kv_norm, c->kv_lora_rank,", "e->backend->rmsnorm(kv, w->kv_norm, 0 * c->kv_lora_rank,"),
    ("MLA: rotated part normed too", "engine/attention_mla.c",
     "e->backend->rmsnorm(kv, w->kv_norm, c->kv_lora_rank,", "e->backend->rmsnorm(kv + c->rope_dim, w->kv_norm, c->kv_lora_rank,"),
    ("MLA: key of a token not rotated", "engine/attention_mla.c",
     "e->backend->rope(kv, 1, n, ws->cos[ROPE_MAIN] + (size_t)r * pairs,\n"
     "                                 ws->sin[ROPE_MAIN] + (size_t)r * pairs, pairs,",
     "e->backend->rope(kv, 1, n, ws->cos[ROPE_MAIN] + (size_t)r * pairs,\n"
     "                                 ws->sin[ROPE_MAIN] + (size_t)r * pairs, 0,"),
    ("MLA: scale without YaRN's magnitude", "engine/attention_mla.c",
     "return (float)(m * m / sqrt((double)c->head_dim));", "return (float)(1.0 / sqrt((double)c->head_dim));"),
    ("MLA: magnitude not squared", "engine/attention_mla.c",
     "return (float)(m * m / sqrt((double)c->head_dim));", "return (float)(m / sqrt((double)c->head_dim));"),
    ("MLA: scale of the part without rotation", "engine/attention_mla.c",
     "return (float)(m * m / sqrt((double)c->head_dim));", "return (float)(m * m / sqrt((double)c->nope_dim));"),
    ("MLA: keys and values of a head swapped", "engine/attention_mla.c",
     ".w = matrix_rows(job->w, h * (c->nope_dim + c->v_dim), c->nope_dim),",
     ".w = matrix_rows(job->w, h * (c->nope_dim + c->v_dim) + c->v_dim, c->nope_dim),"),
    ("MLA: a row short", "engine/attention_mla.c",
     ".n_keys = (uint32_t)ws->position[r] + 1,", ".n_keys = (uint32_t)ws->position[r] + (ws->position[r] == 0),"),
    ("MLA: low-rank query not normed", "engine/attention_mla.c",
     "e->backend->rmsnorm(qr, w->q_norm, c->q_lora_rank,", "e->backend->rmsnorm(qr, w->q_norm, 0 * c->q_lora_rank,"),
    ("V3: YaRN left out", "engine/config/deepseek_v3.c",
     "config_rope_scaling(in, true, yarn);", "config_rope_scaling(in, true, yarn), yarn->enabled = false;"),
    ("V3: softmax over no more than the first experts", "engine/router.c",
     "case ROUTER_SOFTMAX: softmax(z, e->config.n_experts); break;",
     "case ROUTER_SOFTMAX: softmax(z, e->config.n_experts - 1); break;"),
    ("V3: groups not limited", "engine/router.c", "if (c->n_groups > 1)", "if (c->n_groups > 1000)"),
    ("V3: one group more", "engine/router.c",
     "topk_select(ws->group_score, c->n_groups, c->n_groups_chosen,", "topk_select(ws->group_score, c->n_groups, c->n_groups_chosen + 1,"),
    ("V3: groups by their best expert in V3 too", "engine/router.c",
     "return kind == GROUP_BEST ? best : best + second;", "return kind == GROUP_BEST ? best : best;"),
    ("V3: groups by their two best in V2 too", "engine/router.c",
     "return kind == GROUP_BEST ? best : best + second;", "return kind == GROUP_BEST ? best + second : best + second;"),
    ("V3: experts of other groups at 0 instead of out", "engine/router.c",
     "score[g * n + i] = -INFINITY;", "score[g * n + i] = 0.0f;"),
    ("V3: V2's weights renormalised", "engine/config/deepseek_v3.c",
     "config_off(in, \"norm_topk_prob\");", "config_off(in, \"norm_topk_prob\"), c->norm_topk_prob = true;"),
    ("V3: routing weight left out", "engine/moe.c", "rows[i * d + k] *= weight[i];", "rows[i * d + k] *= 1.0f + 0.0f * weight[i];"),
    ("V3: first layer with experts too early", "engine/config/deepseek_v3.c",
     "l < n_dense ? FEED_FORWARD_DENSE", "l + 1 < n_dense ? FEED_FORWARD_DENSE"),
    ("V3: float scales of the next tile", "engine/cpu/reference.c",
     "matrix_row_float_scales(w, row)[i / w->tile];", "matrix_row_float_scales(w, row)[i / w->tile ^ (w->k > w->tile)];"),
    ("V3: slices begin with their tile", "engine/matrix.h",
     "rows.tile_row = matrix_is_fp8(w) ? (w->tile_row + first) % w->tile : 0;", "rows.tile_row = 0;"),

    # Head
    ("head's mix over all streams alike", "engine/residual.c",
     "        .leave = leave_single_pass,\n        .end = collapse,",
     "        .leave = leave_single_pass,\n        .end = end_plain,"),
]
