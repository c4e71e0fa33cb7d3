/* The inner loops: block-rows of a sparse matrix times a tile of pixels, for each height R of a block and each V.
 *
 *     y[row, pixel] = clamp(bias[row] + sum of values[b, row] * x[offsets[b] + pixel] over its blocks b, low, high)
 *
 * for block-rows first to last - 1; block-row r has rows r * R to r * R + R - 1 and blocks starts[r] to
 * starts[r + 1] - 1, and a block has R values. `bias`, `residual` and `y` are indexed by row, the last two with the
 * stride `y_stride`; `x`, `residual` and `y` point at the first pixel. A tile is V vectors of HWCOMP_LANES pixels, of
 * which the last one lies `shift` pixels further left, over its neighbour, so that a tile can end anywhere. Names that
 * end in "_add" add `residual` before they clamp; the others ignore it.
 */
#ifndef HWCOMP_MICROKERNELS_H
#define HWCOMP_MICROKERNELS_H

#include <stdint.h>

typedef void tile_kernel(const float *x, const float *values, const int32_t *offsets, const int32_t *starts,
                         const float *bias, const float *residual, float *y, int64_t first, int64_t last,
                         int64_t y_stride, int64_t shift, float low, float high);

#define HWCOMP_FOR_VECTORS(USE, R) USE(R, 1) USE(R, 2) USE(R, 3) USE(R, 4)
#define HWCOMP_FOR_TILES(USE) \
    HWCOMP_FOR_VECTORS(USE, 1) HWCOMP_FOR_VECTORS(USE, 4) HWCOMP_FOR_VECTORS(USE, 8) HWCOMP_FOR_VECTORS(USE, 16)
#define HWCOMP_DECLARE(R, V) tile_kernel hwcomp_tile_r##R##_v##V, hwcomp_tile_r##R##_v##V##_add;
HWCOMP_FOR_TILES(HWCOMP_DECLARE)

enum { MAX_VECTORS = 4, TILE_PIXELS = MAX_VECTORS * HWCOMP_LANES };

/* Return how many vectors a tile has at most for blocks of `rows` rows, so that its sums stay in registers. */
int64_t most_vectors(int64_t rows);

/* Return the kernel for blocks of `rows` rows and tiles of `vectors` vectors, NULL if there is none. */
tile_kernel *tile_kernel_of(int64_t rows, int64_t vectors, int add);

#endif
