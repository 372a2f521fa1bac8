/* The text of a model.safetensors.index.json. What is accepted names plain files only, each tensor
 * once, in order. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/shard_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void demand(int holds) {
        if (!holds)
                abort();
}

static void check(const struct shard_index *index) {
        demand(index->n >= 1 && index->n_shards >= 1 && index->n_shards <= index->n);
        for (size_t i = 0; i < index->n; i++) {
                const struct shard_entry *entry = &index->entries[i];
                demand(entry->shard_number < index->n_shards);
                demand(strcmp(entry->shard, index->shards[entry->shard_number]) == 0);
                demand(i == 0 || strcmp(entry[-1].tensor, entry->tensor) < 0);
                demand(shard_index_find(index, entry->tensor) == entry);
        }
        for (unsigned i = 0; i < index->n_shards; i++) {
                const char *name = index->shards[i];
                demand(name[0] != 0 && !strchr(name, '/') && !strstr(name, ".."));
                demand(i == 0 || strcmp(index->shards[i - 1], name) < 0);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
        struct error err = { 0 };
        struct shard_index index = { 0 };
        if (shard_index_parse("input", (const char *)data, bytes, &index, &err) < 0)
                demand(strncmp(err.text, "input: ", 7) == 0 && !index.document);
        else
                check(&index);
        shard_index_deinit(&index);
        return 0;
}
