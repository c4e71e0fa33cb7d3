/* The weights of hwcomp::SparseConv, checked, and its work, split: see sparse_conv.c. */
#include <stdlib.h>
#include <string.h>

#include "microkernels.h"
#include "sparse_conv.h"
#include "vectors.h"

enum { ROW_CYCLES = 2, CACHED_WEIGHTS = 32768 };

void destroy_sparse_conv(void *kernel)
{
    sparse_conv *op = kernel;
    free(op->values);
    free(op->bias);
    free(op->offsets);
    free(op->starts);
    free(op->bounds);
    free(op);
}

/* Check the weights, so that nothing is read that is not there, and turn columns into distances. */
static const char *take_weights(sparse_conv *op, const int32_t *columns, const int32_t *starts, const float *values,
                                const float *bias)
{
    int64_t padded_rows = op->block_rows * op->rows, places = op->c.planes.channels * op->c.planes.kernel.h;
    op->values = aligned_memory(op->blocks * op->rows * (int64_t)sizeof *op->values);
    op->bias = aligned_memory(padded_rows * (int64_t)sizeof *op->bias);
    op->offsets = aligned_memory(op->blocks * (int64_t)sizeof *op->offsets);
    op->starts = aligned_memory((op->block_rows + 1) * (int64_t)sizeof *op->starts);
    if (op->values == NULL || op->bias == NULL || op->offsets == NULL || op->starts == NULL)
        return "there is no memory for the weights";
    if (starts[0] != 0 || starts[op->block_rows] != op->blocks)
        return "the starts do not span the blocks";
    for (int64_t row = 0; row < op->block_rows; row++)
        if (starts[row] > starts[row + 1])
            return "the starts must not decrease";
    places *= op->c.planes.kernel.w;
    for (int64_t block = 0; block < op->blocks; block++) {
        if (columns[block] < 0 || columns[block] >= places)
            return "a column lies outside the weight";
        op->offsets[block] = (int32_t)distance(&op->c.planes, columns[block]);
    }
    memcpy(op->values, values, (size_t)(op->blocks * op->rows) * sizeof *values);
    memcpy(op->starts, starts, (size_t)(op->block_rows + 1) * sizeof *starts);
    memset(op->bias, 0, (size_t)padded_rows * sizeof *bias);
    memcpy(op->bias, bias, (size_t)op->out_channels * sizeof *bias);
    return NULL;
}

/* Split the work: into tiles first, and into rows where tiles are few or the weights too many to stay in the cache. */
static const char *split(sparse_conv *op)
{
    int64_t most = most_vectors(op->rows);
    op->vectors = (op->c.planes.pixels + LANES - 1) / LANES;
    op->tiles = (op->vectors + most - 1) / most;
    int64_t cost = op->blocks + ROW_CYCLES * op->block_rows, tasks = op->tiles * op->block_rows;
    tasks = worthwhile_tasks(cost * op->rows * op->vectors, tasks);
    op->tile_groups = op->tiles < tasks ? op->tiles : tasks;
    op->row_groups = (tasks + op->tile_groups - 1) / op->tile_groups;
    int64_t needed = (op->blocks * (op->rows + 1) + CACHED_WEIGHTS - 1) / CACHED_WEIGHTS;
    op->row_groups = op->row_groups > needed ? op->row_groups : needed;
    op->row_groups = op->row_groups < op->block_rows ? op->row_groups : op->block_rows;
    op->bounds = aligned_memory((op->row_groups + 1) * (int64_t)sizeof *op->bounds);
    if (op->bounds == NULL)
        return "there is no memory for the weights";
    int64_t row = 0;
    for (int64_t group = 0; group <= op->row_groups; group++) {
        while (row < op->block_rows && (op->starts[row] + ROW_CYCLES * row) * op->row_groups < cost * group)
            row++;
        op->bounds[group] = group == op->row_groups ? op->block_rows : row;
    }
    return NULL;
}

OrtStatus *set_up_sparse_conv(sparse_conv *op, const OrtKernelInfo *info)
{
    const OrtApi *api = op->api;
    const void *values, *columns, *starts, *bias;
    int64_t value_count, start_count, bias_count;
    TRY(read_convolution(api, info, SPARSE_CONV, &op->c));
    TRY(ort_int(api, info, "rows", &op->rows));
    TRY(ort_int(api, info, "out_channels", &op->out_channels));
    if (op->out_channels < 1 || op->rows < 1 || tile_kernel_of(op->rows, 1, 0) == NULL)
        return refuse(api, SPARSE_CONV, "there is no kernel for so many rows of a block");
    op->block_rows = (op->out_channels + op->rows - 1) / op->rows;
    TRY(read_constant(api, info, SPARSE_CONV, VALUES, &values, &value_count));
    TRY(read_constant(api, info, SPARSE_CONV, COLUMNS, &columns, &op->blocks));
    TRY(read_constant(api, info, SPARSE_CONV, STARTS, &starts, &start_count));
    TRY(read_constant(api, info, SPARSE_CONV, BIAS, &bias, &bias_count));
    if (value_count != op->blocks * op->rows || start_count != op->block_rows + 1 || bias_count != op->out_channels)
        return refuse(api, SPARSE_CONV, "the sizes of values, columns, starts and bias do not agree");
    const char *wrong = take_weights(op, columns, starts, values, bias);
    wrong = wrong == NULL ? split(op) : wrong;
    return wrong == NULL ? NULL : refuse(api, SPARSE_CONV, wrong);
}
