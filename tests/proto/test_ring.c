#include "base/error.h"
#include "proto/ring.h"
#include "tests/proto/region_pair.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define RING   (64u << 10)
#define MAX    (RING / 4 - RING_HEADER_BYTES)
#define URGENT 4096u

struct fixture {
        struct region_pair pair;
        struct ring_writer writer; /* daemon */
        struct ring_reader reader; /* client */
        struct error err;
        uint8_t buffer[MAX];
};

static int setup(void **state) {
        struct fixture *f = calloc(1, sizeof(*f));
        if (!f)
                return -1;
        region_pair_init(&f->pair, RING, RING);
        ring_writer_init(&f->writer, &f->pair.d, &f->pair.c, URGENT);
        ring_reader_init(&f->reader, &f->pair.c_client, &f->pair.d_client);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        struct fixture *f = *state;
        region_pair_deinit(&f->pair);
        free(f);
        return 0;
}

static struct ring_item item(uint32_t len) {
        return (struct ring_item){ .type = 5, .flags = RING_WHOLE, .stream = 9, .len = len };
}

static int put(struct fixture *f, uint32_t len) {
        static const uint8_t zeros[MAX + 1];
        struct ring_item i = item(len);
        int r = ring_writer_write(&f->writer, &i, zeros, &f->err);
        ring_writer_publish(&f->writer);
        return r;
}

static int get(struct fixture *f, struct ring_record *record) {
        return ring_reader_next(&f->reader, record, f->buffer, sizeof(f->buffer), &f->err);
}

static void reads_back_what_was_written(void **state) {
        struct fixture *f = *state;
        const uint32_t sizes[] = { 0, 1, 15, 16, 17, 64, 4096, MAX - 1, MAX };
        uint8_t sent[MAX];
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                for (uint32_t k = 0; k < sizes[i]; k++)
                        sent[k] = (uint8_t)(k * 7 + i);
                struct ring_item one = {
                        .type = (uint16_t)(i + 1),
                        .flags = RING_FIRST | RING_MUST_UNDERSTAND,
                        .stream = 1000 + (uint32_t)i,
                        .len = sizes[i],
                };
                assert_int_equal(ring_writer_write(&f->writer, &one, sent, &f->err), 0);
                ring_writer_publish(&f->writer);
                struct ring_record record;
                assert_int_equal(get(f, &record), 1);
                assert_int_equal(record.len, sizes[i]);
                assert_int_equal(record.type, one.type);
                assert_int_equal(record.flags, one.flags);
                assert_int_equal(record.stream, one.stream);
                assert_memory_equal(f->buffer, sent, sizes[i]);
                assert_int_equal(get(f, &record), 0);
        }
}

static void random_sizes_cross_the_end_for_many_laps(void **state) {
        struct fixture *f = *state;
        uint64_t random = 0x5eed;
        uint8_t sent[MAX];
        unsigned pads = 0;
        for (unsigned n = 0; n < 20000; n++) {
                uint32_t len = (uint32_t)(random_next(&random) % (n % 7 ? 300 : MAX + 1));
                uint64_t seed = random;
                for (uint32_t k = 0; k < len; k++)
                        sent[k] = (uint8_t)(seed >> (k % 57));
                uint32_t seq = f->writer.seq;
                struct ring_item i = item(len);
                assert_int_equal(ring_writer_write(&f->writer, &i, sent, &f->err), 0);
                ring_writer_publish(&f->writer);
                pads += f->writer.seq - seq - 1;
                struct ring_record record;
                assert_int_equal(get(f, &record), 1);
                assert_int_equal(record.len, len);
                assert_memory_equal(f->buffer, sent, len);
        }
        assert_true(pads > 100);
}

static void nothing_is_visible_before_publish(void **state) {
        struct fixture *f = *state;
        struct ring_item i = item(8);
        struct ring_record record;
        for (int n = 0; n < 3; n++)
                assert_int_equal(ring_writer_write(&f->writer, &i, "12345678", &f->err), 0);
        assert_int_equal(get(f, &record), 0);
        ring_writer_publish(&f->writer);
        for (int n = 0; n < 3; n++)
                assert_int_equal(get(f, &record), 1);
        assert_int_equal(get(f, &record), 0);
}

