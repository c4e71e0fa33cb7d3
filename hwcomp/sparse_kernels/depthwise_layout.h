/* Where a depthwise convolution finds its inputs: in the image itself, row by row.
 *
 * A vector of outputs is a part of one row, or two whole rows where both fit. What it reads at the left and the right
 * of the image is masked; rows above and below are rows of zeros. An image so near the ends of its tensor that vectors
 * would reach over them is copied first.
 */
#ifndef HWCOMP_DEPTHWISE_LAYOUT_H
#define HWCOMP_DEPTHWISE_LAYOUT_H

#include "planes.h"
#include "vectors.h"

/* How vectors are read: as they lie in a row; every second column of a row; from the vector or two that hold a row, or
 * from two rows of one vector each, of which every column of the kernel picks its own. */
typedef enum { PLAIN, SPLIT, PICKED, PICKED_TWO } way;

static inline int64_t together_of(way way) { return way == PICKED_TWO ? 2 : 1; }

/* Columns of outputs, a vector wide: `left` is the first; at an edge of the image inputs are masked. */
typedef struct { int64_t left; int is_edge; } strip;

typedef struct {
    const planes *p;
    way way;
    int64_t block;  /* vectors of a strip that are computed at once */
    int64_t vectors, strips;  /* of a strip; of an image */
    int64_t rows, last;  /* of inputs, those of zeros with them; behind the image's own */
    int64_t margin;  /* floats that may be read before and behind what a row has */
    strip *strip;
    mask *valid, *lanes;  /* by strip and column of the kernel; by column of the kernel */
    float *zeros;
} depthwise_layout;

/* Fill in a layout, to be given back with free_layout(); return whether there is memory for it. */
int make_layout(depthwise_layout *l, const planes *p);
void free_layout(depthwise_layout *l);

/* Return the floats that the copy of an image needs. */
int64_t copy_floats(const depthwise_layout *l);

/* Point to zeros for the rows above and below any image. */
void begin_rows(const depthwise_layout *l, const float **rows);

/* Point to the rows of an image of a tensor that goes from `begin` to `end`. */
void find_rows(const depthwise_layout *l, const float *image, const float *begin, const float *end, float *copy,
               const float **rows);

#endif
