/* Depthwise convolution, and its gradients. */
#include "vectors.h"

#define MANY 16 /* columns whose gradients are added in registers */
#define TILE 4  /* columns of an output that are computed together */

/* Sizes of a convolution: its input, output, square kernel, stride, and zeros before the first row and column. */
typedef struct {
    int64_t images, channels, in_rows, in_columns, out_rows, out_columns, kernel, stride, top, left;
} shape;

/* Taps of a kernel that meet the image, from `from` until before `until`, where the first would lie at `at`. */
typedef struct {
    int64_t from, until;
} taps;

INLINE taps inside(int64_t at, int64_t size, int64_t kernel)
{
    taps found = {at < 0 ? -at : 0, smaller(kernel, size - at)};
    return found;
}

/* Columns of an output whose kernels lie within the image. */
INLINE taps full_columns(const shape *g)
{
    int64_t first = smaller((g->left + g->stride - 1) / g->stride, g->out_columns);
    int64_t room = g->in_columns + g->left - g->kernel;
    int64_t end = room < 0 ? 0 : smaller(room / g->stride + 1, g->out_columns);
    taps found = {first, end < first ? first : end};
    return found;
}

/* `n` columns of an output, from the pixel `at` of the image on, which their first kernel begins at. */
INLINE void convolve(const float *image, int64_t at, const vec *w, float *out, const shape *g, taps rows, taps columns,
                     const int64_t kernel, const int64_t width, const int64_t n, int streamed)
{
    vec sums[TILE][2] = {{{0}}};
    for (int64_t i = rows.from; i < rows.until; i++)
        for (int64_t j = columns.from; j < columns.until; j++) {
            const float *from = image + (at + i * g->in_columns + j) * g->channels;
            for (int64_t v = 0; v < width; v++) {
                vec weight = w[(i * kernel + j) * width + v];
                for (int64_t t = 0; t < n; t++)
                    sums[t][v] += weight * load(from + t * g->stride * g->channels + v * LANES);
            }
        }
    for (int64_t t = 0; t < n; t++)
        for (int64_t v = 0; v < width; v++)
            store(out + t * g->channels + v * LANES, sums[t][v], streamed);
}

INLINE void forward_row(const float *image, const vec *w, float *y, const shape *g, int64_t row, int streamed,
                        const int64_t kernel, const int64_t width)
{
    int64_t first = row * g->stride - g->top;
    taps rows = inside(first, g->in_rows, kernel), all = {0, kernel}, full = full_columns(g);
    int whole = rows.from == 0 && rows.until == kernel;
    for (int64_t column = 0; column < g->out_columns;) {
        int64_t left = column * g->stride - g->left, at = first * g->in_columns + left;
        int is_full = column >= full.from && column < full.until, is_tile = is_full && column + TILE <= full.until;
        taps columns = is_full ? all : inside(left, g->in_columns, kernel);
        float *out = y + (row * g->out_columns + column) * g->channels;
        const vec *weights = w;
        for (int64_t block = 0; block < g->channels; block += LANES * width, weights += kernel * kernel * width) {
            if (is_tile && whole)
                convolve(image + block, at, weights, out + block, g, all, all, kernel, width, TILE, streamed);
            else if (is_tile)
                convolve(image + block, at, weights, out + block, g, rows, all, kernel, width, TILE, streamed);
            else
                convolve(image + block, at, weights, out + block, g, rows, columns, kernel, width, 1, streamed);
        }
        column += is_tile ? TILE : 1;
    }
}

/* Weights [kernel * kernel][channels] to [channels / (LANES * width)][kernel * kernel][width * LANES]. */
static vec *pack_weights(const float *w, const shape *g, int64_t width)
{
    int64_t n = g->kernel * g->kernel, blocks = g->channels / (LANES * width);
    vec *packed = aligned_alloc(64, ((size_t)n * g->channels * sizeof(float) + 63) / 64 * 64);
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t tap = 0; tap < n; tap++)
            memcpy(packed + (block * n + tap) * width, w + tap * g->channels + block * LANES * width,
                   width * sizeof(vec));
    return packed;
}

INLINE int64_t width_of(const shape *g) { return g->channels % (2 * LANES) == 0 ? 2 : 1; }

