/* hwcomp::SparseConv: a convolution with few weights.
 *
 *     Y = clamp(conv(X, W) + bias + residual, low, high)
 *
 * W is the matrix (out_channels, channels * kernel.h * kernel.w). Block b of block-row r holds
 * W[r * rows : r * rows + rows, columns[b]] in values[b * rows : b * rows + rows], and block-row r has the blocks
 * starts[r] to starts[r + 1] - 1; rows beyond the last output channel are zero.
 * Inputs: X, values, columns, starts, bias (out_channels), residual (shape of Y; may be missing). All but X and residual
 * are constants. Attributes: those in operator.h, `rows` and `out_channels`.
 *
 * A task is a range of block-rows, with about as many weights as any other, times a range of tiles of pixels.
 */
#include <stdlib.h>
#include <string.h>

#include "microkernels.h"
#include "operator.h"
#include "vectors.h"

enum { VALUES = 1, COLUMNS, STARTS, BIAS, RESIDUAL, INPUTS };
enum { SCRATCH_ROWS = 32, ROW_CYCLES = 2, FILL_FLOATS = 8192, CACHED_WEIGHTS = 32768 };
static const char NAME[] = "SparseConv";

typedef struct {
    const OrtApi *api;
    convolution c;
    int64_t rows, out_channels, block_rows, blocks;
    int64_t vectors, tiles, tile_groups, row_groups;
    float *values, *bias;
    int32_t *offsets, *starts;
    int64_t *bounds;  /* of the row groups */
} sparse_conv;

typedef struct { const sparse_conv *op; tensors t; float *scratch; int64_t fill_channels; } sparse_run;

static void destroy(void *kernel)
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

static OrtStatus *set_up(sparse_conv *op, const OrtKernelInfo *info)
{
    const OrtApi *api = op->api;
    const void *values, *columns, *starts, *bias;
    int64_t value_count, start_count, bias_count;
    TRY(read_convolution(api, info, NAME, &op->c));
    TRY(ort_int(api, info, "rows", &op->rows));
    TRY(ort_int(api, info, "out_channels", &op->out_channels));
    if (op->out_channels < 1 || op->rows < 1 || tile_kernel_of(op->rows, 1, 0) == NULL)
        return refuse(api, NAME, "there is no kernel for so many rows of a block");
    op->block_rows = (op->out_channels + op->rows - 1) / op->rows;
    TRY(read_constant(api, info, NAME, VALUES, &values, &value_count));
    TRY(read_constant(api, info, NAME, COLUMNS, &columns, &op->blocks));
    TRY(read_constant(api, info, NAME, STARTS, &starts, &start_count));
    TRY(read_constant(api, info, NAME, BIAS, &bias, &bias_count));
    if (value_count != op->blocks * op->rows || start_count != op->block_rows + 1 || bias_count != op->out_channels)
        return refuse(api, NAME, "the sizes of values, columns, starts and bias do not agree");
    const char *wrong = take_weights(op, columns, starts, values, bias);
    wrong = wrong == NULL ? split(op) : wrong;
    return wrong == NULL ? NULL : refuse(api, NAME, wrong);
}

static OrtStatus *create(const OrtCustomOp *operator, const OrtApi *api, const OrtKernelInfo *info, void **kernel)
{
    (void)operator;
    sparse_conv *op = calloc(1, sizeof *op);
    if (op == NULL)
        return refuse(api, NAME, "there is no memory");
    op->api = api;
    OrtStatus *status = set_up(op, info);
    if (status != NULL)
        destroy(op);
    else
        *kernel = op;
    return status;
}

/* A tile of one image: `x` at its first pixel, `t` at the image. */
typedef struct { int64_t first, count, shift; tile_kernel *kernel; const float *x; tensors t; } tile;

static tile tile_of(const sparse_run *run, int64_t image, int64_t index)
{
    const sparse_conv *op = run->op;
    const planes *p = &op->c.planes;
    int64_t share = op->vectors / op->tiles, longer = op->vectors % op->tiles;
    int64_t vectors = share + (index < longer), first = LANES * (index * share + (index < longer ? index : longer));
    int64_t rest = p->pixels - first, area = op->out_channels * p->out.h * p->out.w * image;
    int64_t count = rest < vectors * LANES ? rest : vectors * LANES;
    const float *x = p->in_place ? run->t.x : run->scratch;
    return (tile){
        .first = first, .count = count, .shift = p->pixels < LANES ? 0 : vectors * LANES - count,
        .kernel = tile_kernel_of(op->rows, vectors, run->t.residual != NULL),
        .x = x + image * p->channels * channel_floats(p) + first,
        .t = {.residual = run->t.residual == NULL ? NULL : run->t.residual + area, .y = run->t.y + area},
    };
}

/* Copy pieces of some rows, from or to tiles of them. */
static void crop(const piece *pieces, int64_t count, const float *y, int64_t rows, int64_t area, float *out)
{
    for (int64_t row = 0; row < rows; row++, y += TILE_PIXELS, out += area)
        for (const piece *each = pieces; each < pieces + count; each++)
            memcpy(out + each->in_out, y + each->in_plane, each->bytes);
}

