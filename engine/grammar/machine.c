#include "engine/grammar/machine.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/grammar/text_state.h"

enum root_phase { ROOT_VALUE, ROOT_DONE, ROOT_ENDED };
enum object_phase { OBJECT_FIRST, OBJECT_NAME, OBJECT_COLON, OBJECT_VALUE, OBJECT_NEXT };
enum array_phase { ARRAY_FIRST, ARRAY_VALUE, ARRAY_NEXT };
enum loop_phase { LOOP_WORD, LOOP_VALUE };
enum free_phase { FREE_LINE, FREE_BEGINNING, FREE_TAG };

/* One step under way. */
struct step {
        const struct grammar *grammar;
        struct link_pool *pool;
        struct thread *out;
        size_t n_out;
        uint8_t symbol;
        bool out_of_memory;
};

static void feed(struct step *step, struct thread thread);

void link_pool_deinit(struct link_pool *pool) {
        free(pool->links);
        *pool = (struct link_pool){ 0 };
}

static const struct node *node_at(const struct step *step, uint32_t node) {
        return &step->grammar->nodes[node];
}

/* -------- threads -------- */

static void emit(struct step *step, const struct thread *thread) {
        for (size_t i = 0; i < step->n_out; i++)
                if (step->out[i].below == thread->below &&
                    memcmp(&step->out[i].top, &thread->top, sizeof(thread->top)) == 0)
                        return;
        if (step->n_out < MACHINE_THREADS_MAX)
                step->out[step->n_out++] = *thread;
}

/* The frame below becomes the top: it already stands where it goes on. A sequence that is through
 * is no place to stand. */
static struct thread popped(const struct step *step, const struct thread *thread) {
        uint32_t at = thread->below;
        const struct link *link;
        do {
                link = &step->pool->links[at];
                at = link->below;
        } while (link->frame.kind == FRAME_SEQUENCE &&
                 link->frame.a == node_at(step, link->frame.node)->list.n);
        return (struct thread){ .top = link->frame, .below = link->below, .depth = link->depth };
}

static void emit_popped(struct step *step, const struct thread *thread) {
        struct thread below = popped(step, thread);
        emit(step, &below);
}

static uint32_t push(struct step *step, const struct thread *under) {
        struct link_pool *pool = step->pool;
        if (pool->n == pool->capacity) {
                uint32_t capacity = pool->capacity > 0 ? 2 * pool->capacity : 64;
                struct link *larger = realloc(pool->links, capacity * sizeof(*larger));
                if (!larger) {
                        step->out_of_memory = true;
                        return LINK_NONE;
                }
                pool->links = larger;
                pool->capacity = capacity;
        }
        pool->links[pool->n] = (struct link){ under->top, under->below, under->depth };
        return pool->n++;
}

/* -------- what fits -------- */

static bool fits(const struct step *step, uint32_t depth, uint32_t node) {
        return node != NODE_NONE && depth + 1 + node_at(step, node)->height <= GRAMMAR_DEPTH_MAX;
}

static bool bit(const uint64_t *bits, uint32_t i) {
        return bits[i / 64] >> i % 64 & 1;
}

static void set_bit(uint64_t *bits, uint32_t i) {
        bits[i / 64] |= UINT64_C(1) << i % 64;
}

static bool covers(const uint64_t *bits, const uint64_t *required) {
        for (unsigned i = 0; i < SEEN_WORDS; i++)
                if (required[i] & ~bits[i])
                        return false;
        return true;
}

/* Narrows words [*low, *high), which agree in their first `at` bytes, to those that go on with
 * `symbol`. */
static void narrow(const struct step *step, const struct word_set *set, uint32_t *low,
                   uint32_t *high, uint32_t at, uint8_t symbol) {
        if (*low == *high)
                return;
        const struct word *words = step->grammar->words + set->first;
        const char *text = step->grammar->text;
        uint32_t a = *low, b = *high;
        /* Shortest first: one of them can end here. */
        while (a < b && words[a].n <= at)
                a++;
        uint32_t end = b;
        while (a < end) {
                uint32_t middle = a + (end - a) / 2;
                if ((uint8_t)text[words[middle].at + at] < symbol)
                        a = middle + 1;
                else
                        end = middle;
        }
        end = a;
        while (end < b) {
                uint32_t middle = end + (b - end) / 2;
                if ((uint8_t)text[words[middle].at + at] <= symbol)
                        end = middle + 1;
                else
                        b = middle;
        }
        *low = a;
        *high = end;
}

static bool ends(const struct step *step, const struct word_set *set, uint32_t word, uint32_t at) {
        return step->grammar->words[set->first + word].n == at;
}

