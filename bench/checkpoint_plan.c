#include "bench/checkpoint_plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define ALIGNMENT    8
#define LENGTH_BYTES 8 /* of the header's length, in front of it */

struct builder {
        struct checkpoint_plan *plan;
        uint64_t seed;
};

/* Shards and tensors grow by doubling; contents move, so pointers are taken afterwards. */
static void *grown(void *items, size_t n, size_t *capacity, size_t bytes) {
        if (n < *capacity)
                return items;
        size_t wanted = *capacity ? *capacity * 2 : 16;
        void *more = reallocarray(items, wanted, bytes);
        if (more)
                *capacity = wanted;
        return more;
}

static int add_tensor(void *userdata, const struct tensor_entry *entry) {
        struct builder *b = userdata;
        struct checkpoint_plan *plan = b->plan;
        if (entry->group >= plan->n_shards) {
                size_t capacity = plan->n_shards;
                struct planned_shard *shards =
                        grown(plan->shards, capacity, &capacity, sizeof(*shards));
                if (!shards)
                        return -ENOMEM;
                memset(shards + plan->n_shards, 0, (capacity - plan->n_shards) * sizeof(*shards));
                plan->shards = shards;
                plan->n_shards = entry->group + 1;
        }
        struct planned_shard *shard = &plan->shards[entry->group];
        struct planned_tensor *tensors =
                grown(shard->tensors, shard->n, &shard->capacity, sizeof(*tensors));
        if (!tensors)
                return -ENOMEM;
        shard->tensors = tensors;
        struct planned_tensor *tensor = &tensors[shard->n];
        *tensor = (struct planned_tensor){
                .dtype = entry->dtype,
                .n_dims = entry->n_dims,
                .shape = { entry->shape[0], entry->shape[1] },
                .offset = shard->n++, /* until place(): the order they came in */
                .bytes = entry->bytes,
                .rule = value_rule(entry, b->seed),
        };
        memcpy(tensor->name, entry->name, sizeof(tensor->name));
        plan->n_tensors++;
        plan->n_parameters += entry->parameters;
        plan->data_bytes += entry->bytes;
        return 0;
}

/* 0 for those that keep the alignment, else higher for narrower elements. */
static int rank(const struct planned_tensor *tensor) {
        return tensor->bytes % ALIGNMENT == 0 ? 0 : ALIGNMENT - (int)dtype_bytes(tensor->dtype);
}

static int compare_rank(const void *a, const void *b) {
        const struct planned_tensor *x = a, *y = b;
        if (rank(x) != rank(y))
                return rank(x) - rank(y);
        return (x->offset > y->offset) - (x->offset < y->offset);
}

static void place(struct planned_shard *shard) {
        qsort(shard->tensors, shard->n, sizeof(*shard->tensors), compare_rank);
        for (size_t i = 0; i < shard->n; i++) {
                shard->tensors[i].offset = shard->data_bytes;
                shard->data_bytes += shard->tensors[i].bytes;
        }
}

static void print_entry(FILE *out, const struct planned_tensor *t) {
        fprintf(out, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%" PRIu64, t->name, dtype_name(t->dtype),
                t->shape[0]);
        if (t->n_dims > 1)
                fprintf(out, ",%" PRIu64, t->shape[1]);
        fprintf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", t->offset,
                t->offset + t->bytes);
}

/* Names hold letters, digits, dots and underscores: nothing to escape. */
static int make_header(struct planned_shard *shard) {
        FILE *out = open_memstream(&shard->header, &shard->header_bytes);
        if (!out)
                return -ENOMEM;
        fprintf(out, "%*s{\"__metadata__\":{\"format\":\"pt\"}", LENGTH_BYTES, "");
        for (size_t i = 0; i < shard->n; i++)
                print_entry(out, &shard->tensors[i]);
        fputc('}', out);
        while (ftello(out) % ALIGNMENT != 0)
                fputc(' ', out);
        if (ferror(out) | fclose(out))
                return -ENOMEM;
        uint64_t length = shard->header_bytes - LENGTH_BYTES;
        for (unsigned i = 0; i < LENGTH_BYTES; i++)
                shard->header[i] = (char)(length >> (8 * i));
        return 0;
}

int checkpoint_plan_make(const struct tensor_table *table, uint64_t seed,
                         struct checkpoint_plan *ret, struct error *err) {
        struct checkpoint_plan plan = { 0 };
        struct builder builder = { &plan, seed };
        int r = tensor_table_visit(table, add_tensor, &builder);
        for (size_t i = 0; r == 0 && i < plan.n_shards; i++) {
                struct planned_shard *shard = &plan.shards[i];
                snprintf(shard->name, sizeof(shard->name), "model-%05zu-of-%05zu.safetensors",
                         i + 1, plan.n_shards);
                place(shard);
                r = make_header(shard);
                plan.file_bytes += shard->header_bytes + shard->data_bytes;
        }
        if (r < 0) {
                checkpoint_plan_deinit(&plan);
                return error_set(err, r, "out of memory for the list of tensors");
        }
        *ret = plan;
        return 0;
}

void checkpoint_plan_deinit(struct checkpoint_plan *plan) {
        for (size_t i = 0; i < plan->n_shards; i++) {
                free(plan->shards[i].tensors);
                free(plan->shards[i].header);
        }
        free(plan->shards);
        *plan = (struct checkpoint_plan){ 0 };
}

/* The tensor that holds byte `offset` of the data. */
static const struct planned_tensor *tensor_at(const struct planned_shard *shard, uint64_t offset) {
        size_t low = 0, high = shard->n;
        while (high - low > 1) {
                size_t middle = (low + high) / 2;
                if (shard->tensors[middle].offset <= offset)
                        low = middle;
                else
                        high = middle;
        }
        return &shard->tensors[low];
}

void checkpoint_plan_fill(const struct planned_shard *shard, uint64_t offset, size_t n,
                          uint8_t *ret) {
        if (offset < shard->header_bytes) {
                size_t part = shard->header_bytes - offset < n ? shard->header_bytes - offset : n;
                memcpy(ret, shard->header + offset, part);
                offset += part;
                ret += part;
                n -= part;
        }
        if (n == 0)
                return;
        uint64_t at = offset - shard->header_bytes;
        for (const struct planned_tensor *t = tensor_at(shard, at); n > 0; t++) {
                uint64_t skip = at - t->offset, left = t->bytes - skip;
                size_t part = left < n ? left : n;
                values_fill(&t->rule, skip, part, ret);
                at += part;
                ret += part;
                n -= part;
        }
}

char *checkpoint_plan_index(const struct checkpoint_plan *plan, size_t *ret_n) {
        char *text = NULL;
        FILE *out = open_memstream(&text, ret_n);
        if (!out)
                return NULL;
        fprintf(out, "{\"metadata\":{\"total_size\":%" PRIu64 "},\"weight_map\":{",
                plan->data_bytes);
        for (size_t i = 0; i < plan->n_shards; i++)
                for (size_t k = 0; k < plan->shards[i].n; k++)
                        fprintf(out, "%s\n\"%s\":\"%s\"", i + k > 0 ? "," : "",
                                plan->shards[i].tensors[k].name, plan->shards[i].name);
        fputs("\n}}\n", out);
        if (ferror(out) | fclose(out)) {
                free(text);
                return NULL;
        }
        return text;
}
