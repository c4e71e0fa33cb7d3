/* The kernel of hwcomp::SparseConv: its weights, and how its work is split into tasks. */
#ifndef HWCOMP_SPARSE_CONV_H
#define HWCOMP_SPARSE_CONV_H

#include "operator.h"

enum { VALUES = 1, COLUMNS, STARTS, BIAS, RESIDUAL, INPUTS };

#define SPARSE_CONV "SparseConv"

typedef struct {
    const OrtApi *api;
    convolution c;
    int64_t rows, out_channels, block_rows, blocks;
    int64_t vectors, tiles, tile_groups, row_groups;
    float *values, *bias;
    int32_t *offsets, *starts;
    int64_t *bounds;  /* of the row groups */
} sparse_conv;

/* Fill in a kernel whose `api` is set and all else is zero. */
OrtStatus *set_up_sparse_conv(sparse_conv *op, const OrtKernelInfo *info);

/* Give back what a kernel holds, and itself. */
void destroy_sparse_conv(void *kernel);

#endif