static bool name_fits(const struct step *step, const struct frame *object, uint32_t depth,
                      uint32_t name) {
        const struct node *node = node_at(step, object->node);
        return !bit(object->seen, name) &&
                fits(step, depth, step->grammar->lists[node->object.values + name]);
}

static bool any_name_fits(const struct step *step, const struct frame *object, uint32_t depth,
                          uint32_t low, uint32_t high) {
        while (low < high && !name_fits(step, object, depth, low))
                low++;
        return low < high;
}

static bool another_name_fits(const struct step *step, const struct thread *object) {
        const struct node *node = node_at(step, object->top.node);
        return fits(step, object->depth, node->object.additional) ||
                any_name_fits(step, &object->top, object->depth, 0, node->object.names.n);
}

static bool word_fits(const struct step *step, const struct thread *loop, uint32_t word) {
        const struct node *node = node_at(step, loop->top.node);
        bool empty = loop->top.blanks == 0;
        if (word == node->loop.end || (word == node->loop.end_empty && empty))
                return covers(loop->top.seen, node->loop.required) && !(node->loop.some && empty);
        if (word == node->loop.end_empty)
                return false;
        return (node->loop.again || !bit(loop->top.seen, word)) &&
                fits(step, loop->depth, step->grammar->lists[node->loop.values + word]);
}

static bool any_word_fits(const struct step *step, const struct thread *loop, uint32_t low,
                          uint32_t high) {
        while (low < high && !word_fits(step, loop, low))
                low++;
        return low < high;
}

/* -------- beginning a value -------- */

/* Begins `node` with the step's symbol, upon the frame of `under`, which stands where it will go
 * on. `link` is that frame's place in the pool once an alternative has put it there. */
static void begin(struct step *step, const struct thread *under, uint32_t *link, uint32_t index) {
        const struct node *node = node_at(step, index);
        if (!fits(step, under->depth, index))
                return;
        if (node->kind == NODE_CHOICE) {
                for (uint32_t i = 0; i < node->list.n; i++)
                        begin(step, under, link, step->grammar->lists[node->list.first + i]);
                return;
        }

        struct thread thread = { .top = { .node = index }, .depth = under->depth + 1 };
        bool takes = true; /* the symbol is all of the beginning */
        switch (node->kind) {
        case NODE_STRING: thread.top.kind = FRAME_STRING; break;
        case NODE_OBJECT: thread.top.kind = FRAME_OBJECT; break;
        case NODE_ARRAY: thread.top.kind = FRAME_ARRAY; break;
        default: takes = false; break;
        }
        if (takes) {
                uint8_t first = node->kind == NODE_STRING ? '"'
                        : node->kind == NODE_OBJECT       ? '{'
                                                          : '[';
                if (step->symbol != first)
                        return;
        }
        if (*link == LINK_NONE)
                *link = push(step, under);
        if (*link == LINK_NONE)
                return;
        thread.below = *link;
        if (takes) {
                emit(step, &thread);
                return;
        }
        switch (node->kind) {
        case NODE_WORDS:
                thread.top.kind = FRAME_WORDS;
                thread.top.b = node->words.n;
                break;
        case NODE_AUTOMATON:
                thread.top.kind = FRAME_AUTOMATON;
                thread.top.a = node->automaton.start;
                break;
        case NODE_SEQUENCE: thread.top.kind = FRAME_SEQUENCE; break;
        case NODE_LOOP:
                thread.top.kind = FRAME_LOOP;
                thread.top.b = node->loop.words.n;
                break;
        case NODE_RAW: thread.top.kind = FRAME_RAW; break;
        case NODE_FREE:
                thread.top.kind = FRAME_FREE;
                thread.top.phase = FREE_BEGINNING;
                break;
        default: return;
        }
        feed(step, thread);
}

static void begin_value(struct step *step, const struct thread *under, uint32_t node) {
        uint32_t link = LINK_NONE;
        begin(step, under, &link, node);
}

/* -------- one symbol for each kind of frame -------- */

/* Blanks between tokens of JSON: true when the symbol is one. */
static bool take_blank(struct step *step, struct thread *thread) {
        struct frame *top = &thread->top;
        switch (step->symbol) {
        case ' ':
        case '\t':
        case '\r':
                if (top->blanks < MACHINE_BLANKS_MAX) {
                        top->blanks++;
                        emit(step, thread);
                }
                return true;
        case '\n':
                if (!top->broken) {
                        top->broken = true;
                        emit(step, thread);
                }
                return true;
        default: return false;
        }
}

