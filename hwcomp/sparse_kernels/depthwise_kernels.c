/* The inner loops of depthwise convolutions: see depthwise_kernels.h. */
#include "depthwise_kernels.h"

#include <stddef.h>
#include <string.h>

#include "vectors.h"

enum { BLOCK_ROWS = 4 };

/* Images of fewer rows than a block has are read beyond their end. */
int64_t channel_scratch_floats(const planes *p) { return scratch_floats(p, 1) + BLOCK_ROWS * p->pitch; }

/* Write rows of outputs; what lies beyond a row is written again later, unless it lies behind `end`. */
static __attribute__((noinline)) void put_rows(float *to, const vector *sums, int64_t top, const planes *p,
                                               const float *end)
{
    size_t bytes = (size_t)(p->out.w < LANES ? p->out.w : LANES) * sizeof *to;
    for (int i = 0; i < BLOCK_ROWS && top + i < p->out.h; i++, to += p->out.w)
        if (end - to >= LANES)
            store(to, sums[i]);
        else
            memcpy(to, &sums[i], bytes);
}

/* Compute `rows` rows of a vector of outputs; an input that several of them need is read once. */
static inline __attribute__((always_inline)) void block(const int size, const int stride, const int rows,
                                                        const planes *p, const float *x, const float *weight,
                                                        vector sums[BLOCK_ROWS])
{
#pragma GCC unroll 7
    for (int w = 0; w < size; w++)
#pragma GCC unroll 2
        for (int phase = 0; phase < stride; phase++) {
            const int taps = (size - 1 - phase) / stride + 1;
            const float *from = x + (phase * stride + w % stride) * p->plane + w / stride;
#pragma GCC unroll 10
            for (int in = 0; in < rows + taps - 1; in++) {
                vector seen = load(from + in * p->pitch);
#pragma GCC unroll 4
                for (int row = 0; row < rows; row++)
                    if (in - row >= 0 && in - row < taps)
                        sums[row] += seen * weight[(phase + (in - row) * stride) * size + w];
            }
        }
}

static inline __attribute__((always_inline)) void channel(const int size, const int stride, const planes *p,
                                                          const float *x, const float *weight, float bias, float low,
                                                          float high, float *y, const float *end)
{
    int64_t width = p->out.w, height = p->out.h;
    /* The last rows and columns are computed once more where they do not fill a block. */
    int64_t last_top = height < BLOCK_ROWS ? 0 : height - BLOCK_ROWS, last_left = width < LANES ? 0 : width - LANES;
    int is_large = width >= LANES && height >= BLOCK_ROWS;
    for (int64_t row = 0; row < height; row += BLOCK_ROWS) {
        int64_t top = row < last_top ? row : last_top;
        for (int64_t column = 0; column < width; column += LANES) {
            int64_t left = column < last_left ? column : last_left;
            float *to = y + top * width + left;
            vector sums[BLOCK_ROWS];
            for (int i = 0; i < BLOCK_ROWS; i++)
                sums[i] = (vector){0} + bias;
            block(size, stride, BLOCK_ROWS, p, x + top * p->pitch + left, weight, sums);
            for (int i = 0; i < BLOCK_ROWS; i++)
                sums[i] = clamp(sums[i], low, high);
            if (is_large)
                for (int i = 0; i < BLOCK_ROWS; i++)
                    store(to + i * width, sums[i]);
            else
                put_rows(to, sums, top, p, end);
        }
    }
}

#define DEFINE(SIZE, STRIDE) \
    static void channel_##SIZE##_##STRIDE(const planes *p, const float *x, const float *weight, float bias, float low, \
                                          float high, float *y, const float *end) \
    { \
        channel(SIZE, STRIDE, p, x, weight, bias, low, high, y, end); \
    }
DEFINE(3, 1) DEFINE(3, 2) DEFINE(5, 1) DEFINE(5, 2) DEFINE(7, 1) DEFINE(7, 2)

channel_kernel *channel_kernel_of(pair kernel, pair stride)
{
#define CASE(SIZE, STRIDE) \
    if (kernel.h == SIZE && kernel.w == SIZE && stride.h == STRIDE && stride.w == STRIDE) \
        return channel_##SIZE##_##STRIDE;
    CASE(3, 1) CASE(3, 2) CASE(5, 1) CASE(5, 2) CASE(7, 1) CASE(7, 2)
    return NULL;
}
