#include "bench/report.h"

#include <jansson.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void series_add(struct series *series, double value) {
        if (series->n == series->capacity) {
                size_t capacity = series->capacity ? series->capacity * 2 : 16;
                double *values = realloc(series->values, capacity * sizeof(*values));
                if (!values) {
                        fprintf(stderr, "seekd-bench: out of memory\n");
                        exit(1);
                }
                series->values = values;
                series->capacity = capacity;
        }
        series->values[series->n++] = value;
}

void series_deinit(struct series *series) {
        free(series->values);
        *series = (struct series){ 0 };
}

static int compare(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;
        return (x > y) - (x < y);
}

/* The k-th smallest of the series' values for each k asked for. */
static void series_order(const struct series *series, const size_t *ks, size_t n_ks, double *ret) {
        double *sorted = malloc(series->n * sizeof(*sorted));
        if (!sorted) {
                fprintf(stderr, "seekd-bench: out of memory\n");
                exit(1);
        }
        memcpy(sorted, series->values, series->n * sizeof(*sorted));
        qsort(sorted, series->n, sizeof(*sorted), compare);
        for (size_t i = 0; i < n_ks; i++)
                ret[i] = sorted[ks[i]];
        free(sorted);
}

double series_median(const struct series *series) {
        if (series->n == 0)
                return 0;
        size_t ks[2] = { (series->n - 1) / 2, series->n / 2 };
        double middle[2];
        series_order(series, ks, 2, middle);
        return (middle[0] + middle[1]) / 2;
}

double series_quantile(const struct series *series, double q) {
        if (series->n == 0)
                return 0;
        size_t rank = (size_t)ceil(q * (double)series->n);
        double value;
        series_order(series, &(size_t){ rank > 0 ? rank - 1 : 0 }, 1, &value);
        return value;
}

double series_spread(const struct series *series) {
        if (series->n == 0)
                return 0;
        size_t ks[2] = { 0, series->n - 1 };
        double ends[2];
        series_order(series, ks, 2, ends);
        double median = series_median(series);
        return median > 0 ? (ends[1] - ends[0]) / median : 0;
}

static void print_json(const struct measurement *m, const char *device) {
        double value = series_median(m->value), reference = series_median(m->reference_value);
        json_t *object = json_pack("{s:s, s:f, s:s, s:i, s:f, s:s, s:f, s:f, s:s}", "name", m->name,
                                   "value", value, "unit", m->unit, "runs", (int)m->value->n,
                                   "spread", series_spread(m->value), "reference", m->reference,
                                   "reference_value", reference, "ratio",
                                   reference > 0 ? value / reference : 0.0, "device", device);
        if (!object || json_dumpf(object, stdout, JSON_REAL_PRECISION(6)) < 0) {
                fprintf(stderr, "seekd-bench: cannot print %s\n", m->name);
                exit(1);
        }
        json_decref(object);
        putchar('\n');
}

static void print_head(const char *device) {
        static char last[256]; /* whose table is open */
        if (strcmp(last, device) == 0)
                return;
        snprintf(last, sizeof(last), "%s", device);
        printf("on %s\n", device);
        printf("%-28s %12s %-10s %7s  %12s %7s  %s\n", "name", "value", "unit", "spread",
               "reference", "ratio", "which is");
}

void report_print(const struct measurement *measurements, size_t n, const char *device, bool json) {
        if (!json)
                print_head(device);
        for (size_t i = 0; i < n; i++) {
                const struct measurement *m = &measurements[i];
                if (json) {
                        print_json(m, device);
                        continue;
                }
                double value = series_median(m->value),
                       reference = series_median(m->reference_value);
                printf("%-28s %12.6g %-10s %6.1f%%  %12.6g %7.3f  %s\n", m->name, value, m->unit,
                       100 * series_spread(m->value), reference,
                       reference > 0 ? value / reference : 0.0, m->reference);
        }
        fflush(stdout); /* somebody may look on */
}

const char *report_cpu(void) {
        static char device[160];
        char model[128] = "unknown processor";
        FILE *f = fopen("/proc/cpuinfo", "re");
        if (f) {
                char line[256];
                while (fgets(line, sizeof(line), f))
                        if (sscanf(line, "model name : %127[^\n]", model) == 1)
                                break;
                fclose(f);
        }
        cpu_set_t set;
        int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
        snprintf(device, sizeof(device), "%s, %d CPUs", model, n);
        return device;
}
