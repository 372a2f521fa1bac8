/* The operations of backend.h in plain C: the specification that every other backend is compared
 * with. Formulas: DeepSeek-V4.1's released inference code, as described in engine/README.md. */
#include "engine/cpu/reference.h"
#include "engine/numerics.h"

static float rounded(float x, bool round) {
        return round ? bf16_round(x) : x;
}

static float dot(const float *a, const float *b, uint32_t n) {
        float lane[LANES] = { 0 };
        for (uint32_t i = 0; i < n; i++)
                lane[i % LANES] = fmaf(a[i], b[i], lane[i % LANES]);
        return lanes_sum(lane);
}

/* Element [row][i] of a weight matrix: where every format is defined. */
static float weight_at(const struct matrix *w, uint32_t row, uint32_t i) {
        const uint8_t *bytes = (const uint8_t *)w->data + row * matrix_row_bytes(w);
        switch (w->format) {
        case WEIGHT_F32: return ((const float *)w->data)[(size_t)row * w->k + i];
        case WEIGHT_BF16: return bf16_to_float(((const uint16_t *)w->data)[(size_t)row * w->k + i]);
        case WEIGHT_FP8:
                return e4m3_decode(bytes[i]) * ue8m0_decode(matrix_row_scales(w, row)[i / w->tile]);
        case WEIGHT_FP8_F32:
                return e4m3_decode(bytes[i]) * matrix_row_float_scales(w, row)[i / w->tile];
        case WEIGHT_FP4:
                return e2m1_decode(bytes[i / 2] >> (i % 2 * 4) & 15) *
                        ue8m0_decode(matrix_row_scales(w, row)[i / WEIGHT_BLOCK]);
        }
        return 0.0f;
}

static float matrix_dot(const struct matrix *w, uint32_t row, const float *x) {
        float lane[LANES] = { 0 };
        for (uint32_t i = 0; i < w->k; i++)
                lane[i % LANES] = fmaf(weight_at(w, row, i), x[i], lane[i % LANES]);
        return lanes_sum(lane);
}

static void matmul(const struct matmul *m, uint32_t first, uint32_t last) {
        for (uint32_t r = 0; r < m->n_rows; r++)
                for (uint32_t i = first; i < last; i++)
                        m->y[r * m->y_stride + i] =
                                rounded(matrix_dot(&m->w, i, m->x + r * m->x_stride), m->round);
}

static void matmul_transposed(const struct matmul *m, uint32_t first, uint32_t last) {
        for (uint32_t r = 0; r < m->n_rows; r++)
                for (uint32_t j = first; j < last; j++) {
                        float lane[LANES] = { 0 };
                        for (uint32_t i = 0; i < m->w.n; i++)
                                lane[i % LANES] = fmaf(weight_at(&m->w, i, j),
                                                       m->x[r * m->x_stride + i], lane[i % LANES]);
                        m->y[r * m->y_stride + j] = rounded(lanes_sum(lane), m->round);
                }
}

static float rms_scale(const float *x, uint32_t n, float eps) {
        return 1.0f / sqrtf(dot(x, x, n) / (float)n + eps);
}

static void rmsnorm(const float *x, const uint16_t *weight, uint32_t n, float eps, bool round,
                    float *y) {
        float r = rms_scale(x, n, eps);
        for (uint32_t i = 0; i < n; i++)
                y[i] = rounded(x[i] * r * (weight ? bf16_to_float(weight[i]) : 1.0f), round);
}

void reference_rope(float *x, uint32_t n_vectors, uint32_t dim, const float *cos, const float *sin,
                    uint32_t n_pairs, bool inverse, bool round) {
        for (uint32_t v = 0; v < n_vectors; v++) {
                float *tail = x + (size_t)v * dim + dim - 2 * n_pairs;
                for (uint32_t i = 0; i < n_pairs; i++) {
                        float a = tail[2 * i], b = tail[2 * i + 1], c = cos[i],
                              s = inverse ? -sin[i] : sin[i];
                        tail[2 * i] = rounded(a * c - b * s, round);
                        tail[2 * i + 1] = rounded(a * s + b * c, round);
                }
        }
}

