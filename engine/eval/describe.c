#include "engine/eval/describe.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/fd.h"
#include "engine/attention.h"
#include "engine/describe.h"
#include "engine/kv.h"
#include "engine/model_config.h"

#define TOKENS_1M (1U << 20)
#define GIB       (1ULL << 30)

/* Memory sizes of common devices, beside this machine's. */
static const unsigned device_gib[] = { 24, 48, 80, 96 };
#define N_DEVICES (sizeof(device_gib) / sizeof(device_gib[0]))

/* What the files hold of the table. */
struct presence {
        const struct checkpoint *checkpoint; /* NULL: a configuration alone */
        struct component_size found[N_COMPONENTS];
        uint64_t n_found, n_missing;
        char missing[96]; /* the first */
        uint64_t n_files_tensors, files_bytes;
};

struct subject {
        struct model_config config;
        struct tensor_table table;
        struct description description;
        struct presence presence;
};

static int look_up(void *userdata, const struct tensor_entry *entry) {
        struct presence *p = userdata;
        const struct tensor *tensor = checkpoint_find(p->checkpoint, entry->name);
        if (!tensor) {
                if (p->n_missing++ == 0)
                        memcpy(p->missing, entry->name, sizeof(p->missing));
                return 0;
        }
        struct component_size *found = &p->found[entry->component];
        found->n_tensors++;
        found->bytes += tensor->bytes;
        p->n_found++;
        return 0;
}

static void look_at_files(struct subject *s) {
        struct presence *p = &s->presence;
        p->n_files_tensors = checkpoint_n_tensors(p->checkpoint);
        for (size_t i = 0; i < p->n_files_tensors; i++)
                p->files_bytes += checkpoint_tensor(p->checkpoint, i)->bytes;
        tensor_table_visit(&s->table, look_up, p);
}

static int read_config(const char *path, struct subject *s, struct error *err) {
        struct file_map map CLEANUP(file_map_close) = { 0 };
        int r = file_map_open(path, &map, err);
        if (r < 0)
                return r;
        CLEANUP_FREE char *text = strndup(map.data ? (const char *)map.data : "", map.bytes);
        if (!text)
                return error_set(err, -ENOMEM, "%s: out of memory", path);
        r = model_config_parse(path, text, &s->config, err);
        if (r < 0)
                return r;
        s->table.config = &s->config;
        return other_parts_parse(path, text, strlen(text), &s->table.parts, err);
}

/* -------- for people -------- */

/* Bytes with three digits and a unit. */
static const char *bytes_text(uint64_t bytes, char ret[16]) {
        static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
        double value = (double)bytes;
        unsigned unit = 0;
        for (; value >= 1000 && unit < 4; unit++)
                value /= 1000;
        snprintf(ret, 16, "%.*f %s",
                 unit == 0 || value >= 100 ? 0
                         : value >= 10     ? 1
                                           : 2,
                 value, units[unit]);
        return ret;
}

static const char *count_text(uint64_t count, char ret[16]) {
        static const char *const units[] = { "", " K", " M", " B", " T" };
        double value = (double)count;
        unsigned unit = 0;
        for (; value >= 1000 && unit < 4; unit++)
                value /= 1000;
        snprintf(ret, 16, "%.*f%s",
                 unit == 0 || value >= 100 ? 0
                         : value >= 10     ? 1
                                           : 2,
                 value, units[unit]);
        return ret;
}

static void print_component(const char *name, const struct component_size *size) {
        char parameters[16];
        printf("  %-20s %9" PRIu64 "  %10s  %18" PRIu64 "\n", name, size->n_tensors,
               count_text(size->parameters, parameters), size->bytes);
}

static void print_components(const struct description *d) {
        printf("\n%-22s %9s  %10s  %18s\n", "components", "tensors", "parameters", "bytes");
        for (unsigned i = 0; i < N_COMPONENTS; i++)
                if (d->component[i].n_tensors > 0)
                        print_component(component_name((enum component)i), &d->component[i]);
        print_component("total", &d->all);
        if (d->text.bytes != d->all.bytes)
                print_component("of these, used", &d->text);
}

static bool owns_itself(const struct model_config *c, uint32_t layer) {
        return c->layer[layer].kv_source == (int)layer;
}

/* Layers that are alike in everything but what they own: all have the same sources, or (`own`) each
 * has its own. */
static bool alike(const struct model_config *c, uint32_t first, uint32_t next, bool own) {
        const struct layer_config *a = &c->layer[first], *b = &c->layer[next];
        if (a->attention != b->attention || a->feed_forward != b->feed_forward ||
            a->compress_ratio != b->compress_ratio)
                return false;
        if (own)
                return owns_itself(c, next) && (a->index_source == (int)first) == b->owns_index;
        return a->kv_source == b->kv_source && a->index_source == b->index_source;
}

