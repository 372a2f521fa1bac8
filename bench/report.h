/* Results: many runs of a thing and of what it is compared with, printed as a table or as JSON
 * lines.
 *
 * One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* One value a run. Zeroed is empty; the owner frees with series_deinit(). */
struct series {
        double *values;
        size_t n;
        size_t capacity;
};

void series_add(struct series *series, double value); /* ends the program when out of memory */
void series_deinit(struct series *series);
double series_median(const struct series *series);             /* 0 when empty */
double series_quantile(const struct series *series, double q); /* nearest rank; 0 when empty */
double series_spread(const struct series *series); /* (largest - smallest) / median; 0 when empty */

/* One line of output. */
struct measurement {
        const char *name; /* stable, see seekd-bench(1) */
        const char *unit;
        const struct series *value;
        const char *reference; /* what the same runs measured beside it */
        const struct series *reference_value;
};

/* Prints to stdout; with `json` one object a line: name, value, unit, runs, spread, reference,
 * reference_value, ratio (value / reference_value), device. Rows that follow others of the same
 * device are of the same table. */
void report_print(const struct measurement *measurements, size_t n, const char *device, bool json);

/* The processor and how many of it this process may use; static memory. */
const char *report_cpu(void);