static void hadamard_vector(float *x, uint32_t dim) {
        for (uint32_t apart = 1; apart < dim; apart *= 2)
                for (uint32_t first = 0; first < dim; first += 2 * apart)
                        for (uint32_t i = first; i < first + apart; i++) {
                                float a = x[i], b = x[i + apart];
                                x[i] = a + b;
                                x[i + apart] = a - b;
                        }
}

void reference_hadamard(float *x, uint32_t n_vectors, uint32_t dim, bool round) {
        float scale = 1.0f / sqrtf((float)dim);
        for (uint32_t v = 0; v < n_vectors; v++, x += dim) {
                hadamard_vector(x, dim);
                for (uint32_t i = 0; i < dim; i++)
                        x[i] = rounded(x[i] * scale, round);
        }
}

/* Mean and variance in the order of a dot product; the deviations are taken before they are
 * squared, so that a large mean costs no digits. */
void reference_layernorm(const float *x, const float *weight, const float *bias, uint32_t n,
                         float eps, bool round, float *y) {
        float lane[LANES] = { 0 };
        for (uint32_t i = 0; i < n; i++)
                lane[i % LANES] += x[i];
        float mean = lanes_sum(lane) / (float)n;
        float square[LANES] = { 0 };
        for (uint32_t i = 0; i < n; i++)
                square[i % LANES] = fmaf(x[i] - mean, x[i] - mean, square[i % LANES]);
        float r = 1.0f / sqrtf(lanes_sum(square) / (float)n + eps);
        for (uint32_t i = 0; i < n; i++)
                y[i] = rounded((x[i] - mean) * r * weight[i] + bias[i], round);
}

void reference_rope_half(float *x, uint32_t n_vectors, uint32_t dim, const float *cos,
                         const float *sin, uint32_t n_pairs, bool round) {
        for (uint32_t v = 0; v < n_vectors; v++) {
                float *first = x + (size_t)v * dim, *second = first + n_pairs;
                for (uint32_t i = 0; i < n_pairs; i++) {
                        float a = first[i], b = second[i];
                        first[i] = rounded(a * cos[i] - b * sin[i], round);
                        second[i] = rounded(b * cos[i] + a * sin[i], round);
                }
        }
}

static void fp8_round(const float *x, uint32_t n, uint32_t block, float *y) {
        for (uint32_t i = 0; i < n; i += block)
                fp8_round_block(x + i, block, y + i);
}

static void unpack_rows(enum row_format format, const uint8_t *rows, uint32_t n_rows, uint32_t n,
                        float *x) {
        for (uint32_t r = 0; r < n_rows; r++)
                row_unpack(format, rows + r * row_bytes(format, n), n, x + (size_t)r * n);
}

static void unpack_slots(enum row_format format, const struct kv_slot *rows, uint32_t n_rows,
                         uint32_t n, float *x) {
        for (uint32_t r = 0; r < n_rows; r++)
                row_unpack(format, rows[r].row, n, x + (size_t)r * n);
}

static const float *attend_key(const struct attend *a, uint32_t i) {
        return i < a->n_keys[0] ? a->keys[0] + (size_t)i * a->dim
                                : a->keys[1] + (size_t)(i - a->n_keys[0]) * a->dim;
}