static void refuses_records_that_cannot_be_written(void **state) {
        struct fixture *f = *state;
        void *payload;
        struct ring_item i = item(MAX + 1);
        assert_int_equal(ring_writer_reserve(&f->writer, &i, &payload, &f->err), -EMSGSIZE);
        i = item(8);
        i.type = 0;
        assert_int_equal(ring_writer_reserve(&f->writer, &i, &payload, &f->err), -EINVAL);
        i = item(8);
        i.flags = RING_PAD;
        assert_int_equal(ring_writer_reserve(&f->writer, &i, &payload, &f->err), -EINVAL);
        i.flags = 1u << 4;
        assert_int_equal(ring_writer_reserve(&f->writer, &i, &payload, &f->err), -EINVAL);
        assert_int_equal(f->writer.pos, 0);
}

static void a_full_ring_keeps_room_for_urgent_records(void **state) {
        struct fixture *f = *state;
        unsigned n = 0;
        int r;
        while ((r = put(f, 1008)) == 0)
                n++;
        assert_int_equal(r, -EAGAIN);
        assert_int_equal(n, (RING - URGENT) / 1024);
        struct ring_item i = item(112);
        i.urgent = true;
        unsigned n_urgent = 0;
        while ((r = ring_writer_write(&f->writer, &i, f->buffer, &f->err)) == 0)
                n_urgent++;
        assert_int_equal(r, -EAGAIN);
        assert_int_equal(n_urgent, URGENT / 128);
        assert_int_equal(f->writer.pos, RING);
        ring_writer_publish(&f->writer);
        struct ring_record record;
        for (unsigned k = 0; k < n + n_urgent; k++)
                assert_int_equal(get(f, &record), 1);
        assert_int_equal(get(f, &record), 0);
        ring_reader_release(&f->reader);
        assert_int_equal(put(f, 1008), 0);
}

static void a_small_buffer_consumes_nothing(void **state) {
        struct fixture *f = *state;
        assert_int_equal(put(f, 100), 0);
        struct ring_record record = { 0 };
        assert_int_equal(ring_reader_next(&f->reader, &record, f->buffer, 99, &f->err), -ENOBUFS);
        assert_int_equal(record.len, 100);
        assert_int_equal(ring_reader_next(&f->reader, &record, f->buffer, 100, &f->err), 1);
}

/* Validation. Each case sits on one side of a boundary; the neighbour on the other side is
 * accepted. */

static void expect_violation(struct fixture *f, const char *words) {
        struct ring_record record;
        assert_int_equal(get(f, &record), -EPROTO);
        assert_non_null(strstr(f->err.text, words));
        /* For good, also when the region looks right again. */
        forge_word(&f->pair.d, f->pair.d.head_off, f->reader.pos);
        assert_int_equal(get(f, &record), -EPROTO);
        bool kick;
        assert_false(ring_reader_arm(&f->reader, 0, &kick));
}

static void head_may_be_a_ring_ahead_but_not_more(void **state) {
        struct fixture *f = *state;
        struct ring_record record = { .len = 0, .type = 5, .flags = RING_WHOLE };
        forge_record(&f->pair.d, 0, record);
        forge_word(&f->pair.d, f->pair.d.head_off, RING);
        assert_int_equal(get(f, &record), 1);
        ring_reader_init(&f->reader, &f->pair.c_client, &f->pair.d_client);
        forge_word(&f->pair.d, f->pair.d.head_off, RING + 16);
        expect_violation(f, "head");
}

static void head_may_not_go_back(void **state) {
        struct fixture *f = *state;
        struct ring_record record;
        assert_int_equal(put(f, 0), 0);
        assert_int_equal(get(f, &record), 1);
        forge_word(&f->pair.d, f->pair.d.head_off, 0);
        expect_violation(f, "head");
}

static void head_is_a_multiple_of_16(void **state) {
        struct fixture *f = *state;
        forge_word(&f->pair.d, f->pair.d.head_off, 24);
        expect_violation(f, "head is not a multiple of 16");
}

/* Forges one record at the reader's position, published up to `head`. */
static int read_forged(struct fixture *f, struct ring_record record, uint64_t head) {
        forge_record(&f->pair.d, f->reader.pos, record);
        forge_word(&f->pair.d, f->pair.d.head_off, head);
        struct ring_record got;
        return get(f, &got);
}

static void flags_are_known(void **state) {
        struct fixture *f = *state;
        struct ring_record good = { .type = 5, .flags = RING_WHOLE | RING_MUST_UNDERSTAND };
        assert_int_equal(read_forged(f, good, 16), 1);
        struct ring_record bad = { .type = 5, .flags = 1u << 4, .seq = 1 };
        assert_int_equal(read_forged(f, bad, 32), -EPROTO);
        expect_violation(f, "closed after");
}