/* The machine code for each size of a kernel, with one or two vectors of channels at a time. */
#define FOR_EACH_SIZE(kernel, width, call)                              \
    do {                                                                \
        if (kernel == 3 && width == 2) { call(3, 2); }                  \
        else if (kernel == 3) { call(3, 1); }                           \
        else if (kernel == 5 && width == 2) { call(5, 2); }             \
        else if (kernel == 5) { call(5, 1); }                           \
        else if (kernel == 7 && width == 2) { call(7, 2); }             \
        else { call(7, 1); }                                            \
    } while (0)

/* y = x convolved; weights: [kernel * kernel][channels]. Kernels of 3, 5 and 7, channels a multiple of LANES. */
void effmed_depthwise(const float *x, const float *weights, const shape *g, float *y)
{
    int64_t width = width_of(g), in_size = g->in_rows * g->in_columns * g->channels;
    int64_t out_size = g->out_rows * g->out_columns * g->channels;
    int streamed = width == 2 && is_streamed(y, g->images * g->out_rows * g->out_columns, g->channels);
    vec *w = pack_weights(weights, g, width);
#define FORWARD(K, W)                                                                                    \
    FOR_EACH(g->images * g->out_rows,                                                                       \
             forward_row(x + item / g->out_rows * in_size, w, y + item / g->out_rows * out_size, g,            \
                        item % g->out_rows, streamed, K, W))
    FOR_EACH_SIZE(g->kernel, width, FORWARD);
    free(w);
}

/* The gradient of `n` pixels of an input, `stride` apart: of outputs in `rows` and, of each, columns from `at` back,
 * that met them with every stride-th tap from the tap `i`, `j` of the kernel on. */
INLINE void gather(const float *dy, taps rows, int64_t at, taps columns, const vec *w, int64_t i, int64_t j, float *dx,
                   const shape *g, const int64_t kernel, const int64_t width, const int64_t n, int streamed)
{
    vec sums[TILE][2] = {{{0}}};
    for (int64_t row = rows.until - 1; row >= rows.from; row--, i += g->stride)
        for (int64_t m = columns.from; m < columns.until; m++) {
            const float *from = dy + (row * g->out_columns + at - m) * g->channels;
            for (int64_t v = 0; v < width; v++) {
                vec weight = w[(i * kernel + j + m * g->stride) * width + v];
                for (int64_t t = 0; t < n; t++)
                    sums[t][v] += weight * load(from + t * g->channels + v * LANES);
            }
        }
    for (int64_t t = 0; t < n; t++)
        for (int64_t v = 0; v < width; v++)
            store(dx + t * g->stride * g->channels + v * LANES, sums[t][v], streamed);
}

/* One row of the gradient of the input. Pixels that lie a stride apart met the same taps. */
INLINE void gather_row(const float *dy, const vec *w, float *dx, const shape *g, int64_t row, int streamed,
                       const int64_t kernel, const int64_t width)
{
    int64_t stride = g->stride, i = (row + g->top) % stride, last = (row + g->top) / stride;
    int64_t beyond = last < g->out_rows ? 0 : last - g->out_rows + 1; /* rows of an output that there are not */
    int64_t n_rows = (kernel - i + stride - 1) / stride;
    taps rows = {last - n_rows + 1 < 0 ? 0 : last - n_rows + 1, last - beyond + 1};
    for (int64_t j = 0; j < stride; j++) {
        int64_t n_taps = (kernel - j + stride - 1) / stride, column = ((j - g->left) % stride + stride) % stride;
        while (column < g->in_columns) {
            int64_t at = (column + g->left) / stride, end = at + TILE - 1;
            int is_tile = at - n_taps + 1 >= 0 && end < g->out_columns && column + (TILE - 1) * stride < g->in_columns;
            taps all = {0, n_taps}, some = {at < g->out_columns ? 0 : at - g->out_columns + 1, smaller(n_taps, at + 1)};
            const vec *weights = w;
            float *out = dx + (row * g->in_columns + column) * g->channels;
            for (int64_t block = 0; block < g->channels; block += LANES * width, weights += kernel * kernel * width)
                if (is_tile)
                    gather(dy + block, rows, at, all, weights, i + beyond * stride, j, out + block, g, kernel, width,
                           TILE, streamed);
                else
                    gather(dy + block, rows, at, some, weights, i + beyond * stride, j, out + block, g, kernel, width,
                           1, streamed);
            column += (is_tile ? TILE : 1) * stride;
        }
    }
}

