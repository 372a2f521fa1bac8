/* What `seek top` shows, as numbers: made of two readings of the daemon's statistics. No I/O, no
 * clock: the time between the readings is the daemon's own. Any thread, one at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/seekd.h"

/* One answer of the daemon, or why there was none. */
struct top_reading {
        struct seekd_stats *stats; /* NULL: `code` and `error` say why */
        struct seekd_model_info model;
        bool model_known;
        int load_permille; /* as seekd_load_permille() */
        int code;          /* enum seekd_error */
        char error[SEEKD_ERROR_BYTES];
};
void top_reading_deinit(struct top_reading *reading);

/* As a rate: there is nothing to compare with. */
#define RATE_UNKNOWN (-1.0)

/* Per second, between two readings; each RATE_UNKNOWN without an earlier reading of the same life
 * of the daemon. */
struct top_rates {
        double seconds; /* between the readings */
        double prefill_tokens;
        double decode_tokens;
        double steps;
        double requests; /* done */
};

/* `earlier` may be NULL. */
void top_rates(const struct seekd_stats *earlier, const struct seekd_stats *now,
               struct top_rates *ret);

struct top_row {
        uint64_t connection;
        uint32_t request_id;
        uint32_t pid;
        bool uid_known;
        uint32_t uid;
        int phase;   /* enum seekd_phase */
        int service; /* enum seekd_class; never DEFAULT */
        uint32_t prompt_tokens;
        uint32_t prompt_done;
        uint32_t generated_tokens;
        double age_ms;
        double tokens_per_second; /* read and written; RATE_UNKNOWN for a request that is new */
};

/* What one class got. */
struct top_served {
        int service; /* enum seekd_class */
        bool used;   /* since the daemon's start */
        uint32_t running, queued;
        double share; /* of the engine's time between the readings; RATE_UNKNOWN: it idled */
        double decode_tokens; /* per second, as in top_rates */
        /* Seconds since the daemon's start that half and 95 % did not exceed; negative: none. */
        double first_token_s[2], token_s[2];
};

#define TOP_CLASSES 4

struct top_model {
        bool known; /* there was a reading, ever; else only `error` is set */
        char version[32];
        char name[64];
        char backend[64];
        double uptime_ms;
        bool model_ready;
        int load_permille;
        uint64_t requests_done, requests_cancelled, requests_refused;
        uint32_t connections, running, queued;
        struct top_rates rates;
        bool has_kv;
        struct seekd_kv_stats kv; /* `suspended` is not set, see below */
        char suspended[128];      /* why nothing can be stored; "" = it can */
        struct top_served classes[TOP_CLASSES];
        size_t n_classes;
        struct top_row *rows; /* the model's */
        size_t n_rows;
        char error[SEEKD_ERROR_BYTES]; /* why the last reading failed; "" = it did not */
};

/* Replaces what is in `model` (zeroed before its first use). A reading without statistics leaves
 * the numbers and sets `error`. `earlier` may be NULL. 0, or -ENOMEM: then `model` is as it was. */
int top_model_update(struct top_model *model, const struct top_reading *earlier,
                     const struct top_reading *now);
void top_model_deinit(struct top_model *model);

enum top_order {
        TOP_ORDER_AGE, /* oldest first */
        TOP_ORDER_SPEED,
        TOP_ORDER_PROMPT, /* the most left to read first */
        TOP_ORDER_GENERATED,
        TOP_ORDER_USER,
        TOP_ORDER_PID,
        TOP_N_ORDERS
};
const char *top_order_name(enum top_order order);

/* `grouped`: by class, the most urgent first, and in each by the order. Rows that are equal in it
 * keep a fixed order, so that they do not dance. */
void top_model_sort(struct top_model *model, enum top_order order, bool grouped);

/* Of the rows of one class. */
struct top_class {
        size_t n;
        double tokens_per_second; /* of those whose rate is known */
};
void top_model_class(const struct top_model *model, int service, struct top_class *ret);
