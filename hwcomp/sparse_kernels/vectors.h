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
/* Subtraction of zero, unlike its addition, leaves every value as it is. */
static inline vector all_lanes(float value) { return value - (vector){0}; }

static inline void store(float *to, vector values) { *(vector *)to = values; }

/* Return the vector whose first lanes, `count` of them or all, are those of another one, and the others zero. */
static inline vector first_lanes(vector values, int64_t count)
{
    mask lane;
    for (int32_t i = 0; i < LANES; i++)
        lane[i] = i;
    return choose(lane < (int32_t)(count < LANES ? count : LANES), values, (vector){0});
}

/* Return lanes of two vectors that lie one after the other; which ones the compiler must know. */
static inline __attribute__((always_inline)) vector shuffle(vector first, vector second, mask lanes)
{
#if defined(__clang__)
    vector shuffled;
    for (int i = 0; i < LANES; i++)
        shuffled[i] = lanes[i] < LANES ? first[lanes[i]] : second[lanes[i] - LANES];
    return shuffled;
#else
    return __builtin_shuffle(first, second, lanes);
#endif
}

/* Return lanes `from`, `from` + `by`, ... of two vectors that lie one after the other. */
static inline __attribute__((always_inline)) vector lanes_of(vector first, vector second, const int from, const int by)
{
    mask lanes;
    for (int32_t i = 0; i < LANES; i++)
        lanes[i] = from + by * i;
    return shuffle(first, second, lanes);
}

static inline vector even_lanes(vector first, vector second) { return lanes_of(first, second, 0, 2); }
static inline vector odd_lanes(vector first, vector second) { return lanes_of(first, second, 1, 2); }

/* Return a float and all lanes but the last. */
static inline vector with_before(float before, vector values)
{
    return lanes_of(all_lanes(before), values, LANES - 1, 1);
}

/* Return any lanes of one vector or of two; those that are not valid are zero. Only some machines can. */
#define CAN_PICK (HWCOMP_LANES == 16)
#if CAN_PICK
static inline vector pick(vector values, mask lanes, mask valid)
{
    __mmask16 which = _mm512_movepi32_mask((__m512i)valid);
    return (vector)_mm512_maskz_permutexvar_ps(which, (__m512i)lanes, (__m512)values);
}

static inline vector pick_of_two(vector first, vector second, mask lanes, mask valid)
{
    __mmask16 which = _mm512_movepi32_mask((__m512i)valid);
    return (vector)_mm512_maskz_permutex2var_ps(which, (__m512)first, (__m512i)lanes, (__m512)second);
}
#endif

/* Return the values, those below `low` and above `high` put there; NaN stays. */
static inline vector clamp(vector values, float low, float high)
{
    const vector lows = all_lanes(low), highs = all_lanes(high);
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