static void type_0_is_refused(void **state) {
        struct fixture *f = *state;
        assert_int_equal(read_forged(f, (struct ring_record){ .flags = RING_WHOLE }, 16), -EPROTO);
        assert_non_null(strstr(f->err.text, "type 0"));
}

static void sequence_is_the_expected_one(void **state) {
        for (int delta = -1; delta <= 1; delta++) {
                struct fixture *f = *state;
                ring_reader_init(&f->reader, &f->pair.c_client, &f->pair.d_client);
                f->reader.seq = UINT32_MAX;
                struct ring_record record = { .type = 5,
                                              .flags = RING_WHOLE,
                                              .seq = UINT32_MAX + (uint32_t)delta };
                assert_int_equal(read_forged(f, record, 16), delta == 0 ? 1 : -EPROTO);
                if (delta == 0)
                        assert_int_equal(f->reader.seq, 0);
                else
                        assert_non_null(strstr(f->err.text, "sequence"));
        }
}

static void length_ends_at_the_limit(void **state) {
        struct fixture *f = *state;
        struct ring_record record = { .len = MAX, .type = 5, .flags = RING_WHOLE };
        assert_int_equal(read_forged(f, record, RING), 1);
        record = (struct ring_record){ .len = MAX + 1, .type = 5, .flags = RING_WHOLE, .seq = 1 };
        assert_int_equal(read_forged(f, record, RING), -EPROTO);
        assert_non_null(strstr(f->err.text, "over the limit"));
        ring_reader_init(&f->reader, &f->pair.c_client, &f->pair.d_client);
        record = (struct ring_record){ .len = UINT32_MAX, .type = 5, .flags = RING_WHOLE };
        assert_int_equal(read_forged(f, record, RING), -EPROTO);
}

static void length_ends_at_head(void **state) {
        struct fixture *f = *state;
        struct ring_record record = { .len = 32, .type = 5, .flags = RING_WHOLE };
        assert_int_equal(read_forged(f, record, 48), 1);
        record = (struct ring_record){ .len = 33, .type = 5, .flags = RING_WHOLE, .seq = 1 };
        assert_int_equal(read_forged(f, record, 48 + 48), -EPROTO);
        assert_non_null(strstr(f->err.text, "passes head"));
}

static void length_ends_at_the_end_of_the_ring(void **state) {
        struct fixture *f = *state;
        f->reader.pos = f->reader.head = f->reader.released = RING - 64;
        struct ring_record record = { .len = 48, .type = 5, .flags = RING_WHOLE };
        assert_int_equal(read_forged(f, record, RING), 1);
        f->reader.pos = f->reader.head = f->reader.released = RING - 64;
        record = (struct ring_record){ .len = 49, .type = 5, .flags = RING_WHOLE, .seq = 1 };
        assert_int_equal(read_forged(f, record, RING + 64), -EPROTO);
        assert_non_null(strstr(f->err.text, "crosses the end"));
}

static void a_pad_fills_exactly_to_the_end(void **state) {
        struct fixture *f = *state;
        for (int delta = -16; delta <= 16; delta++) {
                ring_reader_init(&f->reader, &f->pair.c_client, &f->pair.d_client);
                f->reader.pos = f->reader.head = f->reader.released = RING - 64;
                struct ring_record record = { .len = (uint32_t)(48 + delta), .flags = RING_PAD };
                assert_int_equal(read_forged(f, record, RING), delta == 0 ? 0 : -EPROTO);
                if (delta == 0)
                        assert_int_equal(f->reader.pos, RING);
        }
}

static void a_pad_carries_nothing(void **state) {
        struct fixture *f = *state;
        const struct ring_record bad[] = {
                { .len = 48, .flags = RING_PAD, .type = 1 },
                { .len = 48, .flags = RING_PAD, .stream = 1 },
                { .len = 48, .flags = RING_PAD | RING_FIRST },
                { .len = 48, .flags = RING_PAD | RING_MUST_UNDERSTAND },
        };
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                ring_reader_init(&f->reader, &f->pair.c_client, &f->pair.d_client);
                f->reader.pos = f->reader.head = f->reader.released = RING - 64;
                assert_int_equal(read_forged(f, bad[i], RING), -EPROTO);
                assert_non_null(strstr(f->err.text, "pad with"));
        }
        /* Published only in part. */
        ring_reader_init(&f->reader, &f->pair.c_client, &f->pair.d_client);
        f->reader.pos = f->reader.head = f->reader.released = RING - 64;
        assert_int_equal(
                read_forged(f, (struct ring_record){ .len = 48, .flags = RING_PAD }, RING - 16),
                -EPROTO);
        assert_non_null(strstr(f->err.text, "passes head"));
}

