/* hwcomp::DepthwiseConv: a convolution in which every output channel reads its own input channel only.
 *
 *     Y[:, c] = clamp(conv(X[:, c], W[c]) + bias[c], low, high)
 *
 * Inputs: X, W (channels, 1, kernel.h, kernel.w), bias (channels); the last two are constants. Attributes: those in
 * operator.h. It leaves channels where they are, between sparse convolutions that want them so. A channel is a row of a
 * sparse matrix in which every weight of that channel is there: the same inner loops compute it.
 */
#include <stdlib.h>
#include <string.h>

#include "microkernels.h"
#include "operator.h"

enum { WEIGHT = 1, BIAS, INPUTS };
enum { LANES = HWCOMP_LANES };
static const char NAME[] = "DepthwiseConv";

typedef struct {
    const OrtApi *api;
    convolution c;
    float *weight, *bias;
    int32_t *offsets, starts[2];
} depthwise_conv;

/* Scratch memory of a task: the planes of a channel, and its outputs as they lie along a plane. */
typedef struct { const depthwise_conv *op; tensors t; float *scratch; int64_t tasks; } depthwise_run;

static int64_t task_floats(const planes *p) { return 2 * scratch_floats(p, 1); }

static void destroy(void *kernel)
{
    depthwise_conv *op = kernel;
    free(op->weight);
    free(op->bias);
    free(op->offsets);
    free(op);
}

static OrtStatus *set_up(depthwise_conv *op, const OrtKernelInfo *info)
{
    const OrtApi *api = op->api;
    const planes *p = &op->c.planes;
    const void *weight, *bias;
    int64_t weights, biases;
    TRY(read_convolution(api, info, NAME, &op->c));
    TRY(read_constant(api, info, NAME, WEIGHT, &weight, &weights));
    TRY(read_constant(api, info, NAME, BIAS, &bias, &biases));
    int64_t taps = p->kernel.h * p->kernel.w;
    if (weights != taps * p->channels || biases != p->channels)
        return refuse(api, NAME, "weight and bias must have as many channels as the input");
    op->weight = aligned_memory(weights * (int64_t)sizeof *op->weight);
    op->bias = aligned_memory(biases * (int64_t)sizeof *op->bias);
    op->offsets = aligned_memory(taps * (int64_t)sizeof *op->offsets);
    if (op->weight == NULL || op->bias == NULL || op->offsets == NULL)
        return refuse(api, NAME, "there is no memory for the weights");
    memcpy(op->weight, weight, (size_t)weights * sizeof *op->weight);
    memcpy(op->bias, bias, (size_t)biases * sizeof *op->bias);
    for (int64_t tap = 0; tap < taps; tap++)
        op->offsets[tap] = (int32_t)distance(p, tap);
    op->starts[1] = (int32_t)taps;
    return NULL;
}

static OrtStatus *create(const OrtCustomOp *operator, const OrtApi *api, const OrtKernelInfo *info, void **kernel)
{
    (void)operator;
    depthwise_conv *op = calloc(1, sizeof *op);
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

static void compute_channel(const depthwise_conv *op, int64_t channel, const float *x, float *y)
{
    const planes *p = &op->c.planes;
    const float *weight = op->weight + channel * op->starts[1];
    int64_t vectors = (p->pixels + LANES - 1) / LANES, moved = p->pixels < LANES ? 0 : vectors * LANES - p->pixels;
    for (int64_t v = 0; v < vectors; v += MAX_VECTORS) {
        int64_t rest = vectors - v, now = rest < MAX_VECTORS ? rest : MAX_VECTORS, at = v * LANES;
        tile_kernel_of(1, now, 0)(x + at, weight, op->offsets, op->starts, op->bias + channel, NULL, y + at, 0, 1, 0,
                                  now == rest ? moved : 0, op->c.low, op->c.high);
    }
}

static void compute_task(void *state, size_t task)
{
    const depthwise_run *run = state;
    const planes *p = &run->op->c.planes;
    int64_t rows = run->t.images * p->channels, area = p->out.h * p->out.w;
    float *filled = run->scratch + (int64_t)task * task_floats(p), *computed = filled + scratch_floats(p, 1);
    for (int64_t row = (int64_t)task * rows / run->tasks; row < ((int64_t)task + 1) * rows / run->tasks; row++) {
        int as_it_is = p->pitch == p->out.w && p->pixels >= LANES;
        const float *x = run->t.x + row * p->size.h * p->size.w;
        if (!p->in_place)
            fill_planes(p, x, filled);
        float *y = run->t.y + row * area;
        compute_channel(run->op, row % p->channels, p->in_place ? x : filled, as_it_is ? y : computed);
        if (!as_it_is)
            crop(p, 0, p->pixels, computed, y);
    }
}

static OrtStatus *compute(void *kernel, OrtKernelContext *context)
{
    const depthwise_conv *op = kernel;
    const planes *p = &op->c.planes;
    depthwise_run run = {.op = op};
    TRY(read_tensors(op->api, context, NAME, p, p->channels, 0, &run.t));
    int64_t rows = run.t.images * p->channels, cycles = rows * (p->pixels / LANES + 1) * op->starts[1];
    run.tasks = rows == 0 ? 0 : worthwhile_tasks(cycles, rows);
    run.scratch = aligned_memory(run.tasks * task_floats(p) * (int64_t)sizeof(float));
    if (run.scratch == NULL)
        return refuse(op->api, NAME, "there is no memory for the planes");
    OrtStatus *status = run_tasks(op->api, context, compute_task, run.tasks, &run);
    free(run.scratch);
    return status;
}

const operator_type depthwise_conv_operator = {
    .base = OPERATOR_BASE(create, compute, destroy), .name = NAME, .inputs = INPUTS, .optional = INPUTS,
};
