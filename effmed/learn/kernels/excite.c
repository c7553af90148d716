/* Batch normalisation with its activation and the squeeze-and-excitation behind it. With y = scale * x + shift per
 * channel and z = activation(y), the output is factor * z, where the factors of an image come from the means of z. What
 * lies between x and the output is computed again where it is needed: reading it would take as long. */
#include "activations.h"
#include "sums.h"

#define SUMS 5 /* per image and channel that the gradient needs */

/* A loop over parts of PART pixels; `call` sees part, how many pixels there are, and where they are. */
#define FOR_EACH_PART(images, pixels, channels, call)                                                        \
    do {                                                                                                     \
        int64_t n_parts = (pixels + PART - 1) / PART;                                                        \
        _Pragma("omp parallel for schedule(static)")                                                         \
        for (int64_t part = 0; part < images * n_parts; part++) {                                            \
            int64_t first = part % n_parts * PART, n = smaller(PART, pixels - first);                        \
            int64_t at = (part / n_parts * pixels + first) * channels;                                       \
            call;                                                                                            \
        }                                                                                                    \
    } while (0)

INLINE void squeeze(const float *x, int64_t n, int64_t channels, const float *scale, const float *shift, float *sum,
                    const int kind)
{
    memset(sum, 0, channels * sizeof(float));
    for (int64_t i = 0; i < n; i++, x += channels) {
#pragma omp simd
        for (int64_t c = 0; c < channels; c++)
            sum[c] += activation(x[c] * scale[c] + shift[c], kind);
    }
}

/* Sums of z over the pixels of each image: [images][channels]; parts: [images][ceil(pixels / PART)][channels]. */
void effmed_squeeze(const float *x, int64_t images, int64_t pixels, int64_t channels, const float *scale,
                    const float *shift, int kind, float *parts, double *sums)
{
#define SQUEEZE(KIND)                           \
    FOR_EACH_PART(images, pixels, channels,     \
                  squeeze(x + at, n, channels, scale, shift, parts + part * channels, KIND))
    FOR_EACH_KIND(kind, SQUEEZE);
    join_parts(parts, images, (pixels + PART - 1) / PART, channels, sums);
}

INLINE void excite(const float *x, int64_t channels, const float *scale, const float *shift, const float *factor,
                   float *to, const int kind, const int streamed)
{
    FOR_EACH_CHANNEL(channels, streamed, to, factor[c] * activation(x[c] * scale[c] + shift[c], kind));
}

/* factor * z; factors: [images][channels]. */
void effmed_excite(const float *x, int64_t images, int64_t pixels, int64_t channels, const float *scale,
                   const float *shift, const float *factors, int kind, float *to)
{
    int streamed = is_streamed(to, images * pixels, channels);
#define EXCITE(KIND, STREAMED)                                                                                     \
    FOR_EACH(images * pixels, excite(x + item * channels, channels, scale, shift, factors + item / pixels * channels, \
                                     to + item * channels, KIND, STREAMED))
    FOR_EACH_KIND_STREAMED(kind, streamed, EXCITE);
}

INLINE void excite_slopes(const float *x, const float *back, int64_t n, int64_t channels, const float *scale,
                          const float *shift, const float *mean, float *sums, const int kind)
{
    float *of_factor = sums, *of_y = sums + channels, *slopes = sums + 2 * channels;
    float *of_x = sums + 3 * channels, *slopes_x = sums + 4 * channels;
    memset(sums, 0, SUMS * channels * sizeof(float));
    for (int64_t i = 0; i < n; i++, x += channels, back += channels) {
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
            float y = x[c] * scale[c] + shift[c], from = x[c] - mean[c], s = slope(y, kind), back_s = back[c] * s;
            of_factor[c] += back[c] * activation(y, kind);
            of_y[c] += back_s;
            slopes[c] += s;
            of_x[c] += back_s * from;
            slopes_x[c] += s * from;
        }
    }
}

/* Per image and channel, with the slope s = activation'(y): the sums of back * z, back * s, s, back * s * (x - mean)
 * and s * (x - mean), where back is the gradient of the output: [images][SUMS][channels]; parts:
 * [images][ceil(pixels / PART)][SUMS][channels]. */
void effmed_excite_slopes(const float *x, const float *back, int64_t images, int64_t pixels, int64_t channels,
                          const float *scale, const float *shift, const float *mean, int kind, float *parts,
                          double *sums)
{
#define EXCITE_SLOPES(KIND)                                                                      \
    FOR_EACH_PART(images, pixels, channels,                                                      \
                  excite_slopes(x + at, back + at, n, channels, scale, shift, mean,              \
                                parts + part * SUMS * channels, KIND))
    FOR_EACH_KIND(kind, EXCITE_SLOPES);
    join_parts(parts, images, (pixels + PART - 1) / PART, SUMS * channels, sums);
}

INLINE void excite_back(const float *x, const float *back, int64_t channels, const float *scale, const float *shift,
                        const float *mean, const float *slant, const float *offset, const float *factor,
                        const float *of_mean, float *dx, const int kind, const int streamed)
{
    FOR_EACH_CHANNEL(channels, streamed, dx,
                     scale[c] * ((back[c] * factor[c] + of_mean[c]) * slope(x[c] * scale[c] + shift[c], kind)) -
                         (offset[c] + slant[c] * (x[c] - mean[c])));
}

/* dx = scale * dy - offset - slant * (x - mean), where dy = (factor * back + of_mean) * activation'(y); of_mean, what a
 * pixel's share in the mean of its image adds to its gradient, is [images][channels] as the factors are. */
void effmed_excite_back(const float *x, const float *back, int64_t images, int64_t pixels, int64_t channels,
                        const float *scale, const float *shift, const float *mean, const float *slant,
                        const float *offset, const float *factors, const float *of_mean, int kind, float *dx)
{
    int streamed = is_streamed(dx, images * pixels, channels);
#define EXCITE_BACK(KIND, STREAMED)                                                                                \
    FOR_EACH(images * pixels, excite_back(x + item * channels, back + item * channels, channels, scale, shift, mean, \
                                          slant, offset, factors + item / pixels * channels,                       \
                                          of_mean + item / pixels * channels, dx + item * channels, KIND, STREAMED))
    FOR_EACH_KIND_STREAMED(kind, streamed, EXCITE_BACK);
}
