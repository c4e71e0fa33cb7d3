/* hwcomp::SparseConv: a convolution with few weights.
 *
 *     Y = clamp(conv(X, W) + bias + residual, low, high)
 *
 * W is the matrix (out_channels, channels * kernel.h * kernel.w). Block b of block-row r holds
 * W[r * rows : r * rows + rows, columns[b]] in values[b * rows : b * rows + rows], and block-row r has the blocks
 * starts[r] to starts[r + 1] - 1; rows beyond the last output channel are zero.
 * Inputs: X, values, columns, starts, bias (out_channels), residual (shape of Y; may be missing). All but X and
 * residual are constants. Attributes: those in operator.h, `rows` and `out_channels`.
 *
 * A task is a range of block-rows, with about as many weights as any other, times a range of tiles of pixels.
 */
#include "sparse_conv.h"

#include <stdlib.h>
#include <string.h>

#include "microkernels.h"
#include "vectors.h"

enum { SCRATCH_ROWS = 32, FILL_FLOATS = 8192 };

typedef struct { const sparse_conv *op; tensors t; float *scratch; int64_t fill_channels; } sparse_run;

static OrtStatus *create(const OrtCustomOp *operator, const OrtApi *api, const OrtKernelInfo *info, void **kernel)
{
    (void)operator;
    sparse_conv *op = calloc(1, sizeof *op);
    if (op == NULL)
        return refuse(api, SPARSE_CONV, "there is no memory");
    op->api = api;
    OrtStatus *status = set_up_sparse_conv(op, info);
    if (status != NULL)
        destroy_sparse_conv(op);
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
    TRY(read_tensors(op->api, context, SPARSE_CONV, p, op->out_channels, RESIDUAL, &run.t));
    int64_t channels = run.t.images * p->channels;
    OrtStatus *status = NULL;
    if (!p->in_place) {
        run.scratch = aligned_memory(scratch_floats(p, channels) * (int64_t)sizeof(float));
        if (run.scratch == NULL)
            return refuse(op->api, SPARSE_CONV, "there is no memory for the planes");
        int64_t tasks = (channels + run.fill_channels - 1) / run.fill_channels;
        status = run_tasks(op->api, context, fill_task, tasks, &run);
    }
    if (status == NULL)
        status = run_tasks(op->api, context, compute_task, run.t.images * op->row_groups * op->tile_groups, &run);
    free(run.scratch);
    return status;
}

const operator_type sparse_conv_operator = {
    .base = OPERATOR_BASE(create, compute, destroy_sparse_conv), .name = SPARSE_CONV, .inputs = INPUTS,
    .optional = RESIDUAL, .integers = 1u << COLUMNS | 1u << STARTS,
};
