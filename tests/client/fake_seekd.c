/* A daemon for tests of the shell tool: serves one connection at PATH, without a model. What a
 * prompt begins with decides: "die" hangs up after a token, "refuse" is answered with an error,
 * "endless" goes on until it is cancelled, anything else is echoed byte by byte. A gap is answered
 * with the lengths of what lies around it. Usage: fake_seekd PATH; prints "ready" when it listens.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fake_daemon.h"
#include "proto/slots.h"

static bool begins_with(const ProtobufCBinaryData *text, const char *word) {
        return text->len >= strlen(word) && memcmp(text->data, word, strlen(word)) == 0;
}

static void echo(struct fake_daemon *daemon, uint32_t id, const ProtobufCBinaryData *text,
                 uint32_t max_tokens) {
        uint32_t n = text->len < max_tokens ? (uint32_t)text->len : max_tokens;
        for (uint32_t i = 0; i < n; i++)
                fake_token(daemon, id, text->data[i], (char[]){ (char)text->data[i], 0 });
        fake_done(daemon, id, SEEKD__V1__FINISH_REASON__FINISH_REASON_LENGTH);
}

static void go_on(struct fake_daemon *daemon, uint32_t id) {
        while (!slot_cancelled(&daemon->channel.peer, 0, id)) {
                fake_token(daemon, id, 1, "x");
                nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
        }
        fake_done(daemon, id, SEEKD__V1__FINISH_REASON__FINISH_REASON_CANCELLED);
}

/* False: hang up. */
static bool answer_generate(struct fake_daemon *daemon, uint32_t id,
                            const Seekd__V1__Generate *generate) {
        if (generate->prompt_case == SEEKD__V1__GENERATE__PROMPT_FIM) {
                fake_accepted(daemon, id, 0);
                char text[64];
                snprintf(text, sizeof(text), "%zu|%zu", generate->fim->prefix.len,
                         generate->fim->suffix.len);
                fake_token(daemon, id, 1, text);
                fake_done(daemon, id, SEEKD__V1__FINISH_REASON__FINISH_REASON_EOS);
                return true;
        }
        if (begins_with(&generate->text, "refuse")) {
                fake_error(daemon, id, SEEKD__V1__ERROR_CODE__ERROR_CODE_TOO_LARGE,
                           "prompt: too long by 3 tokens");
                return true;
        }
        fake_accepted(daemon, id, 0);
        if (begins_with(&generate->text, "die")) {
                fake_token(daemon, id, 1, "last");
                return false;
        }
        if (begins_with(&generate->text, "endless"))
                go_on(daemon, id);
        else
                echo(daemon, id, &generate->text, generate->sampling->max_tokens);
        return true;
}

static bool answer(struct fake_daemon *daemon, unsigned type, uint32_t id,
                   const ProtobufCMessage *message) {
        uint32_t ids[64];
        if (type == RECORD_GENERATE)
                return answer_generate(daemon, id, (const Seekd__V1__Generate *)message);
        if (type == RECORD_TOKENIZE) {
                const Seekd__V1__Tokenize *question = (const Seekd__V1__Tokenize *)message;
                Seekd__V1__TokenizeResult result = SEEKD__V1__TOKENIZE_RESULT__INIT;
                for (size_t i = 0; i < question->text.len && i < 64; i++)
                        ids[result.n_ids++] = question->text.data[i];
                result.ids = ids;
                fake_send(daemon, RECORD_TOKENIZE_RESULT, id, &result.base);
        } else if (type == RECORD_DETOKENIZE) {
                const Seekd__V1__Detokenize *question = (const Seekd__V1__Detokenize *)message;
                uint8_t text[64];
                Seekd__V1__DetokenizeResult result = SEEKD__V1__DETOKENIZE_RESULT__INIT;
                for (size_t i = 0; i < question->n_ids && i < 64; i++)
                        text[result.text.len++] = (uint8_t)question->ids[i];
                result.text.data = text;
                fake_send(daemon, RECORD_DETOKENIZE_RESULT, id, &result.base);
        } else if (type == RECORD_MODEL_INFO) {
                Seekd__V1__ModelInfoResult result = SEEKD__V1__MODEL_INFO_RESULT__INIT;
                result.name = (char *)"none";
                result.fim = true;
                fake_send(daemon, RECORD_MODEL_INFO_RESULT, id, &result.base);
        } else if (type == RECORD_STATS) {
                Seekd__V1__RequestStats request = SEEKD__V1__REQUEST_STATS__INIT;
                request.pid = 7;
                request.phase = SEEKD__V1__PHASE__PHASE_DECODE;
                Seekd__V1__StatsResult result = SEEKD__V1__STATS_RESULT__INIT;
                result.version = (char *)"0.0.0";
                result.model_ready = true;
                result.n_requests = 1;
                result.requests = (Seekd__V1__RequestStats *[]){ &request };
                fake_send(daemon, RECORD_STATS_RESULT, id, &result.base);
        }
        return true;
}

int main(int argc, char **argv) {
        if (argc != 2)
                return 1;
        struct fake_daemon daemon;
        fake_listen(&daemon, argv[1]);
        puts("ready");
        fflush(stdout);
        fake_welcome(&daemon);
        unsigned type;
        uint32_t id;
        const ProtobufCMessage *message;
        do
                message = fake_request(&daemon, &type, &id);
        while (message && answer(&daemon, type, id, message));
        fake_hang_up(&daemon);
        fake_close(&daemon);
        return 0;
}
