#include "daemon/tool_pauses.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"

/* FNV-1a: nobody gains by a collision but to learn wrong times for his own tools. */
uint64_t tool_id(const char *name, uint64_t n_bytes) {
        uint64_t hash = 0xcbf29ce484222325;
        for (uint64_t i = 0; i < n_bytes; i++)
                hash = (hash ^ (uint8_t)name[i]) * 0x100000001b3;
        return hash;
}

/* -- what is learned -----------------------------------------------------------------------------
 */

static const struct tool *find(const struct tool_pauses *pauses, uint32_t uid, uint64_t id) {
        for (unsigned i = 0; i < pauses->n_tools; i++)
                if (pauses->tools[i].uid == uid && pauses->tools[i].id == id)
                        return &pauses->tools[i];
        return NULL;
}

/* The one that was used longest ago: of this user if it has as many as one may, else of all. */
static struct tool *stalest(struct tool_pauses *pauses, uint32_t uid) {
        unsigned n_own = 0;
        for (unsigned i = 0; i < pauses->n_tools; i++)
                n_own += pauses->tools[i].uid == uid;
        bool own = n_own >= TOOLS_PER_USER_MAX;
        struct tool *first = NULL;
        for (unsigned i = 0; (own || pauses->n_tools == TOOLS_MAX) && i < pauses->n_tools; i++) {
                struct tool *tool = &pauses->tools[i];
                if ((!own || tool->uid == uid) && (!first || tool->used < first->used))
                        first = tool;
        }
        return first;
}

static struct tool *find_or_add(struct tool_pauses *pauses, uint32_t uid, uint64_t id) {
        struct tool *tool = (struct tool *)(uintptr_t)find(pauses, uid, id);
        if (tool)
                return tool;
        tool = stalest(pauses, uid);
        if (!tool)
                tool = &pauses->tools[pauses->n_tools++];
        *tool = (struct tool){ .uid = uid, .id = id };
        return tool;
}

static void learn(struct tool_pauses *pauses, const struct pause *pause, uint64_t ns) {
        struct tool *tool = find_or_add(pauses, pause->uid, pause->tool);
        tool->pause[tool->n++ % PAUSES_REMEMBERED] = ns < PAUSE_MOST_NS ? ns : PAUSE_MOST_NS;
        tool->used = ++pauses->n_uses;
}

static int ascending(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
        return x < y ? -1 : x > y;
}

uint64_t tool_pauses_bound_ns(const struct tool_pauses *pauses, uint32_t uid, uint64_t id) {
        const struct tool *tool = find(pauses, uid, id);
        uint64_t sorted[PAUSES_REMEMBERED];
        if (!tool || tool->n == 0)
                return PAUSE_UNKNOWN_NS;
        unsigned n = tool->n < PAUSES_REMEMBERED ? tool->n : PAUSES_REMEMBERED;
        memcpy(sorted, tool->pause, n * sizeof(sorted[0]));
        qsort(sorted, n, sizeof(sorted[0]), ascending);
        uint64_t usual = sorted[(4 * n + 4) / 5 - 1], bound = usual + usual / 2;
        return bound < PAUSE_LEAST_NS || bound > PAUSE_MOST_NS ? PAUSE_LEAST_NS : bound;
}

/* -- pauses that are open ------------------------------------------------------------------------
 */

/* Of tokens after what `digest` is of. A collision would be learned as one wrong pause. */
static uint32_t digest_more(uint32_t digest, const uint32_t *ids, uint32_t n) {
        return crc32c(digest, ids, (size_t)n * sizeof(*ids));
}

static uint32_t digest_of(const char *subject) {
        return crc32c(0, subject, strlen(subject));
}

static void remove_at(struct tool_pauses *pauses, unsigned i) {
        pauses->n_open--;
        memmove(&pauses->open[i], &pauses->open[i + 1],
                (pauses->n_open - i) * sizeof(pauses->open[0]));
}

/* What has not come back for so long is a pause of the longest kind: else a tool whose
 * conversations are given up would be waited for like one that is quick. */
static void give_up_old(struct tool_pauses *pauses, uint64_t now_ns) {
        while (pauses->n_open > 0 && now_ns - pauses->open[0].since_ns > PAUSE_MOST_NS) {
                learn(pauses, &pauses->open[0], PAUSE_MOST_NS);
                remove_at(pauses, 0);
        }
}

/* Room for one more of this user: the oldest goes, and nothing is known of how long it took. */
static void make_room(struct tool_pauses *pauses, uint32_t uid) {
        unsigned n_own = 0, first_own = 0;
        for (unsigned i = pauses->n_open; i > 0; i--)
                if (pauses->open[i - 1].uid == uid) {
                        n_own++;
                        first_own = i - 1;
                }
        if (n_own >= OPEN_PER_USER_MAX)
                remove_at(pauses, first_own);
        else if (pauses->n_open == OPEN_MAX)
                remove_at(pauses, 0);
}

void tool_pauses_begin(struct tool_pauses *pauses, uint32_t uid, const char *subject,
                       const uint32_t *ids, uint32_t n, uint64_t tool, uint64_t now_ns) {
        give_up_old(pauses, now_ns);
        make_room(pauses, uid);
        assert(pauses->n_open < OPEN_MAX);
        pauses->open[pauses->n_open++] = (struct pause){
                uid, tool, n, digest_more(digest_of(subject), ids, n), now_ns,
        };
}

/* The shortest open pause of this user that has more than n tokens, up to n_max. NULL: none. */
static const struct pause *next_length(const struct tool_pauses *pauses, uint32_t uid, uint32_t n,
                                       uint32_t n_max) {
        const struct pause *next = NULL;
        for (unsigned i = 0; i < pauses->n_open; i++) {
                const struct pause *p = &pauses->open[i];
                if (p->uid == uid && p->n > n && p->n <= n_max && (!next || p->n < next->n))
                        next = p;
        }
        return next;
}

void tool_pauses_end(struct tool_pauses *pauses, uint32_t uid, const char *subject,
                     const uint32_t *ids, uint32_t n, uint64_t now_ns) {
        uint32_t digest = digest_of(subject), done = 0;
        const struct pause *next;
        give_up_old(pauses, now_ns);
        while ((next = next_length(pauses, uid, done, n))) {
                digest = digest_more(digest, ids + done, next->n - done);
                done = next->n;
                for (unsigned i = pauses->n_open; i > 0; i--) {
                        const struct pause p = pauses->open[i - 1];
                        if (p.uid != uid || p.n != done || p.digest != digest)
                                continue;
                        learn(pauses, &p, now_ns > p.since_ns ? now_ns - p.since_ns : 0);
                        remove_at(pauses, i - 1);
                }
        }
}

void tool_pauses_forget(struct tool_pauses *pauses, uint32_t uid) {
        for (unsigned i = pauses->n_open; i > 0; i--)
                if (pauses->open[i - 1].uid == uid)
                        remove_at(pauses, i - 1);
        for (unsigned i = pauses->n_tools; i > 0; i--)
                if (pauses->tools[i - 1].uid == uid)
                        pauses->tools[i - 1] = pauses->tools[--pauses->n_tools];
}
