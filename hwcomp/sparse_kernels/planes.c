/* Where a convolution finds its inputs: see planes.h. */
#include "planes.h"

#include <string.h>

#include "microkernels.h"
#include "vectors.h"

enum { LINE_FLOATS = 16 };

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Return which of a phase's inputs, the last of which is `last`, are the image's own. */
static span span_of(int64_t phase, int64_t last, int64_t size, int64_t stride, int64_t before)
{
    int64_t behind = before + size - 1 - phase, from = most(0, up(before - phase, stride));
    int64_t to = behind < 0 ? 0 : least(last, behind / stride) + 1;
    return (span){.from = from, .to = to};
}

const char *lay_out(planes *p)
{
    if (p->channels < 1 || p->size.h < 1 || p->size.w < 1 || p->kernel.h < 1 || p->kernel.w < 1)
        return "the input or the kernel is empty";
    if (p->stride.h < 1 || p->stride.w < 1 || p->stride.h > MAX_STRIDE || p->stride.w > MAX_STRIDE)
        return "strides must be 1 to 16";
    if (p->before.h < 0 || p->before.w < 0 || p->after.h < 0 || p->after.w < 0)
        return "padding must not be negative";
    pair padded = {p->before.h + p->size.h + p->after.h, p->before.w + p->size.w + p->after.w};
    if (padded.h < p->kernel.h || padded.w < p->kernel.w)
        return "the kernel is larger than the padded image";
    p->out = (pair){(padded.h - p->kernel.h) / p->stride.h + 1, (padded.w - p->kernel.w) / p->stride.w + 1};
    p->phases = (pair){least(p->stride.h, p->kernel.h), least(p->stride.w, p->kernel.w)};
    for (int64_t phase = 0; phase < p->phases.h; phase++) {
        int64_t last = p->out.h - 1 + (p->kernel.h - 1 - phase) / p->stride.h;
        p->rows[phase] = span_of(phase, last, p->size.h, p->stride.h, p->before.h);
    }
    p->pitch = p->out.w;
    for (int64_t phase = 0; phase < p->phases.w; phase++) {
        int64_t last = p->out.w - 1 + (p->kernel.w - 1 - phase) / p->stride.w;
        span own = p->columns[phase] = span_of(phase, last, p->size.w, p->stride.w, p->before.w);
        p->pitch = most(p->pitch, own.from < own.to ? most(own.to, last - own.from + 1) : 0);
    }
    p->pixels = (p->out.h - 1) * p->pitch + p->out.w;
    p->in_place = p->kernel.h == 1 && p->kernel.w == 1 && p->stride.h == 1 && p->stride.w == 1 &&
                  padded.h == p->size.h && padded.w == p->size.w && p->pixels >= HWCOMP_LANES;
    int64_t rows = p->out.h + (p->kernel.h - 1) / p->stride.h, beyond = (p->kernel.w - 1) / p->stride.w;
    /* An odd number of cache lines, so that the same pixel of many channels is not kept in the same few places. */
    p->plane = p->in_place ? p->size.h * p->size.w : (up(rows * p->pitch + beyond, LINE_FLOATS) | 1) * LINE_FLOATS;
    return channel_floats(p) > INT32_MAX / p->channels ? "the input is too large" : NULL;
}

int64_t channel_floats(const planes *p) { return p->phases.h * p->phases.w * p->plane; }

int64_t scratch_floats(const planes *p, int64_t channels) { return channels * channel_floats(p) + TILE_PIXELS; }

int64_t distance(const planes *p, int64_t column)
{
    int64_t w = column % p->kernel.w, h = column / p->kernel.w % p->kernel.h;
    int64_t channel = column / (p->kernel.w * p->kernel.h);
    int64_t phase = (h % p->stride.h) * p->phases.w + w % p->stride.w;
    return channel * channel_floats(p) + phase * p->plane + h / p->stride.h * p->pitch + w / p->stride.w;
}

/* Copy every `stride`-th float of a row and fill it up with zeros; `from_end` and `to_end` end what may be touched. */
static inline __attribute__((always_inline)) void copy_row(const float *from, const float *from_end, float *to,
                                                           const float *to_end, int64_t count, int64_t filled,
                                                           int64_t stride)
{
    int64_t i = 0;
    for (; stride <= 2 && i < filled && to_end - to - i >= LANES; i += LANES) {
        const float *at = from + i * stride;
        if (i < count && from_end - at < LANES * stride)
            break;
        vector values = {0};
        if (i < count)
            values = stride == 1 ? load(at) : even_lanes(load(at), load(at + LANES));
        store(to + i, first_lanes(values, count - i));
    }
    for (; i < filled && to + i < to_end; i++)
        to[i] = i < count ? from[i * stride] : 0;
}

static void fill_phase(const planes *p, const float *image, const float *end, pair phase, float *to)
{
    span rows = p->rows[phase.h], columns = p->columns[phase.w];
    int64_t count = columns.to - columns.from, begin = 0;
    if (count > 0 && rows.from < rows.to) {
        begin = rows.to * p->pitch;
        memset(to, 0, (size_t)(rows.from * p->pitch + columns.from) * sizeof *to);
        image += phase.w + p->stride.w * columns.from - p->before.w;
    }
    for (int64_t row = rows.from; count > 0 && row < rows.to; row++) {
        const float *from = image + (phase.h + p->stride.h * row - p->before.h) * p->size.w;
        float *at = to + row * p->pitch + columns.from;
        if (p->stride.w == 1)
            copy_row(from, end, at, to + p->plane, count, p->pitch, 1);
        else if (p->stride.w == 2)
            copy_row(from, end, at, to + p->plane, count, p->pitch, 2);
        else
            copy_row(from, end, at, to + p->plane, count, p->pitch, p->stride.w);
    }
    memset(to + begin, 0, (size_t)(p->plane - begin) * sizeof *to);
}

void fill_planes(const planes *p, const float *image, const float *end, float *to)
{
    for (int64_t h = 0; h < p->phases.h; h++)
        for (int64_t w = 0; w < p->phases.w; w++, to += p->plane)
            fill_phase(p, image, end, (pair){h, w}, to);
}

int64_t cut(const planes *p, int64_t first, int64_t count, piece *pieces)
{
    int64_t found = 0;
    for (int64_t at = first; at < first + count; at = (at / p->pitch + 1) * p->pitch) {
        int64_t row = at / p->pitch, end = least(first + count, row * p->pitch + p->out.w);
        if (at < end)
            pieces[found++] = (piece){at - first, row * p->out.w + at % p->pitch, (size_t)(end - at) * sizeof(float)};
    }
    return found;
}