static void enter_phase(struct frame *frame, uint8_t phase) {
        frame->phase = phase;
        frame->blanks = 0;
        frame->broken = false;
}

static void feed_root(struct step *step, struct thread *root) {
        if (root->top.phase == ROOT_VALUE) {
                if (step->grammar->blanks_first && take_blank(step, root))
                        return;
                enter_phase(&root->top, ROOT_DONE);
                begin_value(step, root, root->top.node);
        } else if (root->top.phase == ROOT_DONE && step->symbol == SYMBOL_END) {
                root->top.phase = ROOT_ENDED;
                emit(step, root);
        }
}

static void feed_string(struct step *step, struct thread *string) {
        const struct node *node = node_at(step, string->top.node);
        struct frame *top = &string->top;
        if (top->phase == TEXT_PLAIN) {
                if (step->symbol == '"') {
                        if (top->a >= node->string.min)
                                emit_popped(step, string);
                        return;
                }
                if (top->a >= node->string.max)
                        return;
                /* Counted as far as it matters, so that threads meet again. */
                if (node->string.max != UINT32_MAX || top->a < node->string.min)
                        top->a++;
        }
        enum text_state next = text_step_string(top->phase, step->symbol);
        if (next == TEXT_REFUSED)
                return;
        top->phase = (uint8_t)next;
        emit(step, string);
}

static void feed_words(struct step *step, struct thread *thread) {
        const struct word_set *set = &node_at(step, thread->top.node)->words;
        struct frame *top = &thread->top;
        uint32_t low = top->a, high = top->b;
        narrow(step, set, &low, &high, top->c, step->symbol);
        if (low < high) {
                top->a = low;
                top->b = high;
                top->c++;
                if (high - low == 1 && ends(step, set, low, top->c))
                        emit_popped(step, thread);
                else
                        emit(step, thread);
        } else if (top->c > 0 && ends(step, set, top->a, top->c)) {
                feed(step, popped(step, thread));
        }
}

static void feed_automaton(struct step *step, struct thread *thread) {
        const struct automaton_state *state = &step->grammar->states[thread->top.a];
        const struct automaton_edge *edges = step->grammar->edges + state->first;
        for (unsigned i = 0; i < state->n_edges && edges[i].low <= step->symbol; i++) {
                if (step->symbol > edges[i].high)
                        continue;
                thread->top.a = edges[i].target;
                if (step->grammar->states[thread->top.a].n_edges == 0)
                        emit_popped(step, thread);
                else
                        emit(step, thread);
                return;
        }
        if (state->accepts)
                feed(step, popped(step, thread));
}

static void feed_object(struct step *step, struct thread *object) {
        const struct node *node = node_at(step, object->top.node);
        struct frame *top = &object->top;
        if (take_blank(step, object))
                return;
        bool may_end = top->phase == OBJECT_FIRST || top->phase == OBJECT_NEXT;
        if (step->symbol == '}' && may_end) {
                if (covers(top->seen, node->object.required))
                        emit_popped(step, object);
                return;
        }
        switch (top->phase) {
        case OBJECT_FIRST:
        case OBJECT_NAME: {
                if (step->symbol != '"' || !another_name_fits(step, object))
                        return;
                enter_phase(top, OBJECT_COLON);
                struct thread name = {
                        .top = { .node = top->node, .kind = FRAME_NAME, .b = node->object.names.n },
                        .below = push(step, object),
                        .depth = object->depth + 1
                };
                if (name.below != LINK_NONE)
                        emit(step, &name);
                return;
        }
        case OBJECT_COLON:
                if (step->symbol != ':')
                        return;
                enter_phase(top, OBJECT_VALUE);
                emit(step, object);
                return;
        case OBJECT_VALUE: {
                uint32_t value = top->a;
                top->a = 0;
                enter_phase(top, OBJECT_NEXT);
                begin_value(step, object, value);
                return;
        }
        default:
                if (step->symbol != ',' || !another_name_fits(step, object))
                        return;
                enter_phase(top, OBJECT_NAME);
                emit(step, object);
        }
}

/* The name is over: the object goes on with its value. */
static void end_name(struct step *step, const struct thread *name, const struct node *node) {
        struct thread object = popped(step, name);
        uint32_t low = name->top.a;
        if (low < name->top.b && ends(step, &node->object.names, low, name->top.c)) {
                if (!name_fits(step, &object.top, object.depth, low))
                        return;
                set_bit(object.top.seen, low);
                object.top.a = step->grammar->lists[node->object.values + low];
        } else {
                if (!fits(step, object.depth, node->object.additional))
                        return;
                object.top.a = node->object.additional;
        }
        emit(step, &object);
}

