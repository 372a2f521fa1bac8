#include "client/seek/top_model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/seek/latency.h"

#define MS_PER_S 1000.0

void top_reading_deinit(struct top_reading *reading) {
        seekd_free(reading->stats);
        *reading = (struct top_reading){ 0 };
}

/* Totals only grow, and so does the time, as long as the daemon is the same. */
static bool is_same_life(const struct seekd_stats *earlier, const struct seekd_stats *now) {
        return earlier && now->uptime_ms > earlier->uptime_ms && now->steps >= earlier->steps &&
                now->prompt_tokens >= earlier->prompt_tokens &&
                now->generated_tokens >= earlier->generated_tokens &&
                now->requests_done >= earlier->requests_done;
}

void top_rates(const struct seekd_stats *earlier, const struct seekd_stats *now,
               struct top_rates *ret) {
        if (!is_same_life(earlier, now)) {
                *ret = (struct top_rates){ RATE_UNKNOWN, RATE_UNKNOWN, RATE_UNKNOWN, RATE_UNKNOWN,
                                           RATE_UNKNOWN };
                return;
        }
        double seconds = (now->uptime_ms - earlier->uptime_ms) / MS_PER_S;
        *ret = (struct top_rates){
                .seconds = seconds,
                .prefill_tokens = (double)(now->prompt_tokens - earlier->prompt_tokens) / seconds,
                .decode_tokens =
                        (double)(now->generated_tokens - earlier->generated_tokens) / seconds,
                .steps = (double)(now->steps - earlier->steps) / seconds,
                .requests = (double)(now->requests_done - earlier->requests_done) / seconds,
        };
}

static double request_rate(const struct seekd_stats *earlier, double seconds,
                           const struct seekd_request_stats *now) {
        for (size_t i = 0; seconds > 0 && i < earlier->n_requests; i++) {
                const struct seekd_request_stats *before = earlier->requests[i];
                if (before->connection != now->connection || before->request_id != now->request_id)
                        continue;
                /* What is found kept counts as read in one go: that is no speed. Less than before:
                 * a client that used the number again for a new request. */
                uint64_t was = (uint64_t)before->prompt_done + before->generated_tokens;
                uint64_t is = (uint64_t)now->prompt_done + now->generated_tokens;
                bool began = before->phase == SEEKD_PHASE_QUEUED && now->phase != before->phase;
                return is < was || began ? RATE_UNKNOWN : (double)(is - was) / seconds;
        }
        return RATE_UNKNOWN;
}

static void find_user(const struct seekd_stats *stats, struct top_row *row) {
        for (size_t i = 0; i < stats->n_clients && !row->uid_known; i++) {
                row->uid_known = stats->clients[i]->connection == row->connection;
                row->uid = stats->clients[i]->uid;
        }
}

static struct top_row *make_rows(const struct seekd_stats *earlier, const struct seekd_stats *now,
                                 double seconds) {
        struct top_row *rows = calloc(now->n_requests + 1, sizeof(*rows)); /* never of 0 bytes */
        for (size_t i = 0; rows && i < now->n_requests; i++) {
                const struct seekd_request_stats *request = now->requests[i];
                rows[i] = (struct top_row){
                        .connection = request->connection,
                        .request_id = request->request_id,
                        .pid = request->pid,
                        .phase = request->phase,
                        .service = request->service == SEEKD_CLASS_DEFAULT ? SEEKD_CLASS_TURN
                                                                           : request->service,
                        .prompt_tokens = request->prompt_tokens,
                        .prompt_done = request->prompt_done,
                        .generated_tokens = request->generated_tokens,
                        .age_ms = request->age_ms,
                        .tokens_per_second = request_rate(earlier, seconds, request),
                };
                find_user(now, &rows[i]);
        }
        return rows;
}

static void copy_text(char *ret, size_t bytes, const char *text) {
        snprintf(ret, bytes, "%s", text ? text : "");
}

static void copy_kept(struct top_model *model, const struct seekd_kv_stats *kv) {
        model->has_kv = kv != NULL;
        if (!kv)
                return;
        copy_text(model->suspended, sizeof(model->suspended), kv->suspended);
        model->kv = *kv;
        model->kv.suspended = NULL; /* the reading's */
}

static double engine_ms_between(const struct seekd_stats *earlier, const struct seekd_stats *now,
                                size_t class) {
        return now->classes[class]->engine_ms - earlier->classes[class]->engine_ms;
}

/* `earlier`: of the same life, or NULL. */
static void rate_classes(struct top_model *model, const struct seekd_stats *earlier,
                         const struct seekd_stats *now) {
        double all_ms = 0;
        if (!earlier || model->rates.seconds < 0 || earlier->n_classes < model->n_classes)
                return;
        for (size_t i = 0; i < model->n_classes; i++)
                all_ms += engine_ms_between(earlier, now, i);
        for (size_t i = 0; i < model->n_classes; i++) {
                model->classes[i].decode_tokens = (double)(now->classes[i]->generated_tokens -
                                                           earlier->classes[i]->generated_tokens) /
                        model->rates.seconds;
                if (all_ms > 0)
                        model->classes[i].share = engine_ms_between(earlier, now, i) / all_ms;
        }
}