static void tail_stays_between_last_and_published(void **state) {
        const struct {
                uint64_t tail;
                int result;
        } cases[] = {
                { 1024, 0 },        /* the last one seen */
                { 2048, 0 },        /* forward */
                { RING - 4096, 0 }, /* all that is published */
                { RING - 4080, -EPROTO },
                { 1008, -EPROTO }, /* back */
                { 2056, -EPROTO }, /* unaligned */
                { UINT64_MAX - 15, -EPROTO },
        };
        struct fixture *f = *state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                ring_writer_init(&f->writer, &f->pair.d, &f->pair.c, URGENT);
                f->writer.tail = 1024;
                forge_word(&f->pair.c_client, f->pair.c_client.tail_off, 1024);
                while (put(f, 1008) == 0 && f->writer.pos < RING - 4096)
                        ;
                assert_int_equal(f->writer.published, RING - 4096);
                forge_word(&f->pair.c_client, f->pair.c_client.tail_off, cases[i].tail);
                int r = put(f, MAX);
                assert_int_equal(r == -EAGAIN ? 0 : r, cases[i].result);
                if (cases[i].result == 0)
                        continue;
                assert_non_null(strstr(f->err.text, "tail"));
                forge_word(&f->pair.c_client, f->pair.c_client.tail_off, 1024);
                assert_int_equal(put(f, 8), -EPROTO);
                assert_false(ring_writer_arm(&f->writer, 8));
        }
}

/* Waking. */

static void a_sleeper_is_kicked_once_a_busy_reader_never(void **state) {
        struct fixture *f = *state;
        struct ring_item i = item(48);
        struct ring_record record;
        bool kick;
        assert_true(ring_reader_arm(&f->reader, 0, &kick));
        assert_false(kick);
        assert_int_equal(ring_writer_write(&f->writer, &i, f->buffer, &f->err), 0);
        assert_true(ring_writer_publish(&f->writer));
        assert_false(ring_writer_publish(&f->writer)); /* nothing new */
        for (int n = 0; n < 5; n++) {
                assert_int_equal(ring_writer_write(&f->writer, &i, f->buffer, &f->err), 0);
                assert_false(ring_writer_publish(&f->writer));
        }
        assert_false(ring_reader_arm(&f->reader, 0, &kick)); /* there is something to read */
        for (int n = 0; n < 6; n++)
                assert_int_equal(get(f, &record), 1);
        assert_true(ring_reader_arm(&f->reader, 0, &kick));
        assert_int_equal(ring_writer_write(&f->writer, &i, f->buffer, &f->err), 0);
        assert_true(ring_writer_publish(&f->writer));
}

static void a_sleeper_may_gather_several_records(void **state) {
        struct fixture *f = *state;
        struct ring_item i = item(48); /* 64 bytes of ring */
        bool kick;
        assert_true(ring_reader_arm(&f->reader, 3 * 64, &kick));
        for (int n = 1; n <= 4; n++) {
                assert_int_equal(ring_writer_write(&f->writer, &i, f->buffer, &f->err), 0);
                assert_int_equal(ring_writer_publish(&f->writer), n == 4);
        }
        /* More than an eighth of the ring is never waited for. */
        for (int n = 0; n < 4; n++) {
                struct ring_record record;
                assert_int_equal(get(f, &record), 1);
        }
        assert_true(ring_reader_arm(&f->reader, UINT64_MAX, &kick));
        unsigned before_kick = 0;
        do {
                before_kick++;
                assert_int_equal(ring_writer_write(&f->writer, &i, f->buffer, &f->err), 0);
        } while (!ring_writer_publish(&f->writer));
        assert_int_equal(before_kick, RING / 8 / 64 + 1);
}

