/* Depthwise convolution, and its gradients, a row or some rows of one image at a time. */
#pragma once
#include "vectors.h"

#define MANY 16 /* columns whose gradients are added in registers */
#define TILE 4  /* columns of an output that are computed together */

/* Sizes of a convolution: its input, output, the side of its square weights, stride, and zeros before the first row and
 * column. */
typedef struct {
    int64_t images, channels, in_rows, in_columns, out_rows, out_columns, side, stride, top, left;
} shape;

/* Rows, columns, or taps along a side of the weights, from `from` until before `until`. */
typedef struct {
    int64_t from, until;
} range;

/* Taps that meet the image, where the first would lie at `at`. */
INLINE range inside(int64_t at, int64_t size, int64_t side)
{
    range found = {at < 0 ? -at : 0, smaller(side, size - at)};
    return found;
}

/* Columns of an output whose taps all lie within the image. */
INLINE range full_columns(const shape *g)
{
    int64_t first = smaller((g->left + g->stride - 1) / g->stride, g->out_columns);
    int64_t room = g->in_columns + g->left - g->side;
    int64_t end = room < 0 ? 0 : smaller(room / g->stride + 1, g->out_columns);
    range found = {first, end < first ? first : end};
    return found;
}

/* Along the rows or the columns of the weights: how many taps there are, and how far it is from one to the next among
 * the numbers that they meet and among the weights. */
typedef struct {
    int64_t n, step, weight_step;
} walk;

/* `n` pixels, `out_step` numbers apart, each the weighted sum of what the taps meet from `from` on; for the next pixel
 * that lies `next` numbers further. */
INLINE void weigh(const float *from, walk rows, walk columns, int64_t next, const vec *w, float *out, int64_t out_step,
                  const int64_t width, const int64_t n, int streamed)
{
    vec sums[TILE][2] = {{{0}}};
    for (int64_t i = 0; i < rows.n; i++)
        for (int64_t j = 0; j < columns.n; j++)
            for (int64_t v = 0; v < width; v++) {
                const float *met = from + i * rows.step + j * columns.step + v * LANES;
                vec weight = w[i * rows.weight_step + j * columns.weight_step + v];
                for (int64_t t = 0; t < n; t++)
                    sums[t][v] += weight * load(met + t * next);
            }
    for (int64_t t = 0; t < n; t++)
        for (int64_t v = 0; v < width; v++)
            store(out + t * out_step + v * LANES, sums[t][v], streamed);
}

/* One row of an output. */
INLINE void forward_row(const float *image, const vec *w, float *y, const shape *g, int64_t row, int streamed,
                        const int64_t side, const int64_t width)
{
    int64_t first = row * g->stride - g->top, line = g->in_columns * g->channels, next = g->stride * g->channels;
    range rows = inside(first, g->in_rows, side), full = full_columns(g);
    int whole = rows.from == 0 && rows.until == side;
    for (int64_t column = 0; column < g->out_columns;) {
        int64_t left = column * g->stride - g->left;
        int is_full = column >= full.from && column < full.until, is_tile = is_full && column + TILE <= full.until;
        range columns = inside(left, g->in_columns, side);
        walk down = {rows.until - rows.from, line, side * width}, all_down = {side, line, side * width};
        walk right = {columns.until - columns.from, g->channels, width}, all_right = {side, g->channels, width};
        const vec *weights = w + (rows.from * side + columns.from) * width;
        const float *in = image + (first + rows.from) * line + (left + columns.from) * g->channels;
        float *out = y + (row * g->out_columns + column) * g->channels;
        for (int64_t block = 0; block < g->channels; block += LANES * width, weights += side * side * width) {
            if (is_tile && whole)
                weigh(in + block, all_down, all_right, next, weights, out + block, g->channels, width, TILE, streamed);
            else if (is_tile)
                weigh(in + block, down, all_right, next, weights, out + block, g->channels, width, TILE, streamed);
            else
                weigh(in + block, down, right, next, weights, out + block, g->channels, width, 1, streamed);
        }
        column += is_tile ? TILE : 1;
    }
}

INLINE int64_t width_of(const shape *g) { return g->channels % (2 * LANES) == 0 ? 2 : 1; }

/* The machine code for each side, with one or two vectors of channels at a time. */
#define FOR_EACH_SIZE(side, width, call)                              \
    do {                                                                \
        if (side == 3 && width == 2) { call(3, 2); }                  \
        else if (side == 3) { call(3, 1); }                           \
        else if (side == 5 && width == 2) { call(5, 2); }             \
        else if (side == 5) { call(5, 1); }                           \
        else if (side == 7 && width == 2) { call(7, 2); }             \
        else { call(7, 1); }                                            \
    } while (0)

