#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "proto/message.h"
#include "proto/token_delta.h"

static int unpack(unsigned type, const void *bytes, size_t n, struct error *err) {
        struct arena arena = { NULL, 0, 0 };
        const ProtobufCMessage *message = NULL;
        int r = message_unpack(type, bytes, n, &arena, &message, err);
        assert_true((r == 0) == (message != NULL));
        arena_deinit(&arena);
        return r;
}

static void a_packed_request_is_unpacked_unchanged(void **state) {
        (void)state;
        char *stop[] = { (char *)"\n\n", (char *)"é" };
        Seekd__V1__Sampling sampling = SEEKD__V1__SAMPLING__INIT;
        sampling.temperature = 0.5f;
        sampling.n_stop = 2;
        sampling.stop = stop;
        Seekd__V1__Generate generate = SEEKD__V1__GENERATE__INIT;
        generate.request_id = 7;
        generate.prompt_case = SEEKD__V1__GENERATE__PROMPT_TEXT;
        generate.text = (ProtobufCBinaryData){ 5, (uint8_t *)"a\0b\0c" };
        generate.sampling = &sampling;
        uint8_t wire[128];
        int64_t n = message_pack(&generate.base, wire, sizeof(wire));
        assert_true(n > 0);
        assert_int_equal(n, message_packed_bytes(&generate.base));
        assert_int_equal(message_pack(&generate.base, wire, (size_t)n - 1), -ENOSPC);
        assert_int_equal(message_pack(&generate.base, wire, sizeof(wire)), n);

        struct arena arena = { NULL, 0, 0 };
        const ProtobufCMessage *message = NULL;
        for (unsigned turn = 0; turn < 2; turn++) { /* the second reuses the arena */
                assert_int_equal(
                        message_unpack(RECORD_GENERATE, wire, (size_t)n, &arena, &message, NULL),
                        0);
                const Seekd__V1__Generate *got = (const Seekd__V1__Generate *)message;
                assert_int_equal(got->request_id, 7);
                assert_int_equal(got->text.len, 5);
                assert_memory_equal(got->text.data, "a\0b\0c", 5);
                assert_int_equal(got->sampling->n_stop, 2);
                assert_string_equal(got->sampling->stop[1], "é");
        }
        arena_deinit(&arena);
}

static void an_unknown_field_is_ignored(void **state) {
        (void)state;
        const uint8_t wire[] = {
                0x08, 0x05, 0xFA, 0x07, 0x03, 1, 2, 3
        }; /* request_id 5, field 127 of 3 bytes */
        assert_int_equal(unpack(RECORD_STATS, wire, sizeof(wire), NULL), 0);
}

static void an_unknown_record_type_is_refused(void **state) {
        (void)state;
        struct error err;
        assert_int_equal(unpack(77, "", 0, &err), -ENOTSUP);
        assert_int_equal(unpack(0, "", 0, &err), -ENOTSUP);
        assert_int_equal(unpack(RECORD_TOKENS, "", 0, &err), -ENOTSUP);
        assert_int_equal(unpack(70000, "", 0, &err), -ENOTSUP);
        assert_string_equal(err.text, "record type 70000 is not known");
}

static void invalid_utf8_is_refused_with_its_place(void **state) {
        (void)state;
        struct error err;
        /* Generate { sampling { stop: "ab\xFF" } } */
        const uint8_t wire[] = { 0x32, 5, 0x42, 3, 'a', 'b', 0xFF };
        assert_int_equal(unpack(RECORD_GENERATE, wire, sizeof(wire), &err), -EBADMSG);
        assert_string_equal(err.text, "Generate.sampling.stop: invalid UTF-8 at byte 6");
        assert_int_equal(message_check_utf8("prompt", "ab\xC3", 3, &err), -EBADMSG);
        assert_string_equal(err.text, "prompt: invalid UTF-8 at byte 2");
        assert_int_equal(message_check_utf8("prompt", NULL, 0, &err), 0);
}

static void a_nul_in_a_string_is_refused(void **state) {
        (void)state;
        struct error err;
        const uint8_t wire[] = { 0x42, 3, 'a', 0, 'b' }; /* Generate.subject */
        assert_int_equal(unpack(RECORD_GENERATE, wire, sizeof(wire), &err), -EBADMSG);
        assert_string_equal(err.text, "Generate.subject: NUL in a string at byte 3");
}

