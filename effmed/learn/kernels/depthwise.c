/* Depthwise convolution of whole tensors, and its gradients. */
#include "depthwise.h"
#include "sums.h"

/* y = x convolved. Sides of 3, 5 and 7, channels a multiple of LANES.
 * weights: [channels / width][side * side][width], where width is 2 * LANES, or LANES where that is no divisor. */
void effmed_depthwise(const float *x, const float *weights, const shape *g, float *y)
{
    int64_t width = width_of(g), in_size = g->in_rows * g->in_columns * g->channels;
    int64_t out_size = g->out_rows * g->out_columns * g->channels;
    int streamed = width == 2 && is_streamed(y, g->images * g->out_rows * g->out_columns, g->channels);
    const vec *w = (const vec *)weights;
#define FORWARD(K, W)                                                                               \
    FOR_EACH(g->images * g->out_rows,                                                               \
             forward_row(x + item / g->out_rows * in_size, w, y + item / g->out_rows * out_size, g, \
                         item % g->out_rows, streamed, K, W))
    FOR_EACH_SIZE(g->side, width, FORWARD);
}

/* Gradient of the input of a convolution with any stride; weights as above. */
void effmed_depthwise_input(const float *dy, const float *weights, const shape *g, float *dx)
{
    int64_t width = width_of(g), out_size = g->out_rows * g->out_columns * g->channels;
    int streamed = width == 2 && is_streamed(dx, g->images * g->in_rows * g->in_columns, g->channels);
    const vec *w = (const vec *)weights;
#define BACK(K, W)                                                                                 \
    FOR_EACH(g->images * g->in_rows,                                                               \
             back_row(dy + item / g->in_rows * out_size, w, dx + item * g->in_columns * g->channels, \
                      g, item % g->in_rows, streamed, K, W))
    FOR_EACH_SIZE(g->side, width, BACK);
}

/* Gradient of the weights, [side * side][channels]; parts: [images][side * side][channels]. */
void effmed_depthwise_weights(const float *x, const float *dy, const shape *g, float *parts, double *dw)
{
    int64_t n = g->side * g->side * g->channels, in_size = g->in_rows * g->in_columns * g->channels;
    int64_t out_size = g->out_rows * g->out_columns * g->channels, groups = groups_of(g->images, g->channels);
#define WEIGHTS(K, W)                                                                                          \
    FOR_EACH(g->images * groups,                                                                               \
             weights_of_image(x + item / groups * in_size + item % groups * GROUP,                             \
                              dy + item / groups * out_size + item % groups * GROUP, g,                        \
                              parts + item / groups * n + item % groups * GROUP,                               \
                              groups == 1 ? g->channels : smaller(GROUP, g->channels - item % groups * GROUP), \
                              K, W))
    FOR_EACH_SIZE(g->side, width_of(g), WEIGHTS);
    join_parts(parts, 1, g->images, n, dw);
}
