/* The inner loops in plain C with vectors as GCC and Clang have them: what every other version must agree with. */
#include "microkernels.h"
#include "vectors.h"

static inline __attribute__((always_inline)) void tile(
    const int rows, const int vectors, const int add, const float *x, const float *values, const int32_t *offsets,
    const int32_t *starts, const float *bias, const float *residual, float *y, int64_t first, int64_t last,
    int64_t y_stride, int64_t shift, float low, float high)
{
    const vector zero = {0};
    int64_t place[MAX_VECTORS];
    for (int v = 0; v < vectors; v++)
        place[v] = v * LANES - (v == vectors - 1 ? shift : 0);
    for (int64_t block_row = first; block_row < last; block_row++) {
        vector sum[16][MAX_VECTORS];
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[r][v] = zero + bias[block_row * rows + r];
        for (int32_t block = starts[block_row]; block < starts[block_row + 1]; block++) {
            const float *pixels = x + offsets[block], *value = values + (int64_t)block * rows;
            vector seen[MAX_VECTORS];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                seen[v] = load(pixels + place[v]);
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++)
                    sum[r][v] += seen[v] * value[r];
        }
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                int64_t at = (block_row * rows + r) * y_stride + place[v];
                vector result = sum[r][v];
                if (add)
                    result += load(residual + at);
                store(y + at, clamp(result, low, high));
            }
    }
}

#define DEFINE_ONE(NAME, R, V, ADD) \
    void NAME(const float *x, const float *values, const int32_t *offsets, const int32_t *starts, const float *bias, \
              const float *residual, float *y, int64_t first, int64_t last, int64_t y_stride, int64_t shift, \
              float low, float high) \
    { \
        tile(R, V, ADD, x, values, offsets, starts, bias, residual, y, first, last, y_stride, shift, low, high); \
    }
#define DEFINE(R, V) \
    DEFINE_ONE(hwcomp_tile_r##R##_v##V, R, V, 0) DEFINE_ONE(hwcomp_tile_r##R##_v##V##_add, R, V, 1)
HWCOMP_FOR_TILES(DEFINE)