static void uncrop(const piece *pieces, int64_t count, const float *residual, int64_t rows, int64_t area, float *to)
{
    for (int64_t row = 0; row < rows; row++, residual += area, to += TILE_PIXELS)
        for (const piece *each = pieces; each < pieces + count; each++)
            memcpy(to + each->in_plane, residual + each->in_out, each->bytes);
}

/* Compute some block-rows of a tile where the outputs are not as in the planes, or not all rows exist. */
static void compute_aside(const sparse_conv *op, const tile *in, int64_t first, int64_t last)
{
    /* A tile of one vector, moved to the left, begins before the first pixel. */
    float y[LANES + SCRATCH_ROWS * TILE_PIXELS], residual[LANES + SCRATCH_ROWS * TILE_PIXELS];
    const planes *p = &op->c.planes;
    int64_t area = p->out.h * p->out.w, step = SCRATCH_ROWS / op->rows;
    piece pieces[TILE_PIXELS];
    int64_t count = cut(p, in->first, in->count, pieces);
    for (; first < last; first += step) {
        int64_t end = first + step < last ? first + step : last, top = first * op->rows;
        int64_t rows = (end * op->rows < op->out_channels ? end * op->rows : op->out_channels) - top;
        if (in->t.residual != NULL)
            uncrop(pieces, count, in->t.residual + top * area, rows, area, residual + LANES);
        in->kernel(in->x, op->values, op->offsets, op->starts + first, op->bias + top, residual + LANES, y + LANES, 0,
                   end - first, TILE_PIXELS, in->shift, op->c.low, op->c.high);
        crop(pieces, count, y + LANES, rows, area, in->t.y + top * area);
    }
}

static void compute_tile(const sparse_conv *op, const tile *in, int64_t first, int64_t last)
{
    const planes *p = &op->c.planes;
    int64_t whole = op->out_channels / op->rows;
    whole = whole < last ? whole : last;
    if (p->pitch == p->out.w && p->pixels >= LANES && first < whole) {
        const float *residual = in->t.residual == NULL ? NULL : in->t.residual + in->first;
        in->kernel(in->x, op->values, op->offsets, op->starts, op->bias, residual, in->t.y + in->first, first, whole,
                   p->pixels, in->shift, op->c.low, op->c.high);
        first = whole;
    }
    if (first < last)
        compute_aside(op, in, first, last);
}

static void compute_task(void *state, size_t index)
{
    const sparse_run *run = state;
    const sparse_conv *op = run->op;
    int64_t task = (int64_t)index, tiles = op->tile_groups, image = task / (tiles * op->row_groups);
    int64_t rows = task / tiles % op->row_groups, group = task % tiles;
    for (int64_t i = group * op->tiles / tiles; i < (group + 1) * op->tiles / tiles; i++) {
        tile in = tile_of(run, image, i);
        compute_tile(op, &in, op->bounds[rows], op->bounds[rows + 1]);
    }
}

static void fill_task(void *state, size_t task)
{
    const sparse_run *run = state;
    const planes *p = &run->op->c.planes;
    int64_t first = (int64_t)task * run->fill_channels, last = run->t.images * p->channels;
    last = last < first + run->fill_channels ? last : first + run->fill_channels;
    int64_t area = p->size.h * p->size.w;
    const float *end = run->t.x + run->t.images * p->channels * area;
    for (int64_t channel = first; channel < last; channel++)
        fill_planes(p, run->t.x + channel * area, end, run->scratch + channel * channel_floats(p));
}

static OrtStatus *compute(void *kernel, OrtKernelContext *context)
{
    const sparse_conv *op = kernel;
    const planes *p = &op->c.planes;
    sparse_run run = {.op = op, .fill_channels = FILL_FLOATS / channel_floats(p) + 1};
    TRY(read_tensors(op->api, context, NAME, p, op->out_channels, RESIDUAL, &run.t));
    int64_t channels = run.t.images * p->channels;
    OrtStatus *status = NULL;
    if (!p->in_place) {
        run.scratch = aligned_memory(scratch_floats(p, channels) * (int64_t)sizeof(float));
        if (run.scratch == NULL)
            return refuse(op->api, NAME, "there is no memory for the planes");
        int64_t tasks = (channels + run.fill_channels - 1) / run.fill_channels;
        status = run_tasks(op->api, context, fill_task, tasks, &run);
    }
    if (status == NULL)
        status = run_tasks(op->api, context, compute_task, run.t.images * op->row_groups * op->tile_groups, &run);
    free(run.scratch);
    return status;
}

const operator_type sparse_conv_operator = {
    .base = OPERATOR_BASE(create, compute, destroy), .name = NAME, .inputs = INPUTS, .optional = RESIDUAL,
    .integers = 1u << COLUMNS | 1u << STARTS,
};