static void cut_off_or_lying_wires_are_refused(void **state) {
        (void)state;
        static const struct {
                uint8_t bytes[12];
                size_t n;
        } wires[] = {
                { { 0x08 }, 1 },                                  /* key without a value */
                { { 0x08, 0x80 }, 2 },                            /* number cut off */
                { { 0x00, 0x01 }, 2 },                            /* field number 0 */
                { { 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01, 0 }, 7 }, /* key longer than five bytes */
                { { 0x12, 0x05, 'a' }, 3 },                       /* length past the end */
                { { 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F }, 8 }, /* huge length */
                { { 0x0B, 0x0C }, 2 },                                     /* groups */
                { { 0x0D, 1, 2, 3, 4 }, 5 },    /* request_id as a 32-bit number */
                { { 0x10, 0x05 }, 2 },          /* text as a number */
                { { 0x32, 3, 0x15, 0, 0 }, 5 }, /* float cut off */
        };
        for (size_t i = 0; i < sizeof(wires) / sizeof(wires[0]); i++) {
                struct error err = { 0 };
                assert_int_equal(unpack(RECORD_GENERATE, wires[i].bytes, wires[i].n, &err),
                                 -EBADMSG);
                assert_non_null(strstr(err.text, " at byte "));
        }
}

static void every_prefix_of_a_message_is_refused_or_read(void **state) {
        (void)state;
        uint32_t ids[] = { 1, 300, 70000 };
        Seekd__V1__CacheVerdict cache = SEEKD__V1__CACHE_VERDICT__INIT;
        cache.n_prompt_ids = 3;
        cache.prompt_ids = ids;
        Seekd__V1__Timing timing = SEEKD__V1__TIMING__INIT;
        timing.queue_ms = 1.5;
        Seekd__V1__Done done = SEEKD__V1__DONE__INIT;
        done.request_id = 300;
        done.cache = &cache;
        done.timing = &timing;
        done.stop = (char *)"stop";
        uint8_t wire[128];
        int64_t n = message_pack(&done.base, wire, sizeof(wire));
        assert_true(n > 0);
        for (size_t i = 0; i <= (size_t)n; i++) {
                uint8_t *exact =
                        malloc(i > 0 ? i : 1); /* so that a sanitizer sees one byte too many */
                memcpy(exact, wire, i);
                int r = unpack(RECORD_DONE, exact, i, NULL);
                assert_true(r == 0 || r == -EBADMSG);
                free(exact);
        }
}

static void more_fields_than_the_limit_are_refused(void **state) {
        (void)state;
        struct error err;
        size_t n = 2 * (MESSAGE_FIELDS_MAX + 1);
        uint8_t *wire = malloc(n);
        for (size_t i = 0; i < n; i += 2) {
                wire[i] = 0x08;
                wire[i + 1] = 1;
        }
        assert_int_equal(unpack(RECORD_STATS, wire, n, &err), -E2BIG);
        assert_string_equal(err.text, "Stats: too many fields at byte 32768");
        free(wire);
}

static void memory_is_bounded_by_the_wire_size(void **state) {
        (void)state;
        /* 4,000 empty messages take 40 times their wire size: within the field limit, past the
         * arena. */
        size_t n = 8000;
        uint8_t *wire = malloc(n);
        for (size_t i = 0; i < n; i += 2) {
                wire[i] = 0x3A; /* StatsResult.clients */
                wire[i + 1] = 0;
        }
        struct error err;
        struct arena arena = { NULL, 0, 0 };
        const ProtobufCMessage *message = NULL;
        assert_int_equal(message_unpack(RECORD_STATS_RESULT, wire, n, &arena, &message, &err),
                         -E2BIG);
        assert_true(arena.capacity <= MESSAGE_ARENA_BYTES(n));
        arena_deinit(&arena);
        free(wire);
}

static void the_largest_honest_stats_fit(void **state) {
        (void)state;
        Seekd__V1__ClientStats client = SEEKD__V1__CLIENT_STATS__INIT;
        client.pid = client.uid = client.running = client.queued = UINT32_MAX;
        client.connection = UINT64_MAX;
        Seekd__V1__RequestStats request = SEEKD__V1__REQUEST_STATS__INIT;
        request.connection = UINT64_MAX;
        request.request_id = request.pid = request.slot = request.prompt_tokens = UINT32_MAX;
        request.prompt_done = request.generated_tokens = UINT32_MAX;
        request.phase = SEEKD__V1__PHASE__PHASE_DECODE;
        request.class_ = SEEKD__V1__CLASS__CLASS_TURN;
        request.age_ms = 1;
        Seekd__V1__ClientStats *clients[128];
        Seekd__V1__RequestStats *requests[128];
        for (unsigned i = 0; i < 128; i++) {
                clients[i] = &client;
                requests[i] = &request;
        }
        Seekd__V1__StatsResult stats = SEEKD__V1__STATS_RESULT__INIT;
        stats.n_clients = stats.n_requests = 128;
        stats.clients = clients;
        stats.requests = requests;
        size_t n = message_packed_bytes(&stats.base);
        uint8_t *wire = malloc(n);
        assert_int_equal(message_pack(&stats.base, wire, n), n);
        assert_int_equal(unpack(RECORD_STATS_RESULT, wire, n, NULL), 0);
        free(wire);
}

