/* Where a convolution finds its inputs: planes in which every weight's input is one constant distance from the output.
 *
 * An image is copied into planes of rows `pitch` apart. Zeros surround it, but those at the right of a row are also
 * those at the left of the next one. Strides split it into phases, one plane each: phase (p, q) has rows p, p + stride,
 * ... and columns q, q + stride, ... of the padded image. Outputs are computed along a plane as if it were one row:
 * output (i, j) is pixel i * pitch + j, and pixels with j >= out_width are thrown away. A 1x1 convolution without
 * padding and stride finds all that in the image itself (`in_place`).
 */
#ifndef HWCOMP_PLANES_H
#define HWCOMP_PLANES_H

#include <stddef.h>
#include <stdint.h>

typedef struct { int64_t h, w; } pair;

/* The image's own part of a phase: its rows, or columns, `from` to `to` - 1 of those that the outputs read. */
typedef struct { int64_t from, to; } span;

enum { MAX_STRIDE = 16 };

typedef struct {
    int64_t channels;
    pair size, kernel, stride, before, after;  /* of the image; zeros before and after it */
    pair out, phases;
    span rows[MAX_STRIDE], columns[MAX_STRIDE];  /* by phase */
    int64_t pitch, pixels, plane;  /* of a row; from the first to the last output; of one phase of one channel */
    int in_place;
} planes;

/* Fill in what follows from the members up to `after`; return what is wrong, or NULL. */
const char *lay_out(planes *p);

/* Return the distance of an input from its output; column = (channel * kernel.h + row) * kernel.w + column there. */
int64_t distance(const planes *p, int64_t column);

/* Return the floats in the planes of one channel, and in scratch memory for some channels. */
int64_t channel_floats(const planes *p);
int64_t scratch_floats(const planes *p, int64_t channels);

/* Write the planes of one channel of an image; its memory may be read up to `end`. */
void fill_planes(const planes *p, const float *image, const float *end, float *to);

/* A piece of a row of outputs: where it lies in a range of a plane and in the outputs of a channel, and its bytes. */
typedef struct { int64_t in_plane, in_out; size_t bytes; } piece;

/* Cut pixels first to first + count - 1 of a plane into pieces, at most `count`; return how many there are. */
int64_t cut(const planes *p, int64_t first, int64_t count, piece *pieces);

#endif
