/* A ring whose bytes a hostile peer chose: struct input, then the ring's bytes from the start
 * position on, wrapping (what is not given is zero). Read to the end, through the assembly, then
 * write against the claimed tail. Anything but data, "nothing there" and -EPROTO is a defect. */
#include "base/error.h"
#include "proto/ring.h"
#include "tests/proto/region_pair.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RING REGION_DATA_BYTES_MIN

struct input {
        uint64_t head;
        uint64_t tail;
        uint64_t start;
        uint32_t sequence; /* expected */
        uint32_t unused;
};

static void check(bool good) {
        if (!good)
                abort();
}

static void read_all(struct ring_reader *reader) {
        static uint8_t buffer[RING];
        struct ring_assembly assembly;
        struct error err = { 0 };
        ring_assembly_init(&assembly, 100000);
        uint64_t sum = 0;
        for (;;) {
                struct ring_record record;
                uint64_t before = reader->pos;
                int r = ring_reader_next(reader, &record, buffer, ring_payload_bytes_max(RING),
                                         &err);
                check(r == 0 || r == 1 || r == -EPROTO);
                check(reader->pos - before <= RING);
                if (r != 1)
                        break;
                check(record.len <= ring_payload_bytes_max(RING) && record.type != 0);
                const uint8_t *bytes;
                size_t n;
                uint16_t flags;
                r = ring_assembly_add(&assembly, &record, buffer, &bytes, &n, &flags, &err);
                check(r == 0 || r == 1 || r == -EPROTO);
                for (size_t i = 0; r == 1 && i < n; i++)
                        sum += bytes[i];
        }
        /* Not reached, but the compiler must not know that the bytes are unused. */
        check(sum != UINT64_MAX);
        ring_assembly_deinit(&assembly);
        bool kick;
        (void)ring_reader_arm(reader, 0, &kick);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct region_pair pair;
        if (!pair.d.map)
                region_pair_init(&pair, RING, RING);
        struct input input = { 0 };
        memcpy(&input, data, size < sizeof(input) ? size : sizeof(input));
        size_t n = size > sizeof(input) ? size - sizeof(input) : 0;
        if (n > RING)
                n = RING;
        uint8_t *image = pair.c_client.map + pair.c_client.data_off;
        memset(image, 0, RING);
        uint64_t start = input.start & ~(uint64_t)15;
        for (size_t i = 0; i < n; i++)
                image[(start + i) & (RING - 1)] = data[sizeof(input) + i];
        forge_word(&pair.c_client, pair.c_client.head_off, input.head);
        forge_word(&pair.c_client, pair.c_client.tail_off, input.tail);
        forge_word(&pair.c_client, pair.c_client.wake_at_off, input.start);
        forge_word(&pair.c_client, pair.c_client.space_at_off, input.tail);

        struct ring_reader reader;
        ring_reader_init(&reader, &pair.d, &pair.c);
        reader.pos = reader.head = reader.released = start;
        reader.seq = input.sequence;
        read_all(&reader);

        struct ring_writer writer;
        ring_writer_init(&writer, &pair.d, &pair.c, RING_URGENT_BYTES);
        for (int i = 0; i < 40; i++) {
                struct ring_item item = { .type = 1, .flags = RING_WHOLE, .len = 3000 };
                int r = ring_writer_write(&writer, &item, image, NULL);
                check(r == 0 || r == -EAGAIN || r == -EPROTO);
                check(writer.pos - writer.tail <= RING);
                (void)ring_writer_publish(&writer);
        }
        (void)ring_writer_arm(&writer, 3000);
        return 0;
}