static void a_message_over_its_size_is_refused(void **state) {
        (void)state;
        struct error err;
        uint8_t *wire = calloc(1, MESSAGE_CONTROL_BYTES_MAX + 1);
        assert_int_equal(unpack(RECORD_STATS, wire, MESSAGE_CONTROL_BYTES_MAX + 1, &err),
                         -EMSGSIZE);
        assert_string_equal(err.text, "Stats: 65537 bytes, at most 65536 are allowed");
        free(wire);
}

/* Depth of the deepest path from a message; more than `limit` when it may contain itself. */
static unsigned schema_depth(const ProtobufCMessageDescriptor *descriptor, unsigned limit) {
        unsigned deepest = 0;
        for (unsigned i = 0; limit > 0 && i < descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
                if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
                        unsigned depth = schema_depth(field->descriptor, limit - 1);
                        deepest = depth > deepest ? depth : deepest;
                }
        }
        return deepest + 1;
}

static void no_message_of_the_schema_is_deeper_than_the_limit(void **state) {
        (void)state;
        unsigned n = 0;
        for (unsigned type = 0; type < 65536; type++) {
                const ProtobufCMessageDescriptor *descriptor = message_descriptor(type);
                if (!descriptor)
                        continue;
                n++;
                assert_true(schema_depth(descriptor, MESSAGE_DEPTH_MAX + 1) <= MESSAGE_DEPTH_MAX);
                assert_true(message_bytes_max(type) > 0);
        }
        assert_true(n >= 25); /* the walk met them: there were as many in the first version */
}

static void token_deltas_are_read_as_written(void **state) {
        (void)state;
        _Alignas(8) uint8_t payload[128];
        struct token_top top = { 9, -1.5f };
        struct token_delta first = {
                .id = 5, .n_top = 1, .logprob = -0.5f, .text_bytes = 3, .position = 12
        };
        struct token_delta second = { .id = 6, .channel = TOKEN_CHANNEL_REASONING, .position = 13 };
        int64_t a = token_delta_put(payload, sizeof(payload), &first, &top, "\xE2\x82\xAC");
        assert_int_equal(a, 40);
        int64_t b = token_delta_put(payload + a, sizeof(payload) - (size_t)a, &second, NULL, NULL);
        assert_int_equal(b, 24);
        assert_int_equal(token_delta_put(payload, 39, &first, &top, "\xE2\x82\xAC"), -ENOSPC);

        size_t at = 0;
        struct token_view view;
        assert_int_equal(token_delta_next(payload, 64, &at, &view), 1);
        assert_int_equal(view.delta.id, 5);
        assert_memory_equal(view.text, "\xE2\x82\xAC", 3);
        assert_memory_equal(view.top, &top, sizeof(top));
        assert_int_equal(token_delta_next(payload, 64, &at, &view), 1);
        assert_int_equal(view.delta.channel, TOKEN_CHANNEL_REASONING);
        assert_int_equal(token_delta_next(payload, 64, &at, &view), 0);
}

static void broken_token_deltas_are_refused(void **state) {
        (void)state;
        uint8_t payload[64];
        struct token_view view;
        struct token_delta delta = { .id = 5, .text_bytes = 2 };
        assert_int_equal(token_delta_put(payload, sizeof(payload), &delta, NULL, "ab"), 32);
        for (size_t n = 1; n < 32; n++) {
                size_t at = 0;
                assert_int_equal(token_delta_next(payload, n, &at, &view), -EPROTO);
        }
        size_t at = 0;
        payload[24] = 0xC3; /* "\xC3" "b" */
        assert_int_equal(token_delta_next(payload, 32, &at, &view), -EPROTO);
        delta.text_bytes = UINT32_MAX;
        memcpy(payload, &delta, sizeof(delta));
        assert_int_equal(token_delta_next(payload, 32, &at, &view), -EPROTO);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_packed_request_is_unpacked_unchanged),
                cmocka_unit_test(an_unknown_field_is_ignored),
                cmocka_unit_test(an_unknown_record_type_is_refused),
                cmocka_unit_test(invalid_utf8_is_refused_with_its_place),
                cmocka_unit_test(a_nul_in_a_string_is_refused),
                cmocka_unit_test(cut_off_or_lying_wires_are_refused),
                cmocka_unit_test(every_prefix_of_a_message_is_refused_or_read),
                cmocka_unit_test(more_fields_than_the_limit_are_refused),
                cmocka_unit_test(memory_is_bounded_by_the_wire_size),
                cmocka_unit_test(the_largest_honest_stats_fit),
                cmocka_unit_test(a_message_over_its_size_is_refused),
                cmocka_unit_test(no_message_of_the_schema_is_deeper_than_the_limit),
                cmocka_unit_test(token_deltas_are_read_as_written),
                cmocka_unit_test(broken_token_deltas_are_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