static void copy_classes(struct top_model *model, const struct seekd_stats *now) {
        model->n_classes = now->n_classes < TOP_CLASSES ? now->n_classes : TOP_CLASSES;
        for (size_t i = 0; i < model->n_classes; i++) {
                const struct seekd_class_stats *class = now->classes[i];
                struct top_served *served = &model->classes[i];
                *served = (struct top_served){
                        .service = class->service,
                        .running = class->running,
                        .queued = class->queued,
                        .used = class->running + class->queued > 0,
                        .share = RATE_UNKNOWN,
                        .decode_tokens = RATE_UNKNOWN,
                        .first_token_s = { latency_quantile(class->first_token, 0.5),
                                           latency_quantile(class->first_token, 0.95) },
                        .token_s = { latency_quantile(class->token, 0.5),
                                     latency_quantile(class->token, 0.95) },
                };
                for (size_t k = 0; k < class->n_finished; k++)
                        served->used |= class->finished[k] > 0;
        }
}

int top_model_update(struct top_model *model, const struct top_reading *earlier,
                     const struct top_reading *now) {
        if (!now->stats) {
                copy_text(model->error, sizeof(model->error), now->error);
                return 0;
        }
        const struct seekd_stats *before = earlier ? earlier->stats : NULL;
        struct top_model made = {
                .known = true,
                .uptime_ms = now->stats->uptime_ms,
                .model_ready = now->stats->model_ready,
                .load_permille = now->load_permille,
                .requests_done = now->stats->requests_done,
                .requests_cancelled = now->stats->requests_cancelled,
                .requests_refused = now->stats->requests_refused,
                .connections = now->stats->connections,
                .running = now->stats->running,
                .queued = now->stats->queued,
                .n_rows = now->stats->n_requests,
        };
        top_rates(before, now->stats, &made.rates);
        made.rows = make_rows(before, now->stats, made.rates.seconds);
        if (!made.rows)
                return -ENOMEM;
        copy_text(made.version, sizeof(made.version), now->stats->version);
        copy_text(made.name, sizeof(made.name), now->stats->model);
        copy_text(made.backend, sizeof(made.backend), now->stats->backend);
        copy_kept(&made, now->stats->kv);
        copy_classes(&made, now->stats);
        rate_classes(&made, before, now->stats);
        free(model->rows);
        *model = made;
        return 0;
}

void top_model_deinit(struct top_model *model) {
        free(model->rows);
        *model = (struct top_model){ 0 };
}

const char *top_order_name(enum top_order order) {
        static const char *const names[TOP_N_ORDERS] = {
                [TOP_ORDER_AGE] = "age",       [TOP_ORDER_SPEED] = "tok/s",
                [TOP_ORDER_PROMPT] = "prompt", [TOP_ORDER_GENERATED] = "generated",
                [TOP_ORDER_USER] = "user",     [TOP_ORDER_PID] = "pid",
        };
        return names[order];
}

/* -1, 0 or 1; the larger first. */
static int falling(double a, double b) {
        return (a < b) - (a > b);
}

static double prompt_left(const struct top_row *row) {
        return (double)row->prompt_tokens - (double)row->prompt_done;
}

static int compare(const struct top_row *a, const struct top_row *b, enum top_order order) {
        switch (order) {
        case TOP_ORDER_AGE: return falling(a->age_ms, b->age_ms);
        case TOP_ORDER_SPEED: return falling(a->tokens_per_second, b->tokens_per_second);
        case TOP_ORDER_PROMPT: return falling(prompt_left(a), prompt_left(b));
        case TOP_ORDER_GENERATED: return falling(a->generated_tokens, b->generated_tokens);
        case TOP_ORDER_USER: return falling(b->uid, a->uid);
        case TOP_ORDER_PID: return falling(b->pid, a->pid);
        case TOP_N_ORDERS: break;
        }
        return 0;
}

struct sorting {
        enum top_order order;
        bool grouped;
};

static int compare_rows(const void *a, const void *b, void *userdata) {
        const struct top_row *left = a, *right = b;
        const struct sorting *sorting = userdata;
        int r = sorting->grouped ? falling(right->service, left->service) : 0;
        if (r == 0)
                r = compare(left, right, sorting->order);
        if (r == 0)
                r = (left->connection > right->connection) - (left->connection < right->connection);
        return r != 0 ? r : falling(right->request_id, left->request_id);
}

void top_model_sort(struct top_model *model, enum top_order order, bool grouped) {
        struct sorting sorting = { order, grouped };
        if (model->n_rows > 1)
                qsort_r(model->rows, model->n_rows, sizeof(*model->rows), compare_rows, &sorting);
}

void top_model_class(const struct top_model *model, int service, struct top_class *ret) {
        *ret = (struct top_class){ 0 };
        for (size_t i = 0; i < model->n_rows; i++) {
                const struct top_row *row = &model->rows[i];
                if (row->service != service)
                        continue;
                ret->n++;
                if (row->tokens_per_second > 0)
                        ret->tokens_per_second += row->tokens_per_second;
        }
}
