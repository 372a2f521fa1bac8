#include "engine/sampler.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/error.h"
#include "engine/numerics.h"
#include "engine/philox.h"

/* Above, the distribution is flat for every model: 100 makes logits of ±100 differ by a factor of
 * e^2. */
#define TEMPERATURE_MAX 100.0f

struct candidate {
        double weight; /* probability under the temperature, times a common factor: 1 for the
                          likeliest */
        float logit;
        uint32_t id;
};

/* Candidates in the first n_heap places, likeliest at the root; those taken out follow, the first
 * taken last. */
struct sampler {
        uint32_t vocab_size, n_heap, n;
        struct candidate candidates[];
};

static int check_range(const char *field, float value, float max, struct error *err) {
        if (value >= 0 && value <= max) /* false for a NaN */
                return 0;
        return error_set(err, -EINVAL, "%s: %g is outside 0..%g", field, (double)value,
                         (double)max);
}

int sampling_check(const struct sampling *sampling, struct error *err) {
        int r = check_range("temperature", sampling->temperature, TEMPERATURE_MAX, err);
        if (r == 0)
                r = check_range("top_p", sampling->top_p, 1, err);
        if (r == 0)
                r = check_range("min_p", sampling->min_p, 1, err);
        return r;
}

int sampler_new(uint32_t vocab_size, struct sampler **ret) {
        if (vocab_size == 0)
                return -EINVAL;
        struct sampler *sampler =
                malloc(sizeof(*sampler) + vocab_size * sizeof(*sampler->candidates));
        if (!sampler)
                return -ENOMEM;
        *sampler = (struct sampler){ .vocab_size = vocab_size };
        *ret = sampler;
        return 0;
}

struct sampler *sampler_free(struct sampler *sampler) {
        free(sampler);
        return NULL;
}

/* e^x for x <= 0. Single precision is a few times faster, over a whole vocabulary milliseconds, and
 * moves no probability by more than four parts in a million; sums are double. */
static double weight_of(double x) {
        return (double)math_expf((float)x);
}

static bool may_come(const uint64_t *allowed, uint32_t id) {
        return !allowed || (allowed[id / 64] >> id % 64 & 1);
}

/* The first allowed one at or behind `id`; `n` when there is none. */
static uint32_t next_allowed(const uint64_t *allowed, uint32_t id, uint32_t n) {
        while (id < n && !may_come(allowed, id)) {
                uint64_t rest = allowed[id / 64] >> id % 64;
                id = rest != 0 ? id + (uint32_t)__builtin_ctzll(rest) : (id / 64 + 1) * 64;
        }
        return id < n ? id : n;
}

static uint32_t likeliest(const float *logits, const uint64_t *allowed, uint32_t n) {
        uint32_t best = next_allowed(allowed, 0, n);
        for (uint32_t id = best; id < n; id = next_allowed(allowed, id + 1, n))
                if (logits[id] > logits[best])
                        best = id;
        return best;
}

/* Likelier, or as likely and lower: the one order in which tokens are kept, dropped and walked. */
static bool precedes(const struct candidate *a, const struct candidate *b) {
        return a->logit > b->logit || (!(a->logit < b->logit) && a->id < b->id);
}

/* Lets candidates[at] sink until no child comes before it; `last_first` turns the order around. */
static void sink(struct candidate *heap, uint32_t n, uint32_t at, bool last_first) {
        struct candidate moving = heap[at];
        for (;;) {
                uint32_t child = 2 * at + 1;
                if (child >= n)
                        break;
                if (child + 1 < n && precedes(&heap[child + 1], &heap[child]) != last_first)
                        child++;
                if (precedes(&heap[child], &moving) == last_first)
                        break;
                heap[at] = heap[child];
                at = child;
        }
        heap[at] = moving;
}

static void make_heap(struct candidate *heap, uint32_t n, bool last_first) {
        for (uint32_t at = n / 2; at-- > 0;)
                sink(heap, n, at, last_first);
}

/* The k first in order: the root of a heap that has the last of them on top gives way to each one
 * that comes before. */
static void take_top_k(struct sampler *sampler, const float *logits, const uint64_t *allowed,
                       uint32_t k) {
        struct candidate *heap = sampler->candidates;
        uint32_t n = sampler->vocab_size, id = next_allowed(allowed, 0, n), n_heap = 0;
        for (; n_heap < k && id < n; id = next_allowed(allowed, id + 1, n))
                heap[n_heap++] = (struct candidate){ .logit = logits[id], .id = id };
        make_heap(heap, n_heap, true);
        for (; id < n; id = next_allowed(allowed, id + 1, n)) {
                /* Ids ascend, so of equals the one that is in stays. */
                if (!(logits[id] > heap[0].logit))
                        continue;
                heap[0] = (struct candidate){ .logit = logits[id], .id = id };
                sink(heap, n_heap, 0, true);
        }
        sampler->n = n_heap;
}

