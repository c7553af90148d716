/* Batch normalisation with its activation and the depthwise convolution behind it. With y = scale * x + shift per
 * channel and z = activation(y), the output is z convolved. z, several times as large as what goes into the block, is
 * computed from x where it is needed, some rows at a time, and never leaves the cache. */
#include <omp.h>

#include "activations.h"
#include "depthwise.h"
#include "sums.h"

/* Rows of an output that are computed together, the rows of the input that they meet, and those whose gradients are
 * computed beside theirs: each row of the input once. */
typedef struct {
    range out, met, own;
} strip;

INLINE int64_t within(int64_t at, int64_t size) { return at < 0 ? 0 : smaller(at, size); }

INLINE strip strip_of(const shape *g, int64_t number, int64_t n_rows)
{
    int64_t from = number * n_rows, until = smaller(from + n_rows, g->out_rows);
    int64_t first = from * g->stride - g->top, end = (until - 1) * g->stride - g->top + g->side;
    strip found = {{from, until}, {within(first, g->in_rows), within(end, g->in_rows)}, {0, g->in_rows}};
    if (from > 0)
        found.own.from = found.met.from;
    if (until < g->out_rows)
        found.own.until = within(until * g->stride - g->top, g->in_rows);
    return found;
}

/* The convolution of the rows that a strip meets. */
INLINE shape shape_of(const shape *g, strip rows)
{
    shape found = *g;
    found.in_rows = rows.met.until - rows.met.from;
    found.out_rows = rows.out.until - rows.out.from;
    found.top = g->top + rows.met.from - rows.out.from * g->stride;
    return found;
}

/* What a backward pass knows. */
typedef struct {
    const shape *g;
    const vec *weights;
    const float *scale, *shift, *mean;
    int kind, streamed;
} pass;

static void activate(const float *x, int64_t pixels, int64_t channels, const float *scale, const float *shift,
                     int kind, float *z)
{
#define ACTIVATE(KIND)                                            \
    for (int64_t i = 0; i < pixels * channels; i += channels)     \
        _Pragma("omp simd")                                       \
        for (int64_t c = 0; c < channels; c++)                    \
            z[i + c] = activation(x[i + c] * scale[c] + shift[c], KIND)
    FOR_EACH_KIND(kind, ACTIVATE);
}

/* A loop over the strips of all images, shared among as many threads as have `size` numbers each in `between`. In
 * `call` item is a strip of all, image the one that it is of, rows the strip, local its shape, and own where its thread
 * works. */
#define FOR_EACH_STRIP(g, n_rows, n_threads, between, size, call)                                 \
    do {                                                                                          \
        int64_t n_strips = ((g)->out_rows + (n_rows) - 1) / (n_rows);                             \
        _Pragma("omp parallel num_threads(n_threads)")                                            \
        {                                                                                         \
            float *own = (between) + omp_get_thread_num() * (size);                               \
            _Pragma("omp for schedule(static) nowait")                                            \
            for (int64_t item = 0; item < (g)->images * n_strips; item++) {                       \
                int64_t image = item / n_strips;                                                  \
                strip rows = strip_of(g, item % n_strips, n_rows);                                \
                shape local = shape_of(g, rows);                                                  \
                call;                                                                             \
            }                                                                                     \
            finish_stores();                                                                      \
        }                                                                                         \
    } while (0)

INLINE void forward_strip(const float *z, const vec *w, float *y, const shape *local, int streamed,
                          const int64_t side, const int64_t width)
{
    for (int64_t row = 0; row < local->out_rows; row++)
        forward_row(z, w, y, local, row, streamed, side, width);
}

/* z convolved, `n_rows` of the output at a time. Weights as in depthwise.c; between: [n_threads][size], where size is
 * that of the rows of the input which so many of the output meet. */
void effmed_normalise_depthwise(const float *x, const float *scale, const float *shift, int kind, const float *weights,
                                const shape *g, int64_t n_rows, int64_t n_threads, int64_t size, float *between,
                                float *y)
{
    int64_t width = width_of(g), in_line = g->in_columns * g->channels, out_line = g->out_columns * g->channels;
    int streamed = width == 2 && is_streamed(y, g->images * g->out_rows * g->out_columns, g->channels);
    const vec *w = (const vec *)weights;
#define FORWARD(K, W)                                                                                            \
    FOR_EACH_STRIP(g, n_rows, n_threads, between, size,                                                          \
                   activate(x + (image * g->in_rows + rows.met.from) * in_line, local.in_rows * g->in_columns,   \
                            g->channels, scale, shift, kind, own);                                               \
                   forward_strip(own, w, y + (image * g->out_rows + rows.out.from) * out_line, &local, streamed, \
                                 K, W))
    FOR_EACH_SIZE(g->side, width, FORWARD);
}

