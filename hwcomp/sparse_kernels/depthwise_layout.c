/* Where a depthwise convolution finds its inputs: see depthwise_layout.h. */
#include "depthwise_layout.h"

#include <stdlib.h>
#include <string.h>

enum { FEW = 4, MANY = 7 };

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }

static way way_of(const planes *p)
{
    if (CAN_PICK && p->size.w <= LANES && 2 * p->out.w <= LANES)
        return PICKED_TWO;
    if (CAN_PICK && p->size.w <= LANES * p->stride.w && p->out.w <= LANES)
        return PICKED;
    return p->stride.w == 1 ? PLAIN : SPLIT;
}

/* Write which lanes of a strip read the image for each column of the kernel, and where they find it in two vectors. */
static int find_lanes(depthwise_layout *l, int64_t number)
{
    const planes *p = l->p;
    int64_t left = l->strip[number].left, outside = 0;
    for (int64_t w = 0; w < p->kernel.w; w++)
        for (int64_t lane = 0; lane < LANES; lane++) {
            int64_t row = lane / p->out.w, is_output = row < together_of(l->way) || p->out.w >= LANES;
            int64_t output = p->out.w >= LANES ? left + lane : lane % p->out.w;
            int64_t column = output * p->stride.w + w - p->before.w;
            int is_valid = is_output && column >= 0 && column < p->size.w;
            l->valid[number * p->kernel.w + w][lane] = is_valid ? -1 : 0;
            l->lanes[w][lane] = is_valid ? (int32_t)(column + (l->way == PICKED_TWO ? row * LANES : 0)) : 0;
            outside += is_output && !is_valid;
        }
    return outside > 0;
}

int make_layout(depthwise_layout *l, const planes *p)
{
    int64_t beyond = p->before.w + p->after.w + p->kernel.w + 2 * LANES, height = p->out.h;
    *l = (depthwise_layout){.p = p, .way = way_of(p), .margin = beyond};
    int64_t together = together_of(l->way);
    l->vectors = up(height, together);
    l->strips = up(p->out.w, LANES);
    l->block = together == 1 && up(height, MANY) * MANY <= up(height, FEW) * FEW ? MANY : FEW;
    l->rows = (most(l->vectors, l->block) * together - 1) * p->stride.h + p->kernel.h;
    l->last = least(p->before.h + p->size.h, l->rows);
    l->strip = calloc((size_t)l->strips, sizeof *l->strip);
    l->valid = calloc((size_t)(l->strips * p->kernel.w), sizeof *l->valid);
    l->lanes = calloc((size_t)p->kernel.w, sizeof *l->lanes);
    l->zeros = calloc((size_t)(p->size.w + 2 * l->margin), sizeof *l->zeros);
    if (l->strip == NULL || l->valid == NULL || l->lanes == NULL || l->zeros == NULL)
        return 0;
    for (int64_t i = 0; i < l->strips; i++) {
        l->strip[i].left = most(0, least(i * LANES, p->out.w - LANES));
        l->strip[i].is_edge = find_lanes(l, i);
    }
    return 1;
}

void free_layout(depthwise_layout *l)
{
    free(l->strip);
    free(l->valid);
    free(l->lanes);
    free(l->zeros);
}

int64_t copy_floats(const depthwise_layout *l) { return l->p->size.h * l->p->size.w + 2 * l->margin; }

void begin_rows(const depthwise_layout *l, const float **rows)
{
    for (int64_t row = 0; row < l->rows; row++)
        rows[row] = l->zeros + l->margin;
}

void find_rows(const depthwise_layout *l, const float *image, const float *begin, const float *end, float *copy,
               const float **rows)
{
    const planes *p = l->p;
    int64_t width = p->size.w, size = p->size.h * width;
    if (image - begin < l->margin || end - image - size < l->margin)
        image = memcpy(copy + l->margin, image, (size_t)size * sizeof *copy);
#pragma GCC unroll 7
    for (int64_t row = p->before.h; row < l->last; row++) {
        rows[row] = image + (row - p->before.h) * width;
        __asm__("" ::: "memory"); /* written one by one, as they are read soon after */
    }
}