static void a_writer_without_room_is_kicked_when_it_fits(void **state) {
        struct fixture *f = *state;
        struct ring_record record;
        assert_false(ring_writer_arm(&f->writer, MAX)); /* it fits */
        while (put(f, 1008) == 0)
                ;
        assert_true(ring_writer_arm(&f->writer, 2 * 1024 - 16)); /* 2 KiB of ring */
        assert_int_equal(get(f, &record), 1);
        assert_false(ring_reader_release(&f->reader));
        assert_int_equal(put(f, 2 * 1024 - 16), -EAGAIN);
        assert_true(ring_writer_arm(&f->writer, 2 * 1024 - 16));
        assert_int_equal(get(f, &record), 1);
        assert_true(ring_reader_release(&f->reader));
        assert_false(ring_writer_arm(&f->writer, 2 * 1024 - 16));
        assert_int_equal(put(f, 2 * 1024 - 16), 0);
}

static void a_reader_that_never_sleeps_releases_what_a_writer_waits_for(void **state) {
        struct fixture *f = *state;
        struct ring_record record;
        while (put(f, 1008) == 0)
                ;
        while (get(f, &record) == 1)
                ;
        /* Less than an eighth is held back, and nobody waits for it. */
        assert_true(f->reader.released < f->reader.pos);
        assert_true(f->reader.pos - f->reader.released < RING / 8);
        forge_word(&f->pair.d, f->pair.d.space_at_off, f->reader.pos - 16);
        assert_int_equal(get(f, &record), 0);
        assert_int_equal(f->reader.released, f->reader.pos);
        assert_true(ring_reader_release(&f->reader));
        assert_false(ring_reader_release(&f->reader));
}

static void the_reader_releases_every_eighth(void **state) {
        struct fixture *f = *state;
        struct ring_record record;
        for (int n = 0; n < 16; n++)
                assert_int_equal(put(f, 1008), 0);
        for (int n = 1; n <= 16; n++) {
                assert_int_equal(get(f, &record), 1);
                assert_int_equal(f->reader.released, (unsigned)n / 8 * (RING / 8));
        }
}

static void any_value_in_the_marks_is_harmless(void **state) {
        struct fixture *f = *state;
        uint64_t random = 42;
        struct ring_record record;
        for (int n = 0; n < 1000; n++) {
                forge_word(&f->pair.c_client, f->pair.c_client.wake_at_off, random_next(&random));
                forge_word(&f->pair.d, f->pair.d.space_at_off, random_next(&random));
                assert_int_equal(put(f, (uint32_t)(random_next(&random) % 500)), 0);
                assert_int_equal(get(f, &record), 1);
                ring_reader_release(&f->reader);
        }
}

/* Messages of any length. */

static void long_messages_are_cut_and_joined(void **state) {
        struct fixture *f = *state;
        size_t n_bytes = 1000000;
        uint8_t *sent = malloc(n_bytes);
        assert_non_null(sent);
        uint64_t random = 99;
        for (size_t i = 0; i < n_bytes; i++)
                sent[i] = (uint8_t)random_next(&random);
        struct ring_assembly assembly;
        ring_assembly_init(&assembly, n_bytes);
        struct ring_outgoing message = {
                .item = { .type = 3, .flags = RING_MUST_UNDERSTAND, .stream = 4 },
                .bytes = sent,
                .n_bytes = n_bytes,
        };
        int done = 0;
        for (int turns = 0; !done; turns++) {
                assert_true(turns < 1000);
                int r = ring_writer_send(&f->writer, &message, &f->err);
                assert_true(r == 0 || r == -EAGAIN);
                ring_writer_publish(&f->writer);
                struct ring_record record;
                while (get(f, &record) == 1) {
                        const uint8_t *bytes;
                        size_t n;
                        uint16_t flags;
                        done = ring_assembly_add(&assembly, &record, f->buffer, &bytes, &n, &flags,
                                                 &f->err);
                        assert_true(done >= 0);
                        if (!done)
                                continue;
                        assert_int_equal(r, 0);
                        assert_int_equal(n, n_bytes);
                        assert_true(flags & RING_MUST_UNDERSTAND);
                        assert_memory_equal(bytes, sent, n_bytes);
                }
                ring_reader_release(&f->reader);
        }
        assert_int_equal(assembly.n_bytes, 0);
        ring_assembly_deinit(&assembly);
        free(sent);
}

static void an_empty_message_is_one_record(void **state) {
        struct fixture *f = *state;
        struct ring_outgoing message = { .item = { .type = 3, .stream = 4 } };
        assert_int_equal(ring_writer_send(&f->writer, &message, &f->err), 0);
        ring_writer_publish(&f->writer);
        struct ring_record record;
        assert_int_equal(get(f, &record), 1);
        assert_int_equal(record.flags, RING_WHOLE);
        assert_int_equal(record.len, 0);
}

