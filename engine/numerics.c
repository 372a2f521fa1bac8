/* Series instead of minimax polynomials: these functions are off the hot path, and a Taylor
 * coefficient can be checked by eye. Each is cut where the next term is below half an ulp on the
 * reduced range. */
#include "engine/numerics.h"

static double scale_by_power_of_two(double x, int n) {
        /* Two steps keep the intermediate factor normal for every n that occurs. */
        int half = n / 2;
        uint64_t a = (uint64_t)(half + 1023) << 52, b = (uint64_t)(n - half + 1023) << 52;
        double fa, fb;
        memcpy(&fa, &a, sizeof(fa));
        memcpy(&fb, &b, sizeof(fb));
        return x * fa * fb;
}

double math_exp(double x) {
        if (isnan(x))
                return x;
        if (x < -745.0)
                return 0.0;
        if (x > 709.0)
                return INFINITY;
        const double ln2_hi = 0x1.62e42fefa39efp-1, ln2_lo = 0x1.abc9e3b39803fp-56;
        double n = rint(x * 0x1.71547652b82fep+0);
        double r = fma(n, -ln2_hi, x);
        r = fma(n, -ln2_lo, r);
        /* 1/14! ... 1/1!; |r| <= 0.347, so r^15/15! < 2^-62 */
        static const double c[] = { 1.0 / 87178291200, 1.0 / 6227020800,
                                    1.0 / 479001600,   1.0 / 39916800,
                                    1.0 / 3628800,     1.0 / 362880,
                                    1.0 / 40320,       1.0 / 5040,
                                    1.0 / 720,         1.0 / 120,
                                    1.0 / 24,          1.0 / 6,
                                    1.0 / 2,           1.0 };
        double p = c[0];
        for (int i = 1; i < 14; i++)
                p = fma(p, r, c[i]);
        p = fma(p, r, 1.0);
        return scale_by_power_of_two(p, (int)n);
}

double math_log(double x) {
        uint64_t u;
        memcpy(&u, &x, sizeof(u));
        int e = (int)(u >> 52) - 1023;
        u = (u & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000;
        double m;
        memcpy(&m, &u, sizeof(m)); /* 1 <= m < 2 */
        if (m > 1.4142135623730951) {
                m *= 0.5;
                e++;
        }
        /* log m = 2 atanh(s), s = (m-1)/(m+1), |s| <= 0.1716: s^24/25 < 2^-65 */
        static const double c[] = { 1.0 / 23, 1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13,
                                    1.0 / 11, 1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3,  1.0 };
        double s = (m - 1.0) / (m + 1.0), z = s * s, sum = c[0];
        for (int i = 1; i < 12; i++)
                sum = fma(sum, z, c[i]);
        return fma((double)e, 0x1.62e42fefa39efp-1,
                   fma((double)e, 0x1.abc9e3b39803fp-56, 2.0 * s * sum));
}

void math_sincos(double x, double *ret_sin, double *ret_cos) {
        const double half_pi_hi = 0x1.921fb54442d18p+0, half_pi_lo = 0x1.1a62633145c07p-54;
        double n = rint(x * 0x1.45f306dc9c883p-1);
        double r = fma(n, -half_pi_hi, x);
        r = fma(n, -half_pi_lo, r);
        /* -1/(2k(2k+1)) and -1/((2k-1)2k), k = 9 ... 1; |r| <= pi/4: r^21/21! and r^20/20! < 2^-60
         */
        static const double sines[] = { -1.0 / 342, -1.0 / 272, -1.0 / 210, -1.0 / 156, -1.0 / 110,
                                        -1.0 / 72,  -1.0 / 42,  -1.0 / 20,  -1.0 / 6 };
        static const double cosines[] = { -1.0 / 306, -1.0 / 240, -1.0 / 182, -1.0 / 132, -1.0 / 90,
                                          -1.0 / 56,  -1.0 / 30,  -1.0 / 12,  -1.0 / 2 };
        double z = r * r, s = 1.0, c = 1.0;
        for (int i = 0; i < 9; i++) {
                s = fma(z * s, sines[i], 1.0);
                c = fma(z * c, cosines[i], 1.0);
        }
        s *= r;
        switch ((int64_t)n & 3) {
        case 0: *ret_sin = s, *ret_cos = c; break;
        case 1: *ret_sin = c, *ret_cos = -s; break;
        case 2: *ret_sin = -s, *ret_cos = -c; break;
        default: *ret_sin = -c, *ret_cos = s; break;
        }
}

float math_softplus(float z) {
        if (z > 20.0f)
                return z;
        double e = math_exp((double)z);
        /* Below 1e-5, 1 + e would lose e's low digits; log(1+e) = e - e^2/2 + ... is exact enough
         * there. */
        return (float)(e < 1e-5 ? e * (1.0 - 0.5 * e) : math_log(1.0 + e));
}