static void attend_head(const struct attend *a, uint32_t head) {
        const float *q = a->q + (size_t)head * a->dim;
        float *o = a->o + (size_t)head * a->dim, *w = a->scratch;
        uint32_t n = a->n_keys[0] + a->n_keys[1];

        float max = -1e30f; /* the released kernel's start value: a row without keys then yields
                               zeros */
        for (uint32_t i = 0; i < n; i++) {
                w[i] = dot(attend_key(a, i), q, a->dim) * a->scale;
                max = w[i] > max ? w[i] : max;
        }
        float lane[LANES] = { 0 };
        for (uint32_t i = 0; i < n; i++) {
                w[i] = math_expf(w[i] - max);
                lane[i % LANES] += w[i];
                w[i] = rounded(w[i], a->round);
        }
        float denominator = lanes_sum(lane) + math_expf(a->sinks[head] - max);

        for (uint32_t d = 0; d < a->dim; d++)
                o[d] = 0.0f;
        for (uint32_t i = 0; i < n; i++)
                for (uint32_t d = 0; d < a->dim; d++)
                        o[d] = fmaf(w[i], attend_key(a, i)[d], o[d]);
        for (uint32_t d = 0; d < a->dim; d++)
                o[d] = rounded(o[d] / denominator, a->round);
}

static void attend(const struct attend *a) {
        for (uint32_t head = 0; head < a->n_heads; head++)
                attend_head(a, head);
}

static float largest(const float *x, uint32_t n) {
        float max = -1e30f;
        for (uint32_t i = 0; i < n; i++)
                max = x[i] > max ? x[i] : max;
        return max;
}

static void attend_group_head(const struct attend_group *a, uint32_t head) {
        const float *q = a->q + (size_t)head * a->key_dim;
        float *o = a->o + (size_t)head * a->value_dim, *w = a->scratch;
        for (uint32_t i = 0; i < a->n_keys; i++)
                w[i] = dot(a->keys + i * a->key_stride, q, a->key_dim) * a->scale;

        float lane[LANES] = { 0 }, max = largest(w, a->n_keys);
        for (uint32_t i = 0; i < a->n_keys; i++) {
                w[i] = math_expf(w[i] - max);
                lane[i % LANES] += w[i];
        }
        float denominator = lanes_sum(lane);

        for (uint32_t d = 0; d < a->value_dim; d++)
                o[d] = 0.0f;
        for (uint32_t i = 0; i < a->n_keys; i++) {
                if (a->shares)
                        a->shares[i] += w[i] / denominator;
                w[i] = rounded(w[i], a->round);
                for (uint32_t d = 0; d < a->value_dim; d++)
                        o[d] = fmaf(w[i], a->values[i * a->value_stride + d], o[d]);
        }
        for (uint32_t d = 0; d < a->value_dim && a->n_keys > 0; d++)
                o[d] = rounded(o[d] / denominator, a->round);
}

static void attend_group(const struct attend_group *a) {
        for (uint32_t i = 0; a->shares && i < a->n_keys; i++)
                a->shares[i] = 0.0f;
        for (uint32_t head = 0; head < a->n_heads; head++)
                attend_group_head(a, head);
}

static void index_scores(const float *q, const float *w, uint32_t n_heads, uint32_t dim,
                         const float *keys, uint32_t n_keys, float *s) {
        for (uint32_t i = 0; i < n_keys; i++) {
                s[i] = 0.0f;
                for (uint32_t head = 0; head < n_heads; head++) {
                        float z = dot(keys + (size_t)i * dim, q + (size_t)head * dim, dim);
                        s[i] += w[head] * (z > 0.0f ? z : 0.0f);
                }
        }
}

void reference_pool_pair(const float *value0, const float *gate0, const float *value1,
                         const float *gate1, uint32_t n, bool round, float *y) {
        for (uint32_t i = 0; i < n; i++) {
                float m = gate0[i] > gate1[i] ? gate0[i] : gate1[i];
                float w0 = math_expf(gate0[i] - m), w1 = math_expf(gate1[i] - m), sum = w0 + w1;
                y[i] = rounded(value0[i] * (w0 / sum) + value1[i] * (w1 / sum), round);
        }
}

