#include "base/error.h"
#include "proto/ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void ring_assembly_init(struct ring_assembly *assembly, size_t bytes_max) {
        *assembly = (struct ring_assembly){ .bytes_max = bytes_max };
}

void ring_assembly_deinit(struct ring_assembly *assembly) {
        if (!assembly)
                return;
        for (size_t i = 0; i < RING_OPEN_MESSAGES_MAX; i++)
                free(assembly->parts[i].bytes);
        free(assembly->done);
        *assembly = (struct ring_assembly){ 0 };
}

static struct ring_assembly_part *part_of(struct ring_assembly *assembly, uint32_t stream) {
        for (size_t i = 0; i < RING_OPEN_MESSAGES_MAX; i++)
                if (assembly->parts[i].open && assembly->parts[i].stream == stream)
                        return &assembly->parts[i];
        return NULL;
}

static struct ring_assembly_part *part_free(struct ring_assembly *assembly) {
        for (size_t i = 0; i < RING_OPEN_MESSAGES_MAX; i++)
                if (!assembly->parts[i].open)
                        return &assembly->parts[i];
        return NULL;
}

/* Capacity doubles, so that many small fragments cost no more copying than a few large ones; never
 * over `bytes_max`, which the new content is known to fit. */
static int part_append(struct ring_assembly_part *part, const void *payload, size_t n,
                       size_t bytes_max) {
        if (part->n_bytes + n > part->capacity) {
                size_t capacity = part->capacity * 2;
                if (capacity < part->n_bytes + n)
                        capacity = part->n_bytes + n;
                if (capacity > bytes_max)
                        capacity = bytes_max;
                uint8_t *bytes = realloc(part->bytes, capacity);
                if (!bytes)
                        return -ENOMEM;
                part->bytes = bytes;
                part->capacity = capacity;
        }
        if (n)
                memcpy(part->bytes + part->n_bytes, payload, n);
        part->n_bytes += n;
        return 0;
}

int ring_assembly_add(struct ring_assembly *assembly, const struct ring_record *record,
                      const void *payload, const uint8_t **ret_bytes, size_t *ret_n_bytes,
                      uint16_t *ret_flags, struct error *err) {
        free(assembly->done);
        assembly->done = NULL;

        struct ring_assembly_part *part = part_of(assembly, record->stream);
        bool first = record->flags & RING_FIRST;
        if (first && part)
                return error_set(err, -EPROTO, "stream %u: a message starts inside another",
                                 record->stream);
        if (!first && !part)
                return error_set(err, -EPROTO, "stream %u: a message continues that never started",
                                 record->stream);
        if (!first && part->type != record->type)
                return error_set(err, -EPROTO,
                                 "stream %u: a message of type %u continues as type %u",
                                 record->stream, part->type, record->type);
        if (record->len > assembly->bytes_max - assembly->n_bytes)
                return error_set(err, -EPROTO, "stream %u: message of over %zu bytes",
                                 record->stream, assembly->bytes_max);
        if (first && (record->flags & RING_LAST)) {
                *ret_bytes = payload;
                *ret_n_bytes = record->len;
                *ret_flags = record->flags;
                return 1;
        }
        if (first) {
                part = part_free(assembly);
                if (!part)
                        return error_set(err, -EPROTO, "stream %u: more than %u messages half-sent",
                                         record->stream, RING_OPEN_MESSAGES_MAX);
                *part = (struct ring_assembly_part){
                        .stream = record->stream,
                        .type = record->type,
                        .flags = record->flags,
                        .open = true,
                };
        }
        if (part_append(part, payload, record->len, assembly->bytes_max) < 0)
                return error_set(err, -ENOMEM, "stream %u: no memory for a message of %zu bytes",
                                 record->stream, part->n_bytes + record->len);
        assembly->n_bytes += record->len;
        if (!(record->flags & RING_LAST))
                return 0;

        assembly->n_bytes -= part->n_bytes;
        assembly->done = part->bytes;
        *ret_bytes = part->bytes;
        *ret_n_bytes = part->n_bytes;
        *ret_flags = part->flags;
        *part = (struct ring_assembly_part){ 0 };
        return 1;
}
