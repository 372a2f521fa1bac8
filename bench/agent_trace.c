#include "bench/agent_trace.h"

#include <math.h>

#include "client/seekd.h"
#include "engine/philox.h"

/* -- sizes in tokens, of agents as they are ------------------------------------------------------
 *
 * Tools and system prompt are 7,700 to 20,000 tokens of the agents that people use, most about
 * 9,500. 610 recorded sessions of one of them had 33 turns in the median, 80,000 tokens of context
 * by turn 30 and 131 tokens read for one written: some 2,300 more a turn, of which 340 are written.
 */
#define SYSTEM_TOKENS     9500
#define TITLE_TOKENS      400 /* instructions, the same for all */
#define SESSION_TURNS     32
#define TASK_TURNS        8
#define FORK_TURN         3 /* of a task; the sub-agent has two requests */
#define KEYSTROKES        8 /* before the editor goes to another place */
#define COMPLETION_TOKENS 1024
#define TYPED_TOKENS      48 /* since the last request: a line, at the scale of the others */

struct length {
        double median, sigma; /* log-normal */
};
static const struct length message = { 200, 0.5 }, result = { 1200, 1.0 }, answer = { 250, 0.8 },
                           report = { 400, 0.5 };
#define TITLE_ANSWER_TOKENS      100
#define COMPLETION_ANSWER_TOKENS 128

/* A tool's time and a keystroke's, as shares of the median: a few run for long. */
#define PAUSE_SIGMA 1.0
/* A draw beyond this many times its median, or below its inverse, is that. */
#define TAIL 8.0

/* -- draws ---------------------------------------------------------------------------------------
 */

enum draw { DRAW_TOKENS, DRAW_NEW, DRAW_ANSWER, DRAW_PAUSE };

static void draw(const struct agent_trace *trace, enum trace_kind kind, enum draw what,
                 unsigned number, unsigned turn, uint32_t i, uint32_t ret[static 4]) {
        const uint32_t counter[] = { i, turn, number, (uint32_t)kind * 4 + (uint32_t)what };
        philox4x32(counter, (const uint32_t[]){ trace->seed, 0 }, ret);
}

/* From the sum of twelve uniform draws: near enough to normal for lengths. */
static double log_normal(const struct agent_trace *trace, enum trace_kind kind, enum draw what,
                         unsigned number, unsigned turn, struct length length) {
        double sum = -6;
        for (uint32_t i = 0; i < 3; i++) {
                uint32_t random[4];
                draw(trace, kind, what, number, turn, i, random);
                for (unsigned j = 0; j < 4; j++)
                        sum += random[j] * 0x1p-32;
        }
        double factor = exp(length.sigma * sum);
        return length.median * fmax(1 / TAIL, fmin(TAIL, factor));
}

static uint32_t scaled(const struct agent_trace *trace, double tokens, uint32_t least) {
        double n = round(tokens / trace->scale);
        return n > least ? (uint32_t)n : least;
}

/* Two at least, so that there is a time between tokens. */
static uint32_t n_answer(const struct agent_trace *trace, unsigned number, unsigned turn) {
        return scaled(trace, log_normal(trace, TRACE_AGENT, DRAW_ANSWER, number, turn, answer), 2);
}

/* -- who asks what -------------------------------------------------------------------------------
 */

static struct trace_step agent_step(const struct agent_trace *trace, unsigned number,
                                    unsigned turn) {
        unsigned at = turn % TASK_TURNS;
        struct trace_step step = { .base = TRACE_ON, .service = SEEKD_CLASS_AGENT };
        struct length length = at == 0 ? message
                : at == FORK_TURN      ? message
                : at == FORK_TURN + 2  ? report
                                       : result;
        if (at == 0)
                step.service = SEEKD_CLASS_TURN;
        if (turn % SESSION_TURNS == 0)
                step.base = TRACE_FRESH;
        else if (at == FORK_TURN)
                step.base = TRACE_FORK;
        else if (at == FORK_TURN + 2)
                step.base = TRACE_JOIN;
        step.n_new =
                scaled(trace, log_normal(trace, TRACE_AGENT, DRAW_NEW, number, turn, length), 1);
        step.n_answer = n_answer(trace, number, turn);
        step.pause_ms = log_normal(trace, TRACE_AGENT, DRAW_PAUSE, number, turn,
                                   (struct length){ trace->pause_ms, PAUSE_SIGMA });
        return step;
}

static struct trace_step title_step(const struct agent_trace *trace, unsigned number,
                                    unsigned turn) {
        double tokens = log_normal(trace, TRACE_TITLE, DRAW_NEW, number, turn, message);
        return (struct trace_step){ .base = TRACE_FRESH,
                                    .service = SEEKD_CLASS_BACKGROUND,
                                    .n_new = scaled(trace, tokens, 1),
                                    .n_answer = scaled(trace, TITLE_ANSWER_TOKENS, 2) };
}

static struct trace_step editor_step(const struct agent_trace *trace, unsigned number,
                                     unsigned turn) {
        bool elsewhere = turn % KEYSTROKES == 0;
        struct length pause = { trace->pause_ms / 4.0, PAUSE_SIGMA };
        return (struct trace_step){
                .base = elsewhere ? TRACE_FRESH : TRACE_TYPED,
                .service = SEEKD_CLASS_INTERACTIVE,
                .n_new = scaled(trace, elsewhere ? COMPLETION_TOKENS : TYPED_TOKENS, 1),
                .n_answer = scaled(trace, COMPLETION_ANSWER_TOKENS, 2),
                .pause_ms = log_normal(trace, TRACE_EDITOR, DRAW_PAUSE, number, turn, pause),
        };
}

struct trace_step agent_trace_step(const struct agent_trace *trace, enum trace_kind kind,
                                   unsigned number, unsigned turn) {
        switch (kind) {
        case TRACE_TITLE: return title_step(trace, number, turn);
        case TRACE_EDITOR: return editor_step(trace, number, turn);
        default: return agent_step(trace, number, turn);
        }
}

/* -- tokens --------------------------------------------------------------------------------------
 */

uint32_t agent_trace_n_common(const struct agent_trace *trace, enum trace_kind kind) {
        switch (kind) {
        case TRACE_AGENT: return scaled(trace, SYSTEM_TOKENS, 1);
        case TRACE_TITLE: return scaled(trace, TITLE_TOKENS, 1);
        default: return 1;
        }
}

uint32_t agent_trace_common(const struct agent_trace *trace, enum trace_kind kind, uint32_t i) {
        return i == 0 ? trace->bos_id : agent_trace_new(trace, kind, UINT32_MAX, 0, i);
}

uint32_t agent_trace_new(const struct agent_trace *trace, enum trace_kind kind, unsigned number,
                         unsigned turn, uint32_t i) {
        uint32_t random[4];
        draw(trace, kind, DRAW_TOKENS, number, turn, i, random);
        return random[0] % trace->vocab_size;
}
