/* What the kernels are written with: vectors of channels, and writes past the cache.
 *
 * Tensors are float32 in channels_last order, [image][row][column][channel]; a pixel is a row and column of an image.
 * What is summed is summed in parts of fixed size and fixed order, so that results do not depend on the threads.
 * Kernels neither allocate memory nor check their arguments: calls.py and those that call it do.
 */
#pragma once
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* LANES, the channels that are computed at once, comes from build.py. */
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

INLINE vec load(const float *from) { return *(const vec *)from; }

/* Large results do not fit into the cache: they are written past it, where the processor can. 32 MB are the last level
 * of a server's cache. A thread that has written so waits for it before others may read. */
#if defined(__AVX__)
#include <immintrin.h>
#define STREAMED_FROM (8 << 20) /* numbers */
INLINE void store_past_cache(float *to, vec found) { _mm256_stream_ps(to, (__m256)found); }
INLINE void finish_stores(void) { _mm_sfence(); }
#else
#define STREAMED_FROM INT64_MAX
INLINE void store_past_cache(float *to, vec found) { *(vec *)to = found; }
INLINE void finish_stores(void) {}
#endif

INLINE int is_streamed(const float *to, int64_t pixels, int64_t channels)
{
    return pixels * channels > STREAMED_FROM && channels % LANES == 0 && (uintptr_t)to % sizeof(vec) == 0;
}

INLINE void store(float *to, vec found, int streamed)
{
    if (streamed)
        store_past_cache(to, found);
    else
        *(vec *)to = found;
}

/* Where there are few images, groups of their channels are shared among the threads too. How many threads there are
 * does not matter: what is summed is summed in the same order. */
#define GROUP 32
#define ENOUGH 32 /* images, from which on each is computed whole: groups are read in leaps, which is slower */

INLINE int64_t groups_of(int64_t images, int64_t channels)
{
    return images >= ENOUGH ? 1 : (channels + GROUP - 1) / GROUP;
}

/* A loop over `n` items, shared among the threads; `call` sees `item`. */
#define FOR_EACH(n, call)                                                \
    _Pragma("omp parallel")                                              \
    {                                                                    \
        _Pragma("omp for schedule(static) nowait")                       \
        for (int64_t item = 0; item < (n); item++)                       \
            call;                                                        \
        finish_stores();                                                 \
    }
