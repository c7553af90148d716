/* Batch normalisation with its activation, and squeeze-and-excitation. */
#include "vectors.h"

/* PART, the pixels that are summed in float32 before the sums of parts are added in float64, comes from build.py. */
#define BLOCK 16 /* channels whose parts are added together */

/* ---------------------------------------------------------------- activations */

enum { IDENTITY, SILU, RELU, RELU6 };

/* 1 / (1 + exp(-y)), within 2e-7: 2^t is 2^n 2^f with an integer n and |f| <= 0.5, where a polynomial that was fitted
 * for the smallest relative error (1.2e-7, as large as the rounding of float32) gives 2^f. The bits of t are compared, as
 * integers: two instructions keep it within 126 of 0, where float32 would need nine that heed NaN. What is computed of
 * NaN is multiplied by it. */
INLINE float sigmoid(float y)
{
    union { float number; int32_t bits; uint32_t size; } t, power;
    t.number = y * -1.44269504088896341f;
    t.bits = t.bits < 0x42fc0000 ? t.bits : 0x42fc0000;    /* not above 126: negative numbers have negative bits */
    t.size = t.size < 0xc2fc0000u ? t.size : 0xc2fc0000u;  /* nor below -126: negative numbers have the larger size */
    float n = __builtin_rintf(t.number), f = t.number - n;
    float p = 0.00132647273f;
    p = p * f + 0.00967151299f;
    p = p * f + 0.0555073358f;
    p = p * f + 0.240222424f;
    p = p * f + 0.693147004f;
    power.number = p * f + 1.0f;
    power.size += (uint32_t)(int32_t)n << 23;
    return 1.0f / (1.0f + power.number);
}

INLINE float activation(float y, int kind)
{
    if (kind == SILU)
        return y * sigmoid(y);
    if (kind == RELU)
        return y < 0.0f ? 0.0f : y;
    if (kind == RELU6) {
        y = y < 0.0f ? 0.0f : y;
        return y > 6.0f ? 6.0f : y;
    }
    return y;
}

INLINE float slope(float y, int kind)
{
    if (kind == SILU) {
        float s = sigmoid(y);
        return s * (1.0f + y * (1.0f - s));
    }
    if (kind == RELU)
        return y <= 0.0f ? 0.0f : 1.0f;
    if (kind == RELU6)
        return (y <= 0.0f) | (y >= 6.0f) ? 0.0f : 1.0f;
    return 1.0f;
}

#define FOR_EACH_KIND(kind, call)                  \
    do {                                           \
        switch (kind) {                            \
        case SILU: call(SILU); break;              \
        case RELU: call(RELU); break;              \
        case RELU6: call(RELU6); break;            \
        default: call(IDENTITY); break;            \
        }                                          \
    } while (0)

#define FOR_EACH_KIND_STREAMED(kind, streamed, call)                 \
    do {                                                             \
        switch (kind * 2 + streamed) {                               \
        case SILU * 2: call(SILU, 0); break;                         \
        case SILU * 2 + 1: call(SILU, 1); break;                     \
        case RELU * 2: call(RELU, 0); break;                         \
        case RELU * 2 + 1: call(RELU, 1); break;                     \
        case RELU6 * 2: call(RELU6, 0); break;                       \
        case RELU6 * 2 + 1: call(RELU6, 1); break;                   \
        case IDENTITY * 2 + 1: call(IDENTITY, 1); break;             \
        default: call(IDENTITY, 0); break;                           \
        }                                                            \
    } while (0)

/* ---------------------------------------------------------------- batch normalisation */

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

/* One pixel at a time: with `streamed` in steps of LANES past the cache, else as the compiler likes. */
#define FOR_EACH_CHANNEL(channels, streamed, to, value)                   \
    do {                                                                  \
        if (streamed)                                                     \
            for (int64_t first = 0; first < channels; first += LANES) {   \
                float found[LANES];                                       \
                _Pragma("omp simd")                                       \
                for (int64_t i = 0; i < LANES; i++) {                     \
                    int64_t c = first + i;                                \
                    found[i] = value;                                     \
                }                                                         \
                store_past_cache(to + first, load(found));                \
            }                                                             \
        else {                                                            \
            _Pragma("omp simd")                                           \
            for (int64_t c = 0; c < channels; c++)                        \
                to[c] = value;                                            \
        }                                                                 \
    } while (0)

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

