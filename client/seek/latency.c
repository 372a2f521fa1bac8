#include "client/seek/latency.h"

#include <stdio.h>

uint64_t latency_count(const struct seekd_histogram *histogram) {
        uint64_t n = 0;
        for (size_t i = 0; i <= histogram->n_bounds; i++)
                n += histogram->counts[i];
        return n;
}

double latency_quantile(const struct seekd_histogram *histogram, double part) {
        double wanted = part * (double)latency_count(histogram), below = 0, from = 0;
        if (latency_count(histogram) == 0)
                return LATENCY_UNKNOWN;
        for (size_t i = 0; i < histogram->n_bounds; from = histogram->bounds_s[i++]) {
                double n = (double)histogram->counts[i];
                if (n > 0 && below + n >= wanted)
                        return from + (histogram->bounds_s[i] - from) * (wanted - below) / n;
                below += n;
        }
        return from;
}

const char *latency_text(double seconds, char ret[LATENCY_TEXT]) {
        if (seconds < 0)
                snprintf(ret, LATENCY_TEXT, "-");
        else if (seconds < 0.00995)
                snprintf(ret, LATENCY_TEXT, "%.1fms", seconds * 1e3);
        else if (seconds < 0.9995)
                snprintf(ret, LATENCY_TEXT, "%.0fms", seconds * 1e3);
        else if (seconds < 99.95)
                snprintf(ret, LATENCY_TEXT, "%.1fs", seconds);
        else if (seconds < 600)
                snprintf(ret, LATENCY_TEXT, "%.0fs", seconds);
        else
                snprintf(ret, LATENCY_TEXT, "%.0fm", seconds / 60 < 9999 ? seconds / 60 : 9999);
        return ret;
}
