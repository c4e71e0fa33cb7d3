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

#include <stdint.h>

typedef struct { int64_t h, w; } pair;

typedef struct {
    int64_t channels;
    pair size, kernel, stride, before, after;  /* of the image; zeros before and after it */
    pair out, phases;
    int64_t pitch, pixels, plane;  /* of a row; from the first to the last output; of one phase of one channel */
    int in_place;
} planes;

/* Fill in what follows from `channels`, `size`, `kernel`, `stride`, `before` and `after`; return what is wrong, or NULL. */
const char *lay_out(planes *p);

/* Return the distance of an input from its output; column = (channel * kernel.h + row) * kernel.w + column there. */
int64_t distance(const planes *p, int64_t column);

/* Return the floats in the planes of one channel, and in scratch memory for some channels. */
int64_t channel_floats(const planes *p);
int64_t scratch_floats(const planes *p, int64_t channels);

/* Write the planes of one channel of an image. */
void fill_planes(const planes *p, const float *image, float *to);

/* Copy pixels first to first + count - 1 of a plane, whose first is where `plane` points, to or from an image. */
void crop(const planes *p, int64_t first, int64_t count, const float *plane, float *image);
void uncrop(const planes *p, int64_t first, int64_t count, const float *image, float *plane);

#endif
