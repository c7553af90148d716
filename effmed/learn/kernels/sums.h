/* Sums of parts, in float64 and always in the same order. */
#pragma once
#include "vectors.h"

/* PART, the pixels that are summed in float32 before the sums of parts are added in float64, comes from build.py. */
#define BLOCK 16 /* numbers of a part that are added together */

/* Add up the parts of each group: parts [groups][n_parts][n], sums [groups][n]. */
static void join_parts(const float *parts, int64_t groups, int64_t n_parts, int64_t n, double *sums)
{
    int64_t n_blocks = (n + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static)
    for (int64_t item = 0; item < groups * n_blocks; item++) {
        int64_t group = item / n_blocks, first = item % n_blocks * BLOCK, width = smaller(BLOCK, n - first);
        double total[BLOCK] = {0};
        for (int64_t part = 0; part < n_parts; part++)
            for (int64_t i = 0; i < width; i++)
                total[i] += parts[(group * n_parts + part) * n + first + i];
        memcpy(sums + group * n + first, total, width * sizeof(double));
    }
}