static uint32_t last_alike(const struct model_config *c, uint32_t first) {
        uint32_t last = first;
        bool own = owns_itself(c, first) && first + 1 < c->n_layers && owns_itself(c, first + 1);
        while (last + 1 < c->n_layers && alike(c, first, last + 1, own))
                last++;
        return last;
}

static bool selects_in_candidates(const struct model_config *c, const struct layer_config *layer) {
        return layer->index_source >= 0 && c->layer[layer->index_source].in_candidates;
}

static const char *feed_forward_name(enum feed_forward kind) {
        return kind == FEED_FORWARD_DENSE ? "dense" : "experts";
}

/* " of layer 2", or of each layer's own. */
static void print_source(const struct model_config *c, const char *word, int source, uint32_t first,
                         uint32_t last) {
        if (source == (int)first && last > first && owns_itself(c, last))
                printf(" %s their own", word);
        else
                printf(" %s layer %d", word, source);
}

static void print_layer_run(const struct model_config *c, uint32_t first, uint32_t last) {
        const struct layer_config *layer = &c->layer[first];
        char range[24];
        snprintf(range, sizeof(range), "%u-%u", first, last);
        printf("  %-8s %s", range, attention_operations(layer->attention)->name);
        if (c->window > 0)
                printf(", window of %u", c->window);
        if (layer->compress_ratio > 0) {
                printf(", one row per %u token%s", layer->compress_ratio,
                       layer->compress_ratio > 1 ? "s" : "");
                if (layer->kv_source >= 0)
                        print_source(c, "of", layer->kv_source, first, last);
        }
        if (layer->index_source >= 0) {
                printf(", the best %u", c->index_topk);
                print_source(c, "by", layer->index_source, first, last);
                printf("%s", selects_in_candidates(c, layer) ? " among candidates" : "");
        }
        printf("; %s\n", feed_forward_name(layer->feed_forward));
}

static void print_layers(const struct model_config *c) {
        printf("\nlayers\n");
        for (uint32_t first = 0, last; first < c->n_layers; first = last + 1) {
                last = last_alike(c, first);
                print_layer_run(c, first, last);
        }
        if (c->candidate_layer >= 0)
                printf("  candidates: the best %u blocks of %u rows by layer %d\n",
                       c->candidate_blocks, c->candidate_block_size, c->candidate_layer);
        for (uint32_t i = 0; i < c->n_engram_layers; i++)
                printf("  Engram before layer %u: %" PRIu64 " rows of %u\n", c->engram_layers[i],
                       c->engram_rows[i], c->engram_head_dim);
}

static const char *format_name(enum weight_format format) {
        static const char *const names[] = {
                [WEIGHT_F32] = "F32",     [WEIGHT_BF16] = "BF16", [WEIGHT_FP8] = "FP8",
                [WEIGHT_FP8_F32] = "FP8", [WEIGHT_FP4] = "FP4",
        };
        return names[format];
}

static void print_architecture(const struct subject *s) {
        const struct model_config *c = &s->config;
        printf("%s, %s matrices", c->architecture, format_name(c->dense_format));
        if (c->n_experts > 0)
                printf(", %s experts", format_name(c->expert_format));
        printf("%s\n", c->n_engram_layers > 0 ? ", FP8 Engram tables" : "");
        printf("%u layers of %u", c->n_layers, c->hidden_size);
        if (c->hc > 1)
                printf(" in %u streams", c->hc);
        printf(", %u heads of %u", c->n_heads, c->head_dim);
        if (c->n_experts > 0)
                printf(", %u experts of %u (%u chosen)", c->n_experts, c->expert_dim,
                       c->n_experts_per_token);
        printf(", %u ids, %u positions\n", c->vocab_size, c->max_positions);
}

static void print_token(const struct description *d) {
        char text[16];
        printf("\none token\n");
        printf("  %-34s %18" PRIu64 "  %s\n", "active parameters", d->active_parameters,
               count_text(d->active_parameters, text));
        printf("  %-34s %18" PRIu64 "  %s\n", "weight bytes read to decode it", d->decode_bytes,
               bytes_text(d->decode_bytes, text));
        printf("  %-34s %18.4g\n", "KV bytes", (double)d->kv_page_bytes / KV_PAGE_TOKENS);
        printf("\none step of %u tokens, one thread\n", DESCRIBE_ROWS);
        printf("  %-34s %18" PRIu64 "  %s\n", "workspace bytes", d->workspace_bytes,
               bytes_text(d->workspace_bytes, text));
        printf("\none sequence\n");
        printf("  %-34s %18" PRIu64 "  %s\n", "frontier bytes", d->frontier_bytes,
               bytes_text(d->frontier_bytes, text));
        printf("  %-34s %18" PRIu64 "  %s\n", "KV bytes of 1,048,576 tokens",
               describe_kv_bytes(d, TOKENS_1M), bytes_text(describe_kv_bytes(d, TOKENS_1M), text));
}