void reference_pool_add(float *state, const float *value, const float *gate, const float *bias,
                        uint32_t n) {
        float *largest = state, *weights = state + n, *sum = state + 2 * (size_t)n;
        for (uint32_t i = 0; i < n; i++) {
                float g = gate[i] + bias[i], e = math_expf(-fabsf(g - largest[i]));
                bool larger = g > largest[i];
                float before = larger ? e : 1.0f, w = larger ? 1.0f : e;
                largest[i] = larger ? g : largest[i];
                weights[i] = weights[i] * before + w;
                sum[i] = fmaf(w, value[i], sum[i] * before);
        }
}

void reference_pool_close(const float *state, uint32_t n, bool round, float *y) {
        const float *weights = state + n, *sum = state + 2 * (size_t)n;
        for (uint32_t i = 0; i < n; i++)
                y[i] = rounded(sum[i] / weights[i], round);
}

static void softmax_row(float *row, uint32_t n, float eps) {
        float max = row[0], sum = 0.0f;
        for (uint32_t k = 1; k < n; k++)
                max = row[k] > max ? row[k] : max;
        for (uint32_t k = 0; k < n; k++) {
                row[k] = math_expf(row[k] - max);
                sum += row[k];
        }
        for (uint32_t k = 0; k < n; k++)
                row[k] = row[k] / sum + eps;
}

/* Divides every line of a square matrix by its sum: rows with (line, step) = (hc, 1), columns with
 * (1, hc). */
static void divide_by_sums(float *c, uint32_t hc, uint32_t line, uint32_t step, float eps) {
        for (uint32_t j = 0; j < hc; j++) {
                float sum = 0.0f;
                for (uint32_t k = 0; k < hc; k++)
                        sum += c[j * line + k * step];
                for (uint32_t k = 0; k < hc; k++)
                        c[j * line + k * step] /= sum + eps;
        }
}

static void sinkhorn(float *c, uint32_t hc, uint32_t iterations, float eps) {
        for (uint32_t j = 0; j < hc; j++)
                softmax_row(c + j * hc, hc, eps);
        divide_by_sums(c, hc, 1, hc, eps);
        for (uint32_t i = 1; i < iterations; i++) {
                divide_by_sums(c, hc, hc, 1, eps);
                divide_by_sums(c, hc, 1, hc, eps);
        }
}

void reference_hc_pre(const struct hc_mixes *c, const float *fx, float r, float *pre) {
        for (uint32_t i = 0; i < c->hc; i++)
                pre[i] = math_sigmoid(fx[i] * r * c->scale[0] + c->base[i]) + c->hc_eps;
}

void reference_hc_coefficients(const struct hc_mixes *c, const float *fx, float r, float *pre,
                               float *post, float *comb) {
        uint32_t hc = c->hc;
        reference_hc_pre(c, fx, r, pre);
        for (uint32_t i = 0; i < hc; i++)
                post[i] = 2.0f * math_sigmoid(fx[hc + i] * r * c->scale[1] + c->base[hc + i]);
        for (uint32_t i = 0; i < hc * hc; i++)
                comb[i] = fx[2 * hc + i] * r * c->scale[2] + c->base[2 * hc + i];
        sinkhorn(comb, hc, c->iterations, c->hc_eps);
}

static void hc_mixes(const struct hc_mixes *c, const float *fx, const float *x, uint32_t n,
                     float *pre, float *post, float *comb) {
        reference_hc_coefficients(c, fx, rms_scale(x, n, c->rms_eps), pre, post, comb);
}

static void hc_pre(const struct hc_mixes *c, const float *fx, const float *x, uint32_t n,
                   float *pre) {
        reference_hc_pre(c, fx, rms_scale(x, n, c->rms_eps), pre);
}

static void hc_collapse(const float *h, const float *pre, uint32_t hc, uint32_t n, bool round,
                        float *u) {
        for (uint32_t i = 0; i < n; i++) {
                float sum = 0.0f;
                for (uint32_t j = 0; j < hc; j++)
                        sum = fmaf(pre[j], h[(size_t)j * n + i], sum);
                u[i] = rounded(sum, round);
        }
}

