/* Where a convolution finds its inputs: see planes.h. */
#include "planes.h"

#include <stddef.h>
#include <string.h>

#include "microkernels.h"

enum { LINE_FLOATS = 16 };

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Columns of a phase: those that the outputs read end at `last`; the image's own are `from` to `to`. */
typedef struct { int64_t from, to, last; } columns;

static columns columns_of(const planes *p, int64_t phase)
{
    int64_t last = p->out.w - 1 + (p->kernel.w - 1 - phase) / p->stride.w;
    int64_t behind = p->before.w + p->size.w - 1 - phase;
    columns found = {
        .from = least(last + 1, most(0, up(p->before.w - phase, p->stride.w))),
        .to = behind < 0 ? -1 : least(last, behind / p->stride.w),
        .last = last,
    };
    return found;
}

const char *lay_out(planes *p)
{
    if (p->channels < 1 || p->size.h < 1 || p->size.w < 1 || p->kernel.h < 1 || p->kernel.w < 1)
        return "the input or the kernel is empty";
    if (p->stride.h < 1 || p->stride.w < 1 || p->before.h < 0 || p->before.w < 0 || p->after.h < 0 || p->after.w < 0)
        return "strides must be positive, and padding not negative";
    pair padded = {p->before.h + p->size.h + p->after.h, p->before.w + p->size.w + p->after.w};
    if (padded.h < p->kernel.h || padded.w < p->kernel.w)
        return "the kernel is larger than the padded image";
    p->out = (pair){(padded.h - p->kernel.h) / p->stride.h + 1, (padded.w - p->kernel.w) / p->stride.w + 1};
    p->phases = (pair){least(p->stride.h, p->kernel.h), least(p->stride.w, p->kernel.w)};
    p->pitch = p->out.w;
    for (int64_t phase = 0; phase < p->phases.w; phase++) {
        columns c = columns_of(p, phase);
        p->pitch = most(p->pitch, c.to + 1);
        p->pitch = most(p->pitch, c.last - c.from + 1);
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

static void copy_strided(float *to, const float *from, int64_t count, int64_t stride)
{
    if (stride == 1)
        memcpy(to, from, (size_t)count * sizeof *to);
    else if (stride == 2)
        for (int64_t i = 0; i < count; i++)
            to[i] = from[2 * i];
    else
        for (int64_t i = 0; i < count; i++)
            to[i] = from[stride * i];
}

static void fill_phase(const planes *p, const float *image, pair phase, float *to)
{
    columns c = columns_of(p, phase.w);
    int64_t count = most(0, c.to - c.from + 1), rows = p->out.h + (p->kernel.h - 1) / p->stride.h;
    for (int64_t row = 0; row < rows; row++, to += p->pitch) {
        int64_t h = phase.h + p->stride.h * row - p->before.h;
        if (h < 0 || h >= p->size.h || count == 0) {
            memset(to, 0, (size_t)p->pitch * sizeof *to);
            continue;
        }
        const float *source = image + h * p->size.w + phase.w + p->stride.w * c.from - p->before.w;
        memset(to, 0, (size_t)c.from * sizeof *to);
        copy_strided(to + c.from, source, count, p->stride.w);
        memset(to + c.from + count, 0, (size_t)(p->pitch - c.from - count) * sizeof *to);
    }
    memset(to, 0, (size_t)(p->plane - rows * p->pitch) * sizeof *to);
}

void fill_planes(const planes *p, const float *image, float *to)
{
    for (int64_t h = 0; h < p->phases.h; h++)
        for (int64_t w = 0; w < p->phases.w; w++, to += p->plane)
            fill_phase(p, image, (pair){h, w}, to);
}

/* Call COPY(offset in the plane, offset in the image, count) for every piece of a row of outputs among some pixels. */
#define FOR_PIECES(COPY) \
    for (int64_t at = first; at < first + count; at = (at / p->pitch + 1) * p->pitch) { \
        int64_t row = at / p->pitch, end = least(first + count, row * p->pitch + p->out.w); \
        if (at < end) \
            COPY(at - first, row * p->out.w + at % p->pitch, (size_t)(end - at) * sizeof(float)); \
    }

void crop(const planes *p, int64_t first, int64_t count, const float *plane, float *image)
{
#define TO_IMAGE(PLANE, IMAGE, BYTES) memcpy(image + (IMAGE), plane + (PLANE), BYTES)
    FOR_PIECES(TO_IMAGE)
}

void uncrop(const planes *p, int64_t first, int64_t count, const float *image, float *plane)
{
#define TO_PLANE(PLANE, IMAGE, BYTES) memcpy(plane + (PLANE), image + (IMAGE), BYTES)
    FOR_PIECES(TO_PLANE)
}
