/* One request to a daemon that may be killed at any moment, and what its client saw of it.
 *
 *   soak-client SOCKET SEED MAX-TOKENS SUBJECT < IDS
 *
 * Reads token ids, sends them as the prompt and prints one JSON object: the code with which it
 * ended (0, or an enum seekd_error), the tokens that came, how many of the prompt were reused, and
 * for each time that progress was seen, milliseconds since the start and tokens computed. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client/seekd.h"

/* Often enough to date work to a few milliseconds; each look is a few loads. */
#define LOOK_MS 2

struct sight {
        double ms;
        uint32_t n_computed;
};

struct view {
        uint32_t *ids;
        size_t n_ids;
        uint32_t *token;
        size_t n_tokens;
        struct sight *sight;
        size_t n_sights;
        struct timespec start;
        int cached; /* tokens of the prompt; -1: it did not come to that */
        int code, over;
};

static void *grow(void *list, size_t n, size_t size) {
        if ((n & (n - 1)) != 0) /* doubles at each power of two */
                return list;
        list = reallocarray(list, n ? 2 * n : 1, size);
        if (!list)
                abort();
        return list;
}

static void read_ids(struct view *view) {
        unsigned id;
        while (scanf("%u", &id) == 1) {
                view->ids = grow(view->ids, view->n_ids, sizeof(*view->ids));
                view->ids[view->n_ids++] = id;
        }
}

static int on_piece(void *userdata, const struct seekd_piece *piece) {
        struct view *view = userdata;
        if (piece->has_token) {
                view->token = grow(view->token, view->n_tokens, sizeof(*view->token));
                view->token[view->n_tokens++] = piece->token;
        }
        return 0;
}

static void on_done(void *userdata, struct seekd_request *request,
                    const struct seekd_result *result) {
        struct view *view = userdata;
        (void)request;
        view->code = result->code;
        view->over = 1;
}

static void look(struct view *view, const struct seekd_request *request) {
        struct seekd_progress progress = SEEKD_PROGRESS_INIT;
        struct timespec now;
        if (seekd_progress(request, &progress) < 0)
                return;
        uint32_t n = 0;
        if (progress.phase == SEEKD_PHASE_PREFILL)
                n = progress.tokens_done;
        else if (progress.phase == SEEKD_PHASE_DECODE && progress.tokens_done > 0)
                n = (uint32_t)view->n_ids + progress.tokens_done -
                        1; /* the last one is only drawn */
        if (n > 0)
                view->cached = (int)progress.tokens_cached;
        if (n == 0 || (view->n_sights > 0 && view->sight[view->n_sights - 1].n_computed == n))
                return;
        clock_gettime(CLOCK_MONOTONIC, &now);
        view->sight = grow(view->sight, view->n_sights, sizeof(*view->sight));
        view->sight[view->n_sights++] = (struct sight){
                .ms = (double)(now.tv_sec - view->start.tv_sec) * 1e3 +
                        (double)(now.tv_nsec - view->start.tv_nsec) / 1e6,
                .n_computed = n,
        };
}

static void print(const struct view *view) {
        printf("{\"code\": %d, \"cached\": %d, \"tokens\": [", view->code, view->cached);
        for (size_t i = 0; i < view->n_tokens; i++)
                printf("%s%u", i ? ", " : "", view->token[i]);
        printf("], \"sights\": [");
        for (size_t i = 0; i < view->n_sights; i++)
                printf("%s[%.1f, %u]", i ? ", " : "", view->sight[i].ms, view->sight[i].n_computed);
        printf("]}\n");
}

int main(int argc, char **argv) {
        struct view view = { .cached = -1 };
        struct seekd_client *client = NULL;
        struct seekd_request *request = NULL;
        if (argc != 5)
                return 2;
        read_ids(&view);
        clock_gettime(CLOCK_MONOTONIC, &view.start);
        int r = seekd_connect(argv[1], &client, NULL, 0);
        if (r == 0) {
                struct seekd_params params = SEEKD_PARAMS_INIT;
                params.tokens = view.ids;
                params.n_tokens = view.n_ids;
                params.seed_given = 1;
                params.seed = strtoull(argv[2], NULL, 10);
                params.max_tokens = (uint32_t)strtoul(argv[3], NULL, 10);
                params.subject = argv[4];
                params.temperature = 1;
                r = seekd_submit(client, &params, on_piece, on_done, &view, &request);
                while (r >= 0 && !view.over) {
                        r = seekd_dispatch(client, LOOK_MS);
                        look(&view, request);
                }
        }
        if (!view.over)
                view.code = r;
        print(&view);
        seekd_request_free(request);
        if (client)
                seekd_disconnect(client);
        free(view.ids);
        free(view.token);
        free(view.sight);
        return 0;
}
