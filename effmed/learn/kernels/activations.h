/* Activations with their slopes, and loops in which the compiler knows which one it is. */
#pragma once
#include "vectors.h"

enum { IDENTITY, SILU, RELU, RELU6 };

/* 1 / (1 + exp(-y)), within 2e-7: 2^t is 2^n 2^f with an integer n and |f| <= 0.5, where a polynomial that was fitted
 * for the smallest relative error (1.2e-7, as large as the rounding of float32) gives 2^f. The bits of t are compared,
 * as integers: two instructions keep it within 126 of 0, where float32 would need nine that heed NaN. What is computed
 * of NaN is multiplied by it. */
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