/* Words [a, b) agree with the name so far, which has c bytes. The phase is that of a name in
 * general, and TEXT_REFUSED once only the words can make it one. */
static void feed_name(struct step *step, struct thread *name) {
        const struct node *node = node_at(step, name->top.node);
        struct frame *top = &name->top;
        const struct link *object = &step->pool->links[name->below];
        bool whole = top->a < top->b && ends(step, &node->object.names, top->a, top->c);
        if (step->symbol == '"' && (whole || top->phase == TEXT_PLAIN)) {
                end_name(step, name, node);
                return;
        }
        enum text_state next = TEXT_REFUSED;
        if (top->phase != TEXT_REFUSED && fits(step, object->depth, node->object.additional))
                next = text_step_name(top->phase, step->symbol);
        narrow(step, &node->object.names, &top->a, &top->b, top->c, step->symbol);
        top->c++;
        if (!any_name_fits(step, &object->frame, object->depth, top->a, top->b)) {
                if (next == TEXT_REFUSED)
                        return;
                /* Names that came already still matter: they must not come again. */
                if (top->a == top->b)
                        top->a = top->b = top->c = 0;
        }
        top->phase = (uint8_t)next;
        emit(step, name);
}

static uint32_t item_node(const struct step *step, const struct node *node, uint32_t index) {
        if (index >= node->array.max)
                return NODE_NONE;
        if (index < node->array.n_prefix)
                return step->grammar->lists[node->array.prefix + index];
        return node->array.items;
}

/* `a` counts the items, as far as it matters. */
static void feed_array(struct step *step, struct thread *array) {
        const struct node *node = node_at(step, array->top.node);
        struct frame *top = &array->top;
        if (take_blank(step, array))
                return;
        if (step->symbol == ']' && top->phase != ARRAY_VALUE) {
                if (top->a >= node->array.min)
                        emit_popped(step, array);
                return;
        }
        uint32_t item = item_node(step, node, top->a);
        if (!fits(step, array->depth, item))
                return;
        if (top->phase == ARRAY_NEXT) {
                if (step->symbol != ',')
                        return;
                enter_phase(top, ARRAY_VALUE);
                emit(step, array);
                return;
        }
        if (node->array.max != UINT32_MAX || top->a < node->array.n_prefix ||
            top->a < node->array.min)
                top->a++;
        enter_phase(top, ARRAY_NEXT);
        begin_value(step, array, item);
}

static void feed_sequence(struct step *step, struct thread *sequence) {
        const struct node *node = node_at(step, sequence->top.node);
        uint32_t element = step->grammar->lists[node->list.first + sequence->top.a];
        sequence->top.a++;
        begin_value(step, sequence, element);
}

/* `blanks` is 1 once there was a value. */
static void feed_loop(struct step *step, struct thread *loop) {
        const struct node *node = node_at(step, loop->top.node);
        struct frame *top = &loop->top;
        if (top->phase == LOOP_VALUE) {
                uint32_t value = step->grammar->lists[node->loop.values + top->a];
                top->phase = LOOP_WORD;
                top->blanks = 1;
                top->a = top->c = 0;
                top->b = node->loop.words.n;
                begin_value(step, loop, value);
                return;
        }
        narrow(step, &node->loop.words, &top->a, &top->b, top->c, step->symbol);
        top->c++;
        if (!any_word_fits(step, loop, top->a, top->b))
                return;
        if (!ends(step, &node->loop.words, top->a, top->c)) {
                emit(step, loop);
        } else if (top->a == node->loop.end || top->a == node->loop.end_empty) {
                emit_popped(step, loop);
        } else {
                if (!node->loop.again)
                        set_bit(top->seen, top->a);
                top->phase = LOOP_VALUE;
                emit(step, loop);
        }
}

/* How far "｜DSML｜" is spelt out, as bytes instead of the token: it must not be finished, or a
 * reader of the text would take it for the end. */
static uint32_t spell(uint32_t at, uint8_t byte) {
        static const uint8_t tag[] = { 0xef, 0xbd, 0x9c, 'D', 'S', 'M', 'L', 0xef, 0xbd, 0x9c };
        for (;;) {
                if (tag[at] == byte)
                        return at + 1;
                if (at == 0)
                        return 0;
                at = at == 8 || at == 9 ? at - 7 : 0;
        }
}

#define SPELT_OUT 10