/* One row of the gradient of the input, at `dx`. Pixels that lie a stride apart met the same taps. */
INLINE void back_row(const float *dy, const vec *w, float *dx, const shape *g, int64_t row, int streamed,
                     const int64_t side, const int64_t width)
{
    int64_t stride = g->stride, i = (row + g->top) % stride, line = g->out_columns * g->channels;
    int64_t last = smaller((row + g->top) / stride, g->out_rows - 1);       /* of the rows of the output that saw it */
    int64_t skipped = (row + g->top) / stride - last, n_taps = (side - i + stride - 1) / stride;
    walk up = {smaller(n_taps - skipped, last + 1), -line, stride * side * width};
    for (int64_t j = 0; j < stride; j++) {
        int64_t n_right = (side - j + stride - 1) / stride, column = ((j - g->left) % stride + stride) % stride;
        while (column < g->in_columns) {
            int64_t at = (column + g->left) / stride;
            int is_tile = at - n_right + 1 >= 0 && at + TILE - 1 < g->out_columns &&
                          column + (TILE - 1) * stride < g->in_columns;
            int64_t from = at < g->out_columns ? 0 : at - g->out_columns + 1;
            walk left = {smaller(n_right, at + 1) - from, -g->channels, stride * width};
            const vec *weights = w + ((i + skipped * stride) * side + j + from * stride) * width;
            const float *in = dy + last * line + (at - from) * g->channels;
            float *out = dx + column * g->channels;
            int64_t next = stride * g->channels;
            for (int64_t block = 0; block < g->channels; block += LANES * width, weights += side * side * width)
                if (is_tile)
                    weigh(in + block, up, left, g->channels, weights, out + block, next, width, TILE, streamed);
                else
                    weigh(in + block, up, left, g->channels, weights, out + block, next, width, 1, streamed);
            column += (is_tile ? TILE : 1) * stride;
        }
    }
}

/* What some columns of an output add to the gradient of one row of the weights, whose first tap meets `in`. */
INLINE void weights_of_columns(const float *in, const float *dy, const shape *g, float *part, range some, int full,
                               int64_t channels, const int64_t side, const int64_t width)
{
    for (int64_t block = 0; block < channels; block += LANES * width) {
        if (full) {
            vec sums[7][2] = {{{0}}};
            for (int64_t column = some.from; column < some.until; column++)
                for (int64_t v = 0; v < width; v++) {
                    vec back = load(dy + column * g->channels + block + v * LANES);
                    const float *from = in + (column * g->stride - g->left) * g->channels + block + v * LANES;
                    for (int64_t j = 0; j < side; j++)
                        sums[j][v] += back * load(from + j * g->channels);
                }
            for (int64_t j = 0; j < side; j++)
                for (int64_t v = 0; v < width; v++)
                    *(vec *)(part + j * g->channels + block + v * LANES) += sums[j][v];
            continue;
        }
        int64_t left = some.from * g->stride - g->left;
        range columns = inside(left, g->in_columns, side);
        for (int64_t v = 0; v < width; v++) {
            vec back = load(dy + some.from * g->channels + block + v * LANES);
            for (int64_t j = columns.from; j < columns.until; j++)
                *(vec *)(part + j * g->channels + block + v * LANES) +=
                    back * load(in + (left + j) * g->channels + block + v * LANES);
        }
    }
}

/* What one image adds to the gradients of some channels. */
INLINE void weights_of_image(const float *image, const float *dy, const shape *g, float *part, int64_t channels,
                             const int64_t side, const int64_t width)
{
    range full = full_columns(g);
    for (int64_t tap = 0; tap < side * side; tap++)
        memset(part + tap * g->channels, 0, channels * sizeof(float));
    for (int64_t row = 0; row < g->out_rows; row++, dy += g->out_columns * g->channels) {
        int64_t first = row * g->stride - g->top;
        range rows = inside(first, g->in_rows, side);
        for (int64_t column = 0; column < g->out_columns;) {
            int is_full = column >= full.from && column < full.until;
            range some = {column, is_full ? smaller(column + MANY, full.until) : column + 1};
            for (int64_t i = rows.from; i < rows.until; i++)
                weights_of_columns(image + (first + i) * g->in_columns * g->channels, dy, g,
                                   part + i * side * g->channels, some, is_full, channels, side, width);
            column = some.until;
        }
    }
}
