/* Vectors of floats, as GCC and Clang have them; they may lie anywhere in memory. */
#ifndef HWCOMP_VECTORS_H
#define HWCOMP_VECTORS_H

#include <stdint.h>
#if HWCOMP_LANES > 4
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#else
#include <emmintrin.h>
#endif

enum { LANES = HWCOMP_LANES };
typedef float vector __attribute__((vector_size(4 * HWCOMP_LANES), aligned(4), may_alias));
typedef int32_t mask __attribute__((vector_size(4 * HWCOMP_LANES), aligned(4), may_alias));

static inline vector choose(mask which, vector yes, vector no)
{
    return (vector)((which & (mask)yes) | (~which & (mask)no));
}

static inline vector load(const float *from) { return *(const vector *)from; }
static inline void store(float *to, vector values) { *(vector *)to = values; }

/* Return the vector whose first lanes, `count` of them or all, are those of another one, and the others zero. */
static inline vector first_lanes(vector values, int64_t count)
{
    mask lane;
    for (int32_t i = 0; i < LANES; i++)
        lane[i] = i;
    return choose(lane < (int32_t)(count < LANES ? count : LANES), values, (vector){0});
}

/* Return every second lane of two vectors that lie one after the other. */
static inline vector even_lanes(vector first, vector second)
{
#if defined(__clang__) && HWCOMP_LANES == 16
    return __builtin_shufflevector(first, second, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
#elif defined(__clang__) && HWCOMP_LANES == 8
    return __builtin_shufflevector(first, second, 0, 2, 4, 6, 8, 10, 12, 14);
#elif defined(__clang__)
    return __builtin_shufflevector(first, second, 0, 2, 4, 6);
#else
    mask even;
    for (int32_t i = 0; i < LANES; i++)
        even[i] = 2 * i;
    return __builtin_shuffle(first, second, even);
#endif
}

/* Return the values, those below `low` and above `high` put there; NaN stays. */
static inline vector clamp(vector values, float low, float high)
{
    const vector zero = {0}, lows = zero + low, highs = zero + high;
#if HWCOMP_LANES == 16
    return (vector)_mm512_min_ps((__m512)highs, _mm512_max_ps((__m512)lows, (__m512)values));
#elif HWCOMP_LANES == 8
    return (vector)_mm256_min_ps((__m256)highs, _mm256_max_ps((__m256)lows, (__m256)values));
#elif defined(__aarch64__)
    return (vector)vminq_f32((float32x4_t)highs, vmaxq_f32((float32x4_t)lows, (float32x4_t)values));
#else
    return (vector)_mm_min_ps((__m128)highs, _mm_max_ps((__m128)lows, (__m128)values));
#endif
}

#endif
