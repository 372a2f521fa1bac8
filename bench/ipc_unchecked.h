/* The ring with its checks compiled out: what validation is measured against. Never part of the
 * product. */
#pragma once

#include "proto/ring.h"

int unchecked_writer_reserve(struct ring_writer *writer, const struct ring_item *item,
                             void **ret_payload, struct error *err);
int unchecked_writer_write(struct ring_writer *writer, const struct ring_item *item,
                           const void *payload, struct error *err);
bool unchecked_writer_publish(struct ring_writer *writer);
bool unchecked_reader_release(struct ring_reader *reader);
int unchecked_reader_next(struct ring_reader *reader, struct ring_record *ret_record, void *buffer,
                          size_t buffer_bytes, struct error *err);