/* One row of z; what comes back to z becomes what comes back to y. sums: [ceil(columns / PART)][2][channels]. */
static void slope_row(const float *x, float *back, float *z, const pass *p, float *sums)
{
    const float *scale = p->scale, *shift = p->shift, *mean = p->mean;
    int64_t channels = p->g->channels;
    memset(sums, 0, (p->g->in_columns + PART - 1) / PART * 2 * channels * sizeof(float));
#define SLOPE_ROW(KIND)                                                            \
    for (int64_t i = 0; i < p->g->in_columns; i++) {                               \
        float *sum = sums + i / PART * 2 * channels, *product = sum + channels;    \
        const float *from = x + i * channels;                                      \
        float *to = back + i * channels, *active = z + i * channels;               \
        _Pragma("omp simd")                                                        \
        for (int64_t c = 0; c < channels; c++) {                                   \
            float y = from[c] * scale[c] + shift[c], dy = to[c] * slope(y, KIND);  \
            active[c] = activation(y, KIND);                                       \
            to[c] = dy;                                                            \
            sum[c] += dy;                                                          \
            product[c] += dy * (from[c] - mean[c]);                                \
        }                                                                          \
    }
    FOR_EACH_KIND(p->kind, SLOPE_ROW);
}

static void copy_row(const float *from, int64_t n, float *to, int streamed)
{
    for (int64_t i = 0; i < n; i += LANES)
        store(to + i, load(from + i), streamed);
}

/* Gradients of one strip: what comes back to y, on the rows of its own, and what it adds to that of the weights. */
INLINE void back_strip(const float *x, const float *back, const pass *p, strip rows, const shape *local,
                       float *between, float *dy, float *sums, float *part, const int64_t side, const int64_t width)
{
    const shape *g = p->g;
    int64_t line = g->in_columns * g->channels, n_sums = (g->in_columns + PART - 1) / PART * 2 * g->channels;
    float *row = between, *unmet = row + line, *z = unmet + line;
    for (int64_t i = rows.own.from; i < rows.own.until; i++) {
        back_row(back, p->weights, row, g, i, 0, side, width);
        slope_row(x + i * line, row, i < rows.met.until ? z + (i - rows.met.from) * line : unmet, p, sums + i * n_sums);
        copy_row(row, line, dy + i * line, p->streamed);
    }
    for (int64_t i = rows.own.until; i < rows.met.until; i++)
        activate(x + i * line, g->in_columns, g->channels, p->scale, p->shift, p->kind, z + (i - rows.met.from) * line);
    weights_of_image(z, back + rows.out.from * g->out_columns * g->channels, local, part, g->channels, side, width);
}

/* dy, what comes back to y; the sums of dy and of dy * (x - mean), [2][channels]; and the gradient of the weights,
 * [side * side][channels]. Strips as above, with room for two rows more. parts: [images][rows]
 * [ceil(columns / PART)][2][channels]; those of the weights: [images][strips][side * side][channels]. */
void effmed_normalise_depthwise_back(const float *x, const float *back, const float *scale, const float *shift,
                                     const float *mean, int kind, const float *weights, const shape *g, int64_t n_rows,
                                     int64_t n_threads, int64_t size, float *between, float *parts, double *sums,
                                     float *parts_dw, double *dw, float *dy)
{
    int64_t width = width_of(g), in_size = g->in_rows * g->in_columns * g->channels;
    int64_t out_size = g->out_rows * g->out_columns * g->channels;
    int64_t n_parts = g->in_rows * ((g->in_columns + PART - 1) / PART), pixels = g->images * g->in_rows * g->in_columns;
    int64_t n_dw = g->side * g->side * g->channels, n_strips = (g->out_rows + n_rows - 1) / n_rows;
    pass p = {g, (const vec *)weights, scale, shift, mean, kind, is_streamed(dy, pixels, g->channels)};
#define BACK(K, W)                                                                                        \
    FOR_EACH_STRIP(g, n_rows, n_threads, between, size,                                                   \
                   back_strip(x + image * in_size, back + image * out_size, &p, rows, &local, own,        \
                              dy + image * in_size, parts + image * n_parts * 2 * g->channels,            \
                              parts_dw + item * n_dw, K, W))
    FOR_EACH_SIZE(g->side, width, BACK);
    join_parts(parts, 1, g->images * n_parts, 2 * g->channels, sums);
    join_parts(parts_dw, 1, g->images * n_strips, n_dw, dw);
}
