/* The inner loops of depthwise convolutions: see depthwise_kernels.h. */
#include "depthwise_kernels.h"

#include <stddef.h>
#include <string.h>

enum { MOST_SIZE = 7, MOST_BLOCK = 7 };
#define INLINE static inline __attribute__((always_inline))

/* Write `count` vectors of outputs, `step` apart, in part where `end` is near. */
static __attribute__((noinline)) void put_some(float *to, const vector *sums, int64_t count, int64_t step,
                                               const float *end)
{
    for (int64_t i = 0; i < count && to < end; i++, to += step)
        if (end - to >= LANES)
            store(to, sums[i]);
        else
            memcpy(to, &sums[i], (size_t)(end - to < step ? end - to : step) * sizeof *to);
}

/* Write what columns `first` to `first` + `count` - 1 of the kernel see of a row. */
INLINE void see(const int size, const int stride, const way way, const int is_edge, const int first, const int count,
                const float *const *row, int64_t offset, const mask *valid, const mask *lanes, vector *seen)
{
    const float *at = *row + offset;
    const int middle = size == 3 ? 1 : first;
    vector even = {0}, odd = {0};
    if (way == SPLIT) {
        vector near = load(at + middle), far = load(at + middle + LANES);
        even = even_lanes(near, far);
        odd = odd_lanes(near, far);
    }
#pragma GCC unroll 7
    for (int i = 0; i < count; i++) {
        const int w = first + i;
#if CAN_PICK
        if (way == PICKED_TWO)
            seen[i] = pick_of_two(load(*row), load(row[stride]), lanes[w], valid[w]);
        if (way == PICKED && stride == 2)
            seen[i] = pick_of_two(load(*row), load(*row + LANES), lanes[w], valid[w]);
        if (way == PICKED && stride == 1)
            seen[i] = pick(load(*row), lanes[w], valid[w]);
#endif
        if (way == PLAIN)
            seen[i] = load(at + w);
        if (way == SPLIT)
            seen[i] = w == middle ? even : w > middle ? odd : with_before(at[middle - 1], odd);
        if ((way == PLAIN || way == SPLIT) && is_edge)
            seen[i] = (vector)((mask)seen[i] & valid[w]);
    }
}

/* Compute `block` vectors of outputs below each other; an input that several of them need is read once. */
INLINE void add_block(const int size, const int stride, const way way, const int block, const int is_edge,
                      const float *const *rows, int64_t offset, const mask *valid, const mask *lanes,
                      const float *weight, vector *sums)
{
    const int step = (int)together_of(way) * stride, group = way == PLAIN ? 1 : way == SPLIT && size > 3 ? 2 : 3;
    const int inputs = block - 1 + (size - 1) / step + 1;
#pragma GCC unroll 7
    for (int first = 0; first < size; first += group) {
        const int count = size - first < group ? size - first : group;
        vector taps[MOST_SIZE][MOST_SIZE];
        __asm__("" : "+r"(rows)); /* pointers to rows are loaded again rather than kept where there is no room */
#pragma GCC unroll 7
        for (int h = 0; h < size; h++)
#pragma GCC unroll 7
            for (int w = 0; w < count; w++)
                taps[h][w] = all_lanes(weight[h * size + first + w]);
#pragma GCC unroll 20
        for (int n = 0; n < inputs * step; n++) {
            /* Neighbours in time belong to several sums, none of which waits for itself. */
            const int in = n / inputs + n % inputs * step;
            vector seen[MOST_SIZE];
            if (in % step >= size || in >= (block - 1) * step + size)
                continue;
            see(size, stride, way, is_edge, first, count, rows + in, offset, valid, lanes, seen);
#pragma GCC unroll 7
            for (int i = 0; i < block; i++)
#pragma GCC unroll 7
                for (int w = 0; w < count; w++)
                    if (in - i * step >= 0 && in - i * step < size)
                        sums[i] += seen[w] * taps[in - i * step][w];
        }
    }
}

INLINE void channel(const int size, const int stride, const way way, const int block, const depthwise_layout *l,
                    const float *const *rows, const float *weight, float bias, float low, float high, float *y,
                    const float *end)
{
    const int64_t together = together_of(way);
    int64_t step = together * l->p->out.w, last_top = l->vectors < block ? 0 : l->vectors - block;
    for (int64_t next = 0; next < l->vectors; next += block) {
        /* The last vectors and columns are computed once more where they do not fill a block. */
        int64_t top = next < last_top ? next : last_top;
        const float *const *from = rows + top * together * stride;
        for (int64_t i = 0; i < l->strips; i++) {
            int64_t left = l->strip[i].left, offset = left * stride - l->p->before.w;
            float *to = y + top * step + left;
            vector sums[MOST_BLOCK];
            for (int j = 0; j < block; j++)
                sums[j] = all_lanes(bias);
            if (way == PICKED || way == PICKED_TWO || l->strip[i].is_edge)
                add_block(size, stride, way, block, 1, from, offset, l->valid + i * size, l->lanes, weight, sums);
            else
                add_block(size, stride, way, block, 0, from, offset, l->valid + i * size, l->lanes, weight, sums);
            for (int j = 0; j < block; j++)
                sums[j] = clamp(sums[j], low, high);
            if (l->vectors >= block && end - to >= (block - 1) * step + LANES)
                for (int j = 0; j < block; j++)
                    store(to + j * step, sums[j]);
            else {
                vector some[MOST_BLOCK];
                for (int j = 0; j < block; j++)
                    some[j] = sums[j];
                put_some(to, some, l->vectors < block ? l->vectors : block, step, end);
            }
        }
    }
}

#define NAME_OF(SIZE, STRIDE, WAY, BLOCK) channel_##SIZE##_##STRIDE##_##WAY##_##BLOCK
#define DEFINE(SIZE, STRIDE, WAY, BLOCK) \
    static void NAME_OF(SIZE, STRIDE, WAY, BLOCK)(const depthwise_layout *l, const float *const *rows, \
                                                  const float *weight, float bias, float low, float high, float *y, \
                                                  const float *end) \
    { \
        channel(SIZE, STRIDE, WAY, BLOCK, l, rows, weight, bias, low, high, y, end); \
    }
#define FIND(SIZE, STRIDE, WAY, BLOCK) \
    if (k.h == SIZE && k.w == SIZE && s.h == STRIDE && s.w == STRIDE && l->way == WAY && l->block == BLOCK) \
        return NAME_OF(SIZE, STRIDE, WAY, BLOCK);
#if CAN_PICK
#define PICKED_OF(DO, SIZE, STRIDE) \
    DO(SIZE, STRIDE, PICKED, 4) DO(SIZE, STRIDE, PICKED, 7) DO(SIZE, STRIDE, PICKED_TWO, 4)
#else
#define PICKED_OF(DO, SIZE, STRIDE)
#endif
#define ALL_OF(DO, SIZE) \
    DO(SIZE, 1, PLAIN, 4) DO(SIZE, 1, PLAIN, 7) DO(SIZE, 2, SPLIT, 4) DO(SIZE, 2, SPLIT, 7) \
    PICKED_OF(DO, SIZE, 1) PICKED_OF(DO, SIZE, 2)

ALL_OF(DEFINE, 3) ALL_OF(DEFINE, 5) ALL_OF(DEFINE, 7)

channel_kernel *channel_kernel_of(const depthwise_layout *l)
{
    pair k = l->p->kernel, s = l->p->stride;
    ALL_OF(FIND, 3) ALL_OF(FIND, 5) ALL_OF(FIND, 7)
    return NULL;
}