static void take_all(struct sampler *sampler, const float *logits, const uint64_t *allowed) {
        uint32_t n = sampler->vocab_size;
        sampler->n = 0;
        for (uint32_t id = next_allowed(allowed, 0, n); id < n;
             id = next_allowed(allowed, id + 1, n))
                sampler->candidates[sampler->n++] =
                        (struct candidate){ .logit = logits[id], .id = id };
}

/* Weight of the tokens that top_k leaves, and of those among them that min_p leaves as well: top_p
 * comes in between and goes by the former. */
struct mass {
        double all, kept;
};

/* Fills the heap. Sums run in ascending id, after top_k in the order of its heap. */
static struct mass gather(struct sampler *sampler, const float *logits, const uint64_t *allowed,
                          const struct sampling *sampling, float max) {
        if (sampling->top_k == 0 || sampling->top_k >= sampler->vocab_size)
                take_all(sampler, logits, allowed);
        else
                take_top_k(sampler, logits, allowed, sampling->top_k);
        struct candidate *candidates = sampler->candidates;
        struct mass mass = { 0 };
        double temperature = (double)sampling->temperature;
        uint32_t n = 0;
        for (uint32_t i = 0; i < sampler->n; i++) {
                struct candidate candidate = candidates[i];
                candidate.weight = weight_of(((double)candidate.logit - (double)max) / temperature);
                mass.all += candidate.weight;
                if (candidate.weight < (double)sampling->min_p)
                        continue;
                mass.kept += candidate.weight;
                candidates[n++] = candidate;
        }
        sampler->n = sampler->n_heap = n;
        make_heap(candidates, n, false);
        return mass;
}

/* Takes the next in order out of the heap; it stays behind it. */
static const struct candidate *take(struct sampler *sampler) {
        struct candidate *heap = sampler->candidates, first = heap[0];
        uint32_t last = --sampler->n_heap;
        heap[0] = heap[last];
        if (last > 0)
                sink(heap, last, 0, false);
        heap[last] = first;
        return &heap[last];
}

/* Uniform in [0, 1), 53 bits: key = seed, counter = position. */
static double uniform(uint64_t seed, uint64_t position) {
        const uint32_t counter[4] = { (uint32_t)position, (uint32_t)(position >> 32) };
        const uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };
        uint32_t random[4];
        philox4x32(counter, key, random);
        return (double)(((uint64_t)random[1] << 32 | random[0]) >> 11) * 0x1p-53;
}

/* Takes tokens in order until they cover `u` of the kept weight. */
static uint32_t pick_lazily(struct sampler *sampler, double kept, double u) {
        double covered = 0;
        uint32_t id = sampler->candidates[0].id;
        while (sampler->n_heap > 0 && covered <= u * kept) {
                const struct candidate *next = take(sampler);
                if (next->weight <= 0) /* only rounding can lead here */
                        break;
                covered += next->weight;
                id = next->id;
        }
        return id;
}

/* Takes the smallest set that has the mass top_p, then walks it in order. */
static uint32_t pick_from_top_p(struct sampler *sampler, double enough, double u) {
        double kept = 0;
        do
                kept += take(sampler)->weight;
        while (sampler->n_heap > 0 && kept < enough && sampler->candidates[0].weight > 0);
        uint32_t i = sampler->n - 1;
        double covered = sampler->candidates[i].weight;
        while (i > sampler->n_heap && covered <= u * kept)
                covered += sampler->candidates[--i].weight;
        return sampler->candidates[i].id;
}

static float log_probability(const float *logits, uint32_t n, uint32_t id) {
        float max = logits[likeliest(logits, NULL, n)];
        double sum = 0;
        for (uint32_t i = 0; i < n; i++)
                sum += weight_of((double)logits[i] - (double)max);
        return (float)((double)logits[id] - (double)max - math_log(sum));
}

uint32_t sampler_draw(struct sampler *sampler, const float *logits, const uint64_t *allowed,
                      const struct sampling *sampling, uint64_t position, float *ret_logprob) {
        uint32_t id = likeliest(logits, allowed, sampler->vocab_size);
        if (sampling->temperature > 0) {
                double u = uniform(sampling->seed, position), top_p = (double)sampling->top_p;
                struct mass mass = gather(sampler, logits, allowed, sampling, logits[id]);
                id = top_p >= 1 ? pick_lazily(sampler, mass.kept, u)
                                : pick_from_top_p(sampler, top_p * mass.all, u);
        }
        if (ret_logprob)
                *ret_logprob = log_probability(logits, sampler->vocab_size, id);
        return id;
}
