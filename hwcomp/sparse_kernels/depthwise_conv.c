/* hwcomp::DepthwiseConv: a convolution in which every output channel reads its own input channel only.
 *
 *     Y[:, c] = clamp(conv(X[:, c], W[c]) + bias[c], low, high)
 *
 * Inputs: X, W (channels, 1, kernel.h, kernel.w), bias (channels); the last two are constants. Attributes: those in
 * operator.h. It leaves channels where they are, between sparse convolutions that want them so. A task is a range of
 * channels.
 */
#include <stdlib.h>
#include <string.h>

#include "depthwise_kernels.h"
#include "operator.h"

enum { WEIGHT = 1, BIAS, INPUTS };
static const char NAME[] = "DepthwiseConv";

typedef struct {
    const OrtApi *api;
    convolution c;
    channel_kernel *kernel;
    float *weight, *bias;
} depthwise_conv;

/* A task has scratch memory for the planes of a channel. */
typedef struct { const depthwise_conv *op; tensors t; float *scratch; int64_t tasks; } depthwise_run;

static void destroy(void *kernel)
{
    depthwise_conv *op = kernel;
    free(op->weight);
    free(op->bias);
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
    op->kernel = channel_kernel_of(p->kernel, p->stride);
    if (op->kernel == NULL)
        return refuse(api, NAME, "there is no kernel of this size and stride");
    if (weights != p->kernel.h * p->kernel.w * p->channels || biases != p->channels)
        return refuse(api, NAME, "weight and bias must have as many channels as the input");
    op->weight = aligned_memory(weights * (int64_t)sizeof *op->weight);
    op->bias = aligned_memory(biases * (int64_t)sizeof *op->bias);
    if (op->weight == NULL || op->bias == NULL)
        return refuse(api, NAME, "there is no memory for the weights");
    memcpy(op->weight, weight, (size_t)weights * sizeof *op->weight);
    memcpy(op->bias, bias, (size_t)biases * sizeof *op->bias);
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

static void compute_task(void *state, size_t task)
{
    const depthwise_run *run = state;
    const depthwise_conv *op = run->op;
    const planes *p = &op->c.planes;
    int64_t rows = run->t.images * p->channels, size = p->size.h * p->size.w, area = p->out.h * p->out.w;
    int64_t taps = p->kernel.h * p->kernel.w, last = ((int64_t)task + 1) * rows / run->tasks;
    float *filled = run->scratch + (int64_t)task * channel_scratch_floats(p);
    for (int64_t row = (int64_t)task * rows / run->tasks; row < last; row++) {
        int64_t channel = row % p->channels;
        fill_planes(p, run->t.x + row * size, run->t.x + rows * size, filled);
        op->kernel(p, filled, op->weight + channel * taps, op->bias[channel], op->c.low, op->c.high,
                   run->t.y + row * area, run->t.y + last * area);
    }
}

static OrtStatus *compute(void *kernel, OrtKernelContext *context)
{
    const depthwise_conv *op = kernel;
    const planes *p = &op->c.planes;
    depthwise_run run = {.op = op};
    TRY(read_tensors(op->api, context, NAME, p, p->channels, 0, &run.t));
    int64_t rows = run.t.images * p->channels;
    run.tasks = rows == 0 ? 0 : worthwhile_tasks(rows * p->pixels * p->kernel.h * p->kernel.w / HWCOMP_LANES, rows);
    run.scratch = aligned_memory(run.tasks * channel_scratch_floats(p) * (int64_t)sizeof(float));
    if (run.scratch == NULL)
        return refuse(op->api, NAME, "there is no memory for the planes");
    OrtStatus *status = run_tasks(op->api, context, compute_task, run.tasks, &run);
    free(run.scratch);
    return status;
}

const operator_type depthwise_conv_operator = {
    .base = OPERATOR_BASE(create, compute, destroy), .name = NAME, .inputs = INPUTS, .optional = INPUTS,
};
