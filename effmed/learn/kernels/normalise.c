/* Batch normalisation with its activation. */
#include "activations.h"
#include "sums.h"

/* Sums over n pixels of the differences from the first of them, and of their squares. */
static void differences(const float *x, int64_t n, int64_t channels, float *restrict sum, float *restrict square)
{
    memset(sum, 0, channels * sizeof(float));
    memset(square, 0, channels * sizeof(float));
    int64_t i = 1;
    for (; i + 4 <= n; i += 4) {
        const float *row = x + i * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
            float d0 = row[c] - x[c], d1 = row[channels + c] - x[c];
            float d2 = row[2 * channels + c] - x[c], d3 = row[3 * channels + c] - x[c];
            sum[c] += (d0 + d1) + (d2 + d3);
            square[c] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
        }
    }
    for (; i < n; i++) {
        const float *row = x + i * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
            float d = row[c] - x[c];
            sum[c] += d;
            square[c] += d * d;
        }
    }
}

/* Mean and biased variance per channel. Parts are joined in float64: Chan, Golub and LeVeque 1983.
 * parts: [ceil(pixels / PART)][2][channels]. */
void effmed_moments(const float *x, int64_t pixels, int64_t channels, float *parts, float *mean, float *variance)
{
    int64_t n_parts = (pixels + PART - 1) / PART;
#pragma omp parallel for schedule(static)
    for (int64_t part = 0; part < n_parts; part++) {
        float *sum = parts + part * 2 * channels;
        differences(x + part * PART * channels, smaller(PART, pixels - part * PART), channels, sum, sum + channels);
    }
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < channels; block += BLOCK) {
        int64_t width = smaller(BLOCK, channels - block);
        double centre[BLOCK] = {0}, spread[BLOCK] = {0};
        for (int64_t part = 0; part < n_parts; part++) {
            int64_t before = part * PART;
            double n = smaller(PART, pixels - before), share = n / (before + n);
            const float *base = x + before * channels + block, *sum = parts + part * 2 * channels + block;
            for (int64_t c = 0; c < width; c++) {
                double shift = sum[c] / n, gap = base[c] + shift - centre[c];
                spread[c] += sum[channels + c] - shift * sum[c] + gap * gap * before * share;
                centre[c] += gap * share;
            }
        }
        for (int64_t c = 0; c < width; c++) {
            mean[block + c] = (float)centre[c];
            variance[block + c] = spread[c] < 0 ? 0.0f : (float)(spread[c] / pixels);
        }
    }
}

INLINE void normalise(const float *x, int64_t channels, const float *scale, const float *shift, float *z,
                      const int kind, const int streamed)
{
    FOR_EACH_CHANNEL(channels, streamed, z, activation(x[c] * scale[c] + shift[c], kind));
}

/* z = activation(scale * x + shift). */
void effmed_normalise(const float *x, int64_t pixels, int64_t channels, const float *scale, const float *shift,
                      int kind, float *z)
{
    int streamed = is_streamed(z, pixels, channels);
#define NORMALISE(KIND, STREAMED) \
    FOR_EACH(pixels, normalise(x + item * channels, channels, scale, shift, z + item * channels, KIND, STREAMED))
    FOR_EACH_KIND_STREAMED(kind, streamed, NORMALISE);
}

INLINE void slopes(const float *x, const float *dz, int64_t n, int64_t channels, const float *scale,
                   const float *shift, const float *mean, float *sum, float *product, const int kind)
{
    memset(sum, 0, channels * sizeof(float));
    memset(product, 0, channels * sizeof(float));
    for (int64_t i = 0; i < n; i++, x += channels, dz += channels) {
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
            float dy = dz[c] * slope(x[c] * scale[c] + shift[c], kind);
            sum[c] += dy;
            product[c] += dy * (x[c] - mean[c]);
        }
    }
}

/* Per channel, with y = scale * x + shift and dy = dz * activation'(y): the sums of dy and of dy * (x - mean),
 * [2][channels]; parts: [ceil(pixels / PART)][2][channels]. */
void effmed_slopes(const float *x, const float *dz, int64_t pixels, int64_t channels, const float *scale,
                   const float *shift, const float *mean, int kind, float *parts, double *sums)
{
    int64_t n_parts = (pixels + PART - 1) / PART;
#define SLOPES(KIND)                                                                                              \
    FOR_EACH(n_parts, slopes(x + item * PART * channels, dz + item * PART * channels,                             \
                             smaller(PART, pixels - item * PART), channels, scale, shift, mean,                   \
                             parts + item * 2 * channels, parts + (item * 2 + 1) * channels, KIND))
    FOR_EACH_KIND(kind, SLOPES);
    join_parts(parts, 1, n_parts, 2 * channels, sums);
}

INLINE void normalise_back(const float *x, const float *dz, int64_t channels, const float *scale, const float *shift,
                           const float *mean, const float *slant, const float *offset, float *dx, const int kind,
                           const int streamed)
{
    FOR_EACH_CHANNEL(channels, streamed, dx,
                     scale[c] * (dz[c] * slope(x[c] * scale[c] + shift[c], kind)) -
                         (offset[c] + slant[c] * (x[c] - mean[c])));
}

/* dx = scale * dy - offset - slant * (x - mean) per channel, dy as above; dx may lie where dz does. */
void effmed_normalise_back(const float *x, const float *dz, int64_t pixels, int64_t channels, const float *scale,
                           const float *shift, const float *mean, const float *slant, const float *offset, int kind,
                           float *dx)
{
    int streamed = is_streamed(dx, pixels, channels);
#define NORMALISE_BACK(KIND, STREAMED)                                                                        \
    FOR_EACH(pixels, normalise_back(x + item * channels, dz + item * channels, channels, scale, shift, mean,  \
                                    slant, offset, dx + item * channels, KIND, STREAMED))
    FOR_EACH_KIND_STREAMED(kind, streamed, NORMALISE_BACK);
}