/* Per channel, with y = scale * x + shift and dy = dz * activation'(y): the sums of dy and of dy * (x - mean), joined
 * in float64. parts: [ceil(pixels / PART)][2][channels]. */
void effmed_slopes(const float *x, const float *dz, int64_t pixels, int64_t channels, const float *scale,
                   const float *shift, const float *mean, int kind, float *parts, float *sum_dy, float *sum_dy_x)
{
    int64_t n_parts = (pixels + PART - 1) / PART;
#define SLOPES(KIND)                                                                                              \
    FOR_EACH(n_parts, slopes(x + item * PART * channels, dz + item * PART * channels,                             \
                             smaller(PART, pixels - item * PART), channels, scale, shift, mean,                   \
                             parts + item * 2 * channels, parts + (item * 2 + 1) * channels, KIND))
    FOR_EACH_KIND(kind, SLOPES);
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < channels; block += BLOCK) {
        int64_t width = smaller(BLOCK, channels - block);
        double total[BLOCK] = {0}, moment[BLOCK] = {0};
        for (int64_t first = 0; first < pixels; first += PART) {
            const float *sum = parts + first / PART * 2 * channels + block;
            for (int64_t c = 0; c < width; c++) {
                total[c] += sum[c];
                moment[c] += sum[channels + c];
            }
        }
        for (int64_t c = 0; c < width; c++) {
            sum_dy[block + c] = (float)total[c];
            sum_dy_x[block + c] = (float)moment[c];
        }
    }
}

INLINE void normalise_back(const float *x, const float *dz, int64_t channels, const float *scale, const float *shift,
                           const float *mean, const float *slant, const float *offset, float *dx, const int kind,
                           const int streamed)
{
    FOR_EACH_CHANNEL(channels, streamed, dx,
                     scale[c] * (dz[c] * slope(x[c] * scale[c] + shift[c], kind)) -
                         (offset[c] + slant[c] * (x[c] - mean[c])));
}

/* dx = scale * dy - offset - slant * (x - mean) per channel, dy as above. */
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

/* ---------------------------------------------------------------- squeeze and excitation */

/* Sums over n pixels of an image, `step` numbers apart, of some channels of a * b, or of a. */
INLINE void sums_of_image(const float *a, const float *b, int64_t n, int64_t step, int64_t channels, float *sums,
                          float *part, const int is_product)
{
    memset(sums, 0, channels * sizeof(float));
    for (int64_t first = 0; first < n; first += PART) {
        memset(part, 0, channels * sizeof(float));
        for (int64_t i = first; i < smaller(first + PART, n); i++) {
            const float *left = a + i * step, *right = b + i * step;
#pragma omp simd
            for (int64_t c = 0; c < channels; c++)
                part[c] += is_product ? left[c] * right[c] : left[c];
        }
#pragma omp simd
        for (int64_t c = 0; c < channels; c++)
            sums[c] += part[c];
    }
}

/* Sums of a * b over the pixels of each image, or of a where b is NULL: [images][channels]; parts: the same. */
void effmed_sums(const float *a, const float *b, int64_t images, int64_t pixels, int64_t channels, float *parts,
                 float *sums)
{
    int64_t groups = groups_of(images, channels);
#pragma omp parallel for schedule(static)
    for (int64_t item = 0; item < images * groups; item++) {
        int64_t first = item % groups * GROUP, n = groups == 1 ? channels : smaller(GROUP, channels - first);
        int64_t at = item / groups * pixels * channels + first, to = item / groups * channels + first;
        if (b)
            sums_of_image(a + at, b + at, pixels, channels, n, sums + to, parts + to, 1);
        else
            sums_of_image(a + at, a + at, pixels, channels, n, sums + to, parts + to, 0);
    }
}

INLINE void scale_pixel(const float *x, int64_t channels, const float *scale, const float *shift, float *y,
                        int streamed)
{
    FOR_EACH_CHANNEL(channels, streamed, y, x[c] * scale[c] + shift[c]);
}

/* y = scale * x + shift, both [images][channels]. */
void effmed_scale(const float *x, const float *scale, const float *shift, int64_t images, int64_t pixels,
                  int64_t channels, float *y)
{
    int streamed = is_streamed(y, images * pixels, channels);
    FOR_EACH(images * pixels, scale_pixel(x + item * channels, channels, scale + item / pixels * channels,
                                          shift + item / pixels * channels, y + item * channels, streamed))
}
