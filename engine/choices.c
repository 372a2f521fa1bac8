#include "engine/choices.h"

#include "engine/step.h"

static const char *const names[CHOICE_VALUES_MAX] = {
        [CHOICE_WINDOW] = "window",
        [CHOICE_LATENT] = "latent",
        [CHOICE_INDEX_KEY] = "index_key",
        [CHOICE_INDEX_QUERY] = "index_query",
        [CHOICE_WQ_A] = "wq_a.input",
        [CHOICE_WQ_B] = "wq_b.input",
        [CHOICE_WO_B] = "wo_b.input",
        [CHOICE_EXPERTS_W1] = "experts.w1.input",
        [CHOICE_EXPERTS_W2] = "experts.w2.input",
        [CHOICE_SHARED_W2] = "shared_experts.w2.input",
        [CHOICE_ENGRAM_WKV] = "engram.wkv.input",
};

const char *choice_values_name(enum choice_values kind) {
        return names[kind];
}

/* A matrix is known by where it lies: in a layer's weights, or in the table of all experts. */
static bool layer_input(const struct layer_weights *layer, const struct matrix *w,
                        enum choice_values *ret) {
        const struct {
                const struct matrix *w;
                enum choice_values kind;
        } inputs[] = {
                { &layer->wq_a, CHOICE_WQ_A },
                { &layer->wq_b, CHOICE_WQ_B },
                { &layer->wo_b, CHOICE_WO_B },
                { &layer->shared.gate, CHOICE_EXPERTS_W1 },
                { &layer->shared.down, CHOICE_SHARED_W2 },
                { &layer->engram.wkv, CHOICE_ENGRAM_WKV },
        };
        for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++)
                if (inputs[i].w == w) {
                        *ret = inputs[i].kind;
                        return true;
                }
        return false;
}

/* The down projection of an expert: its rows are those that chose it. */
static void expert_input(const struct step *step, const struct matrix *w, uint32_t row, float *x) {
        const struct engine *e = step->engine;
        const struct workspace *ws = step->ws;
        uint32_t k = e->config.n_experts_per_token, r = ws->expert_rows[row], slot = 0;
        size_t index = (size_t)((const uint8_t *)w - (const uint8_t *)e->weights.experts) /
                sizeof(*e->weights.experts);
        uint32_t layer = (uint32_t)(index / e->config.n_experts);

        while (slot + 1 < k && ws->expert[(size_t)r * k + slot] != index % e->config.n_experts)
                slot++;
        e->choices->values(e->choices->userdata, CHOICE_EXPERTS_W2, layer, ws->position[r], slot,
                           w->k, x);
}

void choices_linear_input(const struct step *step, const struct matrix *w, uint32_t row, float *x) {
        const struct engine *e = step->engine;
        if (!e->choices || !e->choices->values)
                return;
        const struct weights *weights = &e->weights;
        uintptr_t at = (uintptr_t)w;
        size_t n_experts = (size_t)e->config.n_layers * e->config.n_experts;
        if (at >= (uintptr_t)weights->experts && at < (uintptr_t)(weights->experts + n_experts)) {
                expert_input(step, w, row, x);
                return;
        }
        for (uint32_t l = 0; l < e->config.n_layers; l++) {
                enum choice_values kind;
                if (!layer_input(&weights->layer[l], w, &kind))
                        continue;
                e->choices->values(e->choices->userdata, kind, l, step->ws->position[row], 0, w->k,
                                   x);
                return;
        }
}