/* Gradient of the input of a convolution with any stride. */
void effmed_depthwise_input(const float *dy, const float *weights, const shape *g, float *dx)
{
    int64_t width = width_of(g), in_size = g->in_rows * g->in_columns * g->channels;
    int64_t out_size = g->out_rows * g->out_columns * g->channels;
    int streamed = width == 2 && is_streamed(dx, g->images * g->in_rows * g->in_columns, g->channels);
    vec *w = pack_weights(weights, g, width);
#define GATHER(K, W)                                                                                    \
    FOR_EACH(g->images * g->in_rows,                                                                       \
             gather_row(dy + item / g->in_rows * out_size, w, dx + item / g->in_rows * in_size, g,            \
                        item % g->in_rows, streamed, K, W))
    FOR_EACH_SIZE(g->kernel, width, GATHER);
    free(w);
}

/* What some columns of an output add to the gradient of one row of the kernel, whose first tap meets `in`. */
INLINE void weights_of_columns(const float *in, const float *dy, const shape *g, float *part, taps some, int full,
                               const int64_t kernel, const int64_t width)
{
    for (int64_t block = 0; block < g->channels; block += LANES * width) {
        if (full) {
            vec sums[7][2] = {{{0}}};
            for (int64_t column = some.from; column < some.until; column++)
                for (int64_t v = 0; v < width; v++) {
                    vec back = load(dy + column * g->channels + block + v * LANES);
                    const float *from = in + (column * g->stride - g->left) * g->channels + block + v * LANES;
                    for (int64_t j = 0; j < kernel; j++)
                        sums[j][v] += back * load(from + j * g->channels);
                }
            for (int64_t j = 0; j < kernel; j++)
                for (int64_t v = 0; v < width; v++)
                    *(vec *)(part + j * g->channels + block + v * LANES) += sums[j][v];
            continue;
        }
        int64_t left = some.from * g->stride - g->left;
        taps columns = inside(left, g->in_columns, kernel);
        for (int64_t v = 0; v < width; v++) {
            vec back = load(dy + some.from * g->channels + block + v * LANES);
            for (int64_t j = columns.from; j < columns.until; j++)
                *(vec *)(part + j * g->channels + block + v * LANES) +=
                    back * load(in + (left + j) * g->channels + block + v * LANES);
        }
    }
}

INLINE void weights_of_image(const float *image, const float *dy, const shape *g, float *part, const int64_t kernel,
                             const int64_t width)
{
    taps full = full_columns(g);
    memset(part, 0, kernel * kernel * g->channels * sizeof(float));
    for (int64_t row = 0; row < g->out_rows; row++, dy += g->out_columns * g->channels) {
        int64_t first = row * g->stride - g->top;
        taps rows = inside(first, g->in_rows, kernel);
        for (int64_t column = 0; column < g->out_columns;) {
            int is_full = column >= full.from && column < full.until;
            taps some = {column, is_full ? smaller(column + MANY, full.until) : column + 1};
            for (int64_t i = rows.from; i < rows.until; i++)
                weights_of_columns(image + (first + i) * g->in_columns * g->channels, dy, g,
                                   part + i * kernel * g->channels, some, is_full, kernel, width);
            column = some.until;
        }
    }
}

/* Gradient of the weights, [kernel * kernel][channels]; parts: [images][kernel * kernel][channels]. */
void effmed_depthwise_weights(const float *x, const float *dy, const shape *g, float *parts, float *dw)
{
    int64_t n = g->kernel * g->kernel * g->channels, in_size = g->in_rows * g->in_columns * g->channels;
    int64_t out_size = g->out_rows * g->out_columns * g->channels;
#define WEIGHTS(K, W) \
    FOR_EACH(g->images, weights_of_image(x + item * in_size, dy + item * out_size, g, parts + item * n, K, W))
    FOR_EACH_SIZE(g->kernel, width_of(g), WEIGHTS);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t image = 0; image < g->images; image++)
            sum += parts[image * n + i];
        dw[i] = (float)sum;
    }
}
