#!/usr/bin/env python3
"""The quantised matrix product of DeepSeek-V4.1, in plain NumPy, against the engine's.

  test_quantised_gemm.py PROGRAM          runs PROGRAM (test_quantised_gemm) on cases of 8 seeds
  test_quantised_gemm.py --write FILE     writes the case that the repository keeps

Shares nothing with the engine: codes are found by searching the tables of all values, scales with frexp, sums are
taken in float64. Exit status 77 when NumPy is not installed.
"""

import json
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    sys.exit(77)

E2M1 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6])
E4M3 = np.array([m / 8 * 2.0**-6 if e == 0 else (1 + m / 8) * 2.0**(e - 7) for e in range(16) for m in range(8)][:127])


def power_of_two_above(a):
    """The exponent of the smallest power of two that is not below a (> 0)."""
    m, e = np.frexp(a)
    return np.where(m == 0.5, e - 1, e)


def nearest(values, x):
    """Indices of the values (ascending) nearest to x >= 0, ties to the even index."""
    above = np.clip(np.searchsorted(values, x), 1, len(values) - 1)
    low, high = x - values[above - 1], values[above] - x
    return np.where((low < high) | ((low == high) & (above % 2 == 1)), above - 1, above)


def quantise(x):
    """Codes and exponents of float32 rows, one exponent for 32 values."""
    blocks = x.reshape(len(x), -1, 32)
    largest = np.maximum(np.abs(blocks).max(axis=2), np.float32(1e-4))
    exponent = power_of_two_above(largest * np.float32(1 / 448))  # the product is rounded to float32 first
    scaled = np.clip(blocks.astype(np.float64) / 2.0**exponent[:, :, None], -448, 448)
    codes = nearest(E4M3, np.abs(scaled)) | np.where(np.signbit(blocks), 128, 0)
    return codes.reshape(x.shape), exponent


def e4m3(codes):
    return np.where(codes & 128, -1, 1) * E4M3[codes & 127]


def inputs(rng, k):
    """Rows that reach the corners: scales on the border of two powers of two, ties, blocks below the floor."""
    rows = [rng.normal(0, 3, k), rng.normal(0, 1, k) * 2.0**rng.integers(-12, 12, k), np.zeros(k),
            rng.uniform(-1e-5, 1e-5, k)]
    for largest in (6, 448):
        row = rng.normal(0, 1, k).clip(-5, 5) * largest / 8
        row[::32] = largest
        rows.append(row * np.repeat(2.0**rng.integers(-10, 10, k // 32), 32))
    ties = rng.integers(0, 126, k)
    row = (E4M3[ties] + E4M3[ties + 1]) / 2 * rng.choice([-1, 1], k)
    row[::32] = 448
    rows.append(row * np.repeat(2.0**rng.integers(-9, 9, k // 32), 32))
    x = np.array(rows, dtype=np.float32)
    x[2, ::3] = -0.0
    return x


def product(x, w):
    """Results, and the sums of magnitudes by which errors are measured."""
    return {"result": (x @ w.T).ravel().tolist(), "magnitude": (np.abs(x) @ np.abs(w).T).ravel().tolist()}


def make_case(seed):
    rng = np.random.default_rng(seed)
    k, n = 32 * int(rng.integers(2, 5)), int(rng.integers(33, 45))
    x = inputs(rng, k)
    codes, exponent = quantise(x)
    seen = e4m3(codes) * np.repeat(2.0**exponent, 32, axis=1)

    fp8 = rng.integers(0, 256, (n, k))
    fp8[(fp8 & 127) == 127] = 0
    tiles = rng.integers(112, 125, (-(-n // 32), k // 32))
    w8 = e4m3(fp8) * 2.0**(np.repeat(np.repeat(tiles, 32, axis=0)[:n], 32, axis=1) - 127.0)

    fp4 = rng.integers(0, 16, (n, k))
    scales = rng.integers(112, 125, (n, k // 32))
    w4 = np.where(fp4 & 8, -1, 1) * E2M1[fp4 & 7] * 2.0**(np.repeat(scales, 32, axis=1) - 127.0)
    packed = fp4[:, 0::2] | fp4[:, 1::2] << 4
    return {
        "rows": len(x), "k": k, "n": n,
        "x": x.view(np.uint32).ravel().tolist(),
        "codes": codes.ravel().tolist(), "scales": (exponent + 127).ravel().tolist(),
        "fp8": {"codes": fp8.ravel().tolist(), "scales": tiles.ravel().tolist(), **product(seen, w8)},
        "fp4": {"codes": packed.ravel().tolist(), "scales": scales.ravel().tolist(), **product(seen, w4)},
    }


def write(path, seed):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(make_case(seed), f, separators=(",", ":"))
        f.write("\n")


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--write":
        write(sys.argv[2], 0)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "case.json")
        for seed in range(1, 9):
            write(path, seed)
            if subprocess.run([sys.argv[1], path], check=False).returncode != 0:
                print(f"seed {seed} differs", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
