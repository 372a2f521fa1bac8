/* Statistics of the classes, for people and for programs. */
#include <stdio.h>
#include <string.h>

#include "client/seek/latency.h"
#include "client/seek/seek.h"

static uint64_t n_finished(const struct seekd_class_stats *class) {
        uint64_t n = 0;
        for (size_t i = 0; i < class->n_finished; i++)
                n += class->finished[i];
        return n;
}

static double engine_ms(const struct seekd_stats *stats) {
        double ms = 0;
        for (size_t i = 0; i < stats->n_classes; i++)
                ms += stats->classes[i]->engine_ms;
        return ms;
}

static void print_latency(const char *what, const struct seekd_histogram *histogram) {
        char half[LATENCY_TEXT], most[LATENCY_TEXT];
        if (latency_count(histogram) > 0)
                printf("%s %s (95 %%: %s)", what,
                       latency_text(latency_quantile(histogram, 0.5), half),
                       latency_text(latency_quantile(histogram, 0.95), most));
}

void print_class_stats(const struct seekd_stats *stats) {
        const char *head = "classes:";
        double all_ms = engine_ms(stats);
        for (size_t i = 0; i < stats->n_classes; i++) {
                const struct seekd_class_stats *class = stats->classes[i];
                if (n_finished(class) + class->running + class->queued == 0)
                        continue;
                printf("%-9s %s: %llu ended, %.0f %% of the engine's time", head,
                       class_name(class->service), (unsigned long long)n_finished(class),
                       all_ms > 0 ? 100 * class->engine_ms / all_ms : 0);
                print_latency("; first token after", class->first_token);
                print_latency(", the next after", class->token);
                putchar('\n');
                head = "";
        }
}

static json_t *quantile_json(const struct seekd_histogram *histogram, double part) {
        double s = latency_quantile(histogram, part);
        return s < 0 ? json_null() : json_real(s * 1000);
}

static json_t *latency_json(const struct seekd_histogram *histogram) {
        return json_pack("{s:I, s:f, s:o, s:o}", "count", (json_int_t)latency_count(histogram),
                         "sum_ms", histogram->sum_s * 1000, "p50_ms", quantile_json(histogram, 0.5),
                         "p95_ms", quantile_json(histogram, 0.95));
}

static json_t *finished_json(const struct seekd_class_stats *class) {
        json_t *object = json_object();
        for (size_t i = 0; i < class->n_finished; i++)
                if (class->finished[i] > 0)
                        json_object_set_new(object, finish_name((int)i),
                                            json_integer((json_int_t) class->finished[i]));
        return object;
}

json_t *class_stats_json(const struct seekd_stats *stats) {
        json_t *array = json_array();
        for (size_t i = 0; i < stats->n_classes; i++) {
                const struct seekd_class_stats *class = stats->classes[i];
                json_array_append_new(
                        array,
                        json_pack("{s:s, s:I, s:I, s:o, s:I, s:I, s:f, s:o, s:o, s:o}", "class",
                                  class_name(class->service), "running",
                                  (json_int_t) class->running, "queued", (json_int_t) class->queued,
                                  "finished", finished_json(class), "prompt_tokens",
                                  (json_int_t) class->prompt_tokens, "generated_tokens",
                                  (json_int_t) class->generated_tokens, "engine_ms",
                                  class->engine_ms, "queue", latency_json(class->queue),
                                  "first_token", latency_json(class->first_token), "token",
                                  latency_json(class->token)));
        }
        return array;
}