/* `a`: how much of "</" there is; `b`: of the tag spelt out. */
static void feed_raw(struct step *step, struct thread *raw) {
        struct frame *top = &raw->top;
        if (step->symbol == SYMBOL_DSML) {
                if (top->a == 2)
                        emit_popped(step, raw);
                return;
        }
        enum text_state next = text_step_utf8(top->phase, step->symbol);
        top->b = spell(top->b, step->symbol);
        if (next == TEXT_REFUSED || top->b == SPELT_OUT)
                return;
        if (step->symbol == '<')
                top->a = 1;
        else
                top->a = top->a == 1 && step->symbol == '/' ? 2 : 0;
        top->phase = (uint8_t)next;
        emit(step, raw);
}

/* The phase: within a line, at the beginning of one (or of the text), behind a '<' there. */
static void feed_free(struct step *step, struct thread *thread) {
        const struct node *node = node_at(step, thread->top.node);
        if (step->symbol == SYMBOL_END) {
                struct thread ended = { .top = { .kind = FRAME_ROOT,
                                                 .phase = ROOT_ENDED,
                                                 .node = step->grammar->root },
                                        .below = LINK_NONE };
                if (node->free.may_end)
                        emit(step, &ended);
                return;
        }
        bool opens = step->symbol == SYMBOL_DSML && thread->top.phase == FREE_TAG;
        if (step->symbol == node->free.trigger && (node->free.trigger != SYMBOL_DSML || opens)) {
                emit_popped(step, thread);
                return;
        }
        bool begins = step->symbol == '\n' || step->symbol == SYMBOL_THINK_END;
        if (step->symbol == '<' && thread->top.phase == FREE_BEGINNING)
                thread->top.phase = FREE_TAG;
        else
                thread->top.phase = begins ? FREE_BEGINNING : FREE_LINE;
        emit(step, thread);
}

/* Calls itself for what a symbol behind a finished value means below: at most once per frame. */
static void feed(struct step *step, struct thread thread) {
        switch (thread.top.kind) {
        case FRAME_ROOT: feed_root(step, &thread); break;
        case FRAME_STRING: feed_string(step, &thread); break;
        case FRAME_WORDS: feed_words(step, &thread); break;
        case FRAME_AUTOMATON: feed_automaton(step, &thread); break;
        case FRAME_OBJECT: feed_object(step, &thread); break;
        case FRAME_NAME: feed_name(step, &thread); break;
        case FRAME_ARRAY: feed_array(step, &thread); break;
        case FRAME_SEQUENCE: feed_sequence(step, &thread); break;
        case FRAME_LOOP: feed_loop(step, &thread); break;
        case FRAME_RAW: feed_raw(step, &thread); break;
        case FRAME_FREE: feed_free(step, &thread); break;
        default: break;
        }
}

/* -------- the outside -------- */

void machine_start(const struct grammar *grammar, struct thread *ret) {
        *ret = (struct thread){ .top = { .kind = FRAME_ROOT, .node = grammar->root },
                                .below = LINK_NONE };
}

int machine_step(const struct grammar *grammar, struct link_pool *pool, const struct thread *in,
                 size_t n_in, uint8_t symbol, struct thread *out) {
        struct step step = { .grammar = grammar, .pool = pool, .out = out, .symbol = symbol };
        for (size_t i = 0; i < n_in; i++)
                feed(&step, in[i]);
        return step.out_of_memory ? -ENOMEM : (int)step.n_out;
}

void machine_compact(struct link_pool *pool, struct thread *threads, size_t n, uint32_t *scratch) {
        /* What lies below lies earlier in the pool: marked downwards, moved upwards. */
        memset(scratch, 0, pool->n * sizeof(*scratch));
        for (size_t i = 0; i < n; i++)
                if (threads[i].below != LINK_NONE)
                        scratch[threads[i].below] = 1;
        for (uint32_t i = pool->n; i-- > 0;)
                if (scratch[i] && pool->links[i].below != LINK_NONE)
                        scratch[pool->links[i].below] = 1;
        uint32_t n_kept = 0;
        for (uint32_t i = 0; i < pool->n; i++) {
                if (!scratch[i])
                        continue;
                struct link *link = &pool->links[n_kept];
                *link = pool->links[i];
                if (link->below != LINK_NONE)
                        link->below = scratch[link->below];
                scratch[i] = n_kept++;
        }
        for (size_t i = 0; i < n; i++)
                if (threads[i].below != LINK_NONE)
                        threads[i].below = scratch[threads[i].below];
        pool->n = n_kept;
}

bool frame_in_string(const struct grammar *grammar, const struct frame *frame) {
        if (frame->kind == FRAME_STRING || frame->kind == FRAME_NAME)
                return true;
        return (frame->kind == FRAME_WORDS || frame->kind == FRAME_AUTOMATON) &&
                grammar->nodes[frame->node].in_string;
}