static const char *room_text(int64_t tokens, char ret[16]) {
        if (tokens < 0)
                snprintf(ret, 16, "does not fit");
        else if (tokens == INT64_MAX)
                snprintf(ret, 16, "any number");
        else
                count_text((uint64_t)tokens, ret);
        return ret;
}

static void print_fit_row(const struct description *d, const char *name, uint64_t capacity) {
        printf("  %-22s", name);
        for (unsigned p = 0; p < N_PLACEMENTS; p++) {
                char text[16];
                printf(" %20s", room_text(describe_room(d, (enum placement)p, capacity), text));
        }
        putchar('\n');
}

static uint64_t machine_bytes(void) {
        long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
        return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

static void print_fit(const struct description *d) {
        static const char *const heads[N_PLACEMENTS] = { "everything", "without Engram tables",
                                                         "nor routed experts" };
        char text[16], name[32];
        printf("\n%-24s", "in memory");
        for (unsigned p = 0; p < N_PLACEMENTS; p++)
                printf(" %20s", heads[p]);
        printf("\n  %-22s", "weights");
        for (unsigned p = 0; p < N_PLACEMENTS; p++)
                printf(" %20s", bytes_text(describe_resident(d, (enum placement)p), text));
        printf("\n  left for this many tokens of KV:\n");
        snprintf(name, sizeof(name), "this machine, %.1f GiB",
                 (double)machine_bytes() / (double)GIB);
        print_fit_row(d, name, machine_bytes());
        for (unsigned i = 0; i < N_DEVICES; i++) {
                snprintf(name, sizeof(name), "%u GiB", device_gib[i]);
                print_fit_row(d, name, device_gib[i] * GIB);
        }
        printf("  What is not in a device's memory is read from the host's, or from disk:");
        if (d->component[COMPONENT_ENGRAM_TABLES].bytes > 0)
                printf(" %s of Engram tables,",
                       bytes_text(d->component[COMPONENT_ENGRAM_TABLES].bytes, text));
        printf("\n  %s of experts.\n", bytes_text(d->component[COMPONENT_EXPERTS].bytes, text));
}

static void print_files(const struct presence *p, const struct description *d) {
        char text[16];
        if (!p->checkpoint)
                return;
        printf("\nfiles: %" PRIu64 " tensors, %s; %" PRIu64 " of %" PRIu64 " described are there",
               p->n_files_tensors, bytes_text(p->files_bytes, text), p->n_found, d->all.n_tensors);
        if (p->n_missing > 0)
                printf(", missing: '%s'%s", p->missing, p->n_missing > 1 ? ", ..." : "");
        if (p->n_files_tensors > p->n_found)
                printf("; %" PRIu64 " others", p->n_files_tensors - p->n_found);
        putchar('\n');
}

/* -------- for programs -------- */

static json_t *size_json(const struct component_size *size) {
        return json_pack("{s:I, s:I, s:I}", "tensors", (json_int_t)size->n_tensors, "parameters",
                         (json_int_t)size->parameters, "bytes", (json_int_t)size->bytes);
}

/* "Engram tables" -> "engram_tables". */
static json_t *components_json(const struct description *d) {
        json_t *components = json_object();
        for (unsigned i = 0; i < N_COMPONENTS; i++) {
                char key[32];
                snprintf(key, sizeof(key), "%s", component_name((enum component)i));
                for (char *at = key; *at; at++)
                        *at = *at == ' ' ? '_' : (char)tolower((unsigned char)*at);
                json_object_set_new(components, key, size_json(&d->component[i]));
        }
        return components;
}

static json_t *layers_json(const struct model_config *c) {
        json_t *layers = json_array();
        for (uint32_t first = 0, last; first < c->n_layers; first = last + 1) {
                const struct layer_config *layer = &c->layer[first];
                last = last_alike(c, first);
                json_array_append_new(
                        layers,
                        json_pack("{s:[i,i], s:s, s:s, s:i, s:i, s:i, s:b}", "layers", (int)first,
                                  (int)last, "attention",
                                  attention_operations(layer->attention)->name, "feed_forward",
                                  feed_forward_name(layer->feed_forward), "ratio",
                                  (int)layer->compress_ratio, "kv_source", layer->kv_source,
                                  "index_source", layer->index_source, "candidates",
                                  selects_in_candidates(c, layer)));
        }
        return layers;
}

static json_t *engram_json(const struct model_config *c) {
        json_t *tables = json_array();
        for (uint32_t i = 0; i < c->n_engram_layers; i++)
                json_array_append_new(tables,
                                      json_pack("{s:i, s:I}", "layer", (int)c->engram_layers[i],
                                                "rows", (json_int_t)c->engram_rows[i]));
        return tables;
}

static json_t *fit_row_json(const struct description *d, const char *device, uint64_t capacity) {
        static const char *const keys[N_PLACEMENTS] = { "everything", "without_engram_tables",
                                                        "without_experts" };
        json_t *tokens = json_object();
        for (unsigned p = 0; p < N_PLACEMENTS; p++) {
                int64_t room = describe_room(d, (enum placement)p, capacity);
                json_object_set_new(tokens, keys[p], room < 0 ? json_null() : json_integer(room));
        }
        return json_pack("{s:s, s:I, s:o}", "device", device, "bytes", (json_int_t)capacity,
                         "kv_tokens", tokens);
}

static json_t *fit_json(const struct description *d) {
        json_t *rows = json_array();
        json_array_append_new(rows, fit_row_json(d, "this machine", machine_bytes()));
        for (unsigned i = 0; i < N_DEVICES; i++) {
                char name[16];
                snprintf(name, sizeof(name), "%u GiB", device_gib[i]);
                json_array_append_new(rows, fit_row_json(d, name, device_gib[i] * GIB));
        }
        return rows;
}

static json_t *files_json(const struct presence *p) {
        if (!p->checkpoint)
                return json_null();
        return json_pack("{s:I, s:I, s:I, s:I}", "tensors", (json_int_t)p->n_files_tensors, "bytes",
                         (json_int_t)p->files_bytes, "described", (json_int_t)p->n_found, "missing",
                         (json_int_t)p->n_missing);
}

static int print_json(const struct subject *s, struct error *err) {
        const struct description *d = &s->description;
        json_auto_t *object = json_pack(
                "{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:f, s:I, s:I, s:I, s:o, s:o}",
                "architecture", s->config.architecture, "dense_format",
                format_name(s->config.dense_format), "expert_format",
                format_name(s->config.expert_format), "layers", layers_json(&s->config), "engram",
                engram_json(&s->config), "components", components_json(d), "total",
                size_json(&d->all), "used", size_json(&d->text), "active_parameters",
                (json_int_t)d->active_parameters, "decode_bytes", (json_int_t)d->decode_bytes,
                "kv_bytes_per_token", (double)d->kv_page_bytes / KV_PAGE_TOKENS, "kv_bytes_1m",
                (json_int_t)describe_kv_bytes(d, TOKENS_1M), "frontier_bytes",
                (json_int_t)d->frontier_bytes, "workspace_bytes", (json_int_t)d->workspace_bytes,
                "files", files_json(&s->presence), "fit", fit_json(d));
        if (!object || json_dumpf(object, stdout, 0) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        putchar('\n');
        return 0;
}

static int describe_path(const char *path, struct subject *s, bool json, struct error *err) {
        struct stat st;
        if (stat(path, &st) < 0)
                return error_errno(err, "%s", path);
        char config[PATH_MAX];
        int n = snprintf(config, sizeof(config), "%s%s", path,
                         S_ISDIR(st.st_mode) ? "/config.json" : "");
        if (n < 0 || (size_t)n >= sizeof(config))
                return error_set(err, -ENAMETOOLONG, "%s: path too long", path);
        int r = read_config(config, s, err);
        if (r < 0)
                return r;
        struct checkpoint *checkpoint = NULL;
        if (S_ISDIR(st.st_mode)) {
                r = checkpoint_open(path, NULL, &checkpoint, err);
                if (r < 0 && r != -ENOENT)
                        return r;
        }
        s->presence.checkpoint = checkpoint;
        if (checkpoint)
                look_at_files(s);
        r = describe(&s->table, &s->description);
        if (r < 0) {
                error_set(err, r, "out of memory");
        } else if (json) {
                r = print_json(s, err);
        } else {
                print_architecture(s);
                print_layers(&s->config);
                print_components(&s->description);
                print_token(&s->description);
                print_fit(&s->description);
                print_files(&s->presence, &s->description);
                r = 0;
        }
        checkpoint_close(checkpoint);
        return r;
}

int eval_describe(const char *path, bool json, struct error *err) {
        struct subject *subject = calloc(1, sizeof(*subject));
        if (!subject)
                return error_set(err, -ENOMEM, "out of memory");
        int r = describe_path(path, subject, json, err);
        free(subject);
        return r;
}