static void hc_expand(float *h, const float *y, const float *post, const float *comb, uint32_t hc,
                      uint32_t n, bool round) {
        float mixed[HC_STREAMS_MAX];
        for (uint32_t i = 0; i < n; i++) {
                for (uint32_t k = 0; k < hc; k++) {
                        float sum = post[k] * y[i];
                        for (uint32_t j = 0; j < hc; j++)
                                sum = fmaf(comb[j * hc + k], h[(size_t)j * n + i], sum);
                        mixed[k] = rounded(sum, round);
                }
                for (uint32_t k = 0; k < hc; k++)
                        h[(size_t)k * n + i] = mixed[k];
        }
}

static void swiglu(const float *gate, const float *up, uint32_t n, float limit, float weight,
                   bool round, float *t) {
        for (uint32_t i = 0; i < n; i++) {
                float g = gate[i] > limit ? limit : gate[i];
                float u = up[i] > limit ? limit : up[i] < -limit ? -limit : up[i];
                t[i] = rounded(weight * math_silu(g) * u, round);
        }
}

void reference_router_scores(const float *z, uint32_t n, float *score) {
        for (uint32_t i = 0; i < n; i++)
                score[i] = sqrtf(math_softplus(z[i]));
}

static float weighted_dot(const float *h, const uint16_t *qw, const float *key, const uint16_t *kw,
                          uint32_t n) {
        float lane[LANES] = { 0 };
        for (uint32_t i = 0; i < n; i++) {
                float a = h[i] * bf16_to_float(qw[i]), b = key[i] * bf16_to_float(kw[i]);
                lane[i % LANES] = fmaf(a, b, lane[i % LANES]);
        }
        return lanes_sum(lane);
}

static void engram_gate(float *h, const float *key, const float *value, const uint16_t *q_weight,
                        const uint16_t *k_weight, uint32_t hc, uint32_t n, float eps, bool round) {
        for (uint32_t j = 0; j < hc; j++) {
                size_t at = (size_t)j * n;
                float z = weighted_dot(h + at, q_weight + at, key + at, k_weight + at, n) *
                        rms_scale(h + at, n, eps) * rms_scale(key + at, n, eps) / sqrtf((float)n);
                /* The comparison lets NaN pass. */
                float magnitude = sqrtf(fabsf(z) < 1e-6f ? 1e-6f : fabsf(z));
                float gate = math_sigmoid(copysignf(magnitude, z));
                for (uint32_t i = 0; i < n; i++)
                        h[at + i] = rounded(fmaf(gate, value[i], h[at + i]), round);
        }
}

void reference_add(float *y, const float *x, uint32_t n, bool round) {
        for (uint32_t i = 0; i < n; i++)
                y[i] = rounded(y[i] + x[i], round);
}

const struct backend backend_reference = {
        .name = "cpu reference",
        .matmul = matmul,
        .matmul_transposed = matmul_transposed,
        .rmsnorm = rmsnorm,
        .rope = reference_rope,
        .rope_half = reference_rope_half,
        .hadamard = reference_hadamard,
        .layernorm = reference_layernorm,
        .fp8_round = fp8_round,
        .row_unpack = unpack_rows,
        .slots_unpack = unpack_slots,
        .attend = attend,
        .attend_group = attend_group,
        .index_scores = index_scores,
        .pool_pair = reference_pool_pair,
        .pool_add = reference_pool_add,
        .pool_close = reference_pool_close,
        .hc_mixes = hc_mixes,
        .hc_pre = hc_pre,
        .hc_collapse = hc_collapse,
        .hc_expand = hc_expand,
        .swiglu = swiglu,
        .router_scores = reference_router_scores,
        .engram_gate = engram_gate,
        .add = reference_add,
};