static int add(struct ring_assembly *assembly, uint32_t stream, uint16_t type, uint16_t flags,
               uint32_t len, struct error *err) {
        static const uint8_t payload[256];
        const uint8_t *bytes;
        size_t n;
        uint16_t got;
        struct ring_record record = { .len = len, .type = type, .flags = flags, .stream = stream };
        return ring_assembly_add(assembly, &record, payload, &bytes, &n, &got, err);
}

static void fragments_must_fit_together(void **state) {
        struct fixture *f = *state;
        struct ring_assembly a;
        ring_assembly_init(&a, 300);
        assert_int_equal(add(&a, 1, 5, 0, 10, &f->err), -EPROTO);         /* never started */
        assert_int_equal(add(&a, 1, 5, RING_LAST, 10, &f->err), -EPROTO); /* never started */
        assert_int_equal(add(&a, 1, 5, RING_FIRST, 10, &f->err), 0);
        assert_int_equal(add(&a, 1, 5, RING_FIRST, 10, &f->err), -EPROTO); /* inside another */
        assert_int_equal(add(&a, 1, 5, RING_WHOLE, 10, &f->err), -EPROTO);
        assert_int_equal(add(&a, 1, 6, RING_LAST, 10, &f->err), -EPROTO); /* other type */
        assert_int_equal(add(&a, 2, 6, RING_WHOLE, 10, &f->err), 1);      /* other stream */
        assert_int_equal(add(&a, 1, 5, RING_LAST, 10, &f->err), 1);
        ring_assembly_deinit(&a);
}

static void assembly_is_bounded(void **state) {
        struct fixture *f = *state;
        struct ring_assembly a;
        ring_assembly_init(&a, 300);
        assert_int_equal(add(&a, 1, 5, RING_FIRST, 200, &f->err), 0);
        assert_int_equal(add(&a, 2, 5, RING_FIRST, 101, &f->err), -EPROTO);
        assert_int_equal(add(&a, 2, 5, RING_WHOLE, 101, &f->err), -EPROTO);
        assert_int_equal(add(&a, 2, 5, RING_WHOLE, 100, &f->err), 1);
        assert_int_equal(add(&a, 1, 5, RING_LAST, 101, &f->err), -EPROTO);
        assert_int_equal(add(&a, 1, 5, RING_LAST, 100, &f->err), 1);
        for (uint32_t stream = 0; stream < RING_OPEN_MESSAGES_MAX; stream++)
                assert_int_equal(add(&a, stream, 5, RING_FIRST, 1, &f->err), 0);
        assert_int_equal(add(&a, 100, 5, RING_FIRST, 1, &f->err), -EPROTO);
        assert_int_equal(add(&a, 100, 5, RING_WHOLE, 1, &f->err), 1);
        ring_assembly_deinit(&a);
}

#define ring_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                ring_test(reads_back_what_was_written),
                ring_test(random_sizes_cross_the_end_for_many_laps),
                ring_test(nothing_is_visible_before_publish),
                ring_test(refuses_records_that_cannot_be_written),
                ring_test(a_full_ring_keeps_room_for_urgent_records),
                ring_test(a_small_buffer_consumes_nothing),
                ring_test(head_may_be_a_ring_ahead_but_not_more),
                ring_test(head_may_not_go_back),
                ring_test(head_is_a_multiple_of_16),
                ring_test(flags_are_known),
                ring_test(type_0_is_refused),
                ring_test(sequence_is_the_expected_one),
                ring_test(length_ends_at_the_limit),
                ring_test(length_ends_at_head),
                ring_test(length_ends_at_the_end_of_the_ring),
                ring_test(a_pad_fills_exactly_to_the_end),
                ring_test(a_pad_carries_nothing),
                ring_test(tail_stays_between_last_and_published),
                ring_test(a_sleeper_is_kicked_once_a_busy_reader_never),
                ring_test(a_sleeper_may_gather_several_records),
                ring_test(a_writer_without_room_is_kicked_when_it_fits),
                ring_test(a_reader_that_never_sleeps_releases_what_a_writer_waits_for),
                ring_test(the_reader_releases_every_eighth),
                ring_test(any_value_in_the_marks_is_harmless),
                ring_test(long_messages_are_cut_and_joined),
                ring_test(an_empty_message_is_one_record),
                ring_test(fragments_must_fit_together),
                ring_test(assembly_is_bounded),
        };
        return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
