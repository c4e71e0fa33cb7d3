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
    depthwise_layout layout;
    channel_kernel *kernel;
    float *weight, *bias;
} depthwise_conv;

/* A task has memory for the copy of an image and for pointers to its rows. */
typedef struct { const depthwise_conv *op; tensors t; float *copies; const float **rows; int64_t tasks; } depthwise_run;

static void destroy(void *kernel)
{
    depthwise_conv *op = kernel;
    free_layout(&op->layout);
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
    if (!make_layout(&op->layout, p))
        return refuse(api, NAME, "there is no memory for the layout");
    op->kernel = channel_kernel_of(&op->layout);
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
    int64_t images = run->t.images * p->channels, size = p->size.h * p->size.w, area = p->out.h * p->out.w;
    int64_t taps = p->kernel.h * p->kernel.w, last = ((int64_t)task + 1) * images / run->tasks, rows = op->layout.rows;
    float *copy = run->copies + (int64_t)task * copy_floats(&op->layout);
    const float **found = run->rows + (int64_t)task * rows, *x = run->t.x, *end = x + images * size;
    begin_rows(&op->layout, found);
    for (int64_t image = (int64_t)task * images / run->tasks; image < last; image++) {
        int64_t channel = image % p->channels;
        find_rows(&op->layout, x + image * size, x, end, copy, found);
        op->kernel(&op->layout, found, op->weight + channel * taps, op->bias[channel], op->c.low, op->c.high,
                   run->t.y + image * area, run->t.y + last * area);
    }
}

static OrtStatus *compute(void *kernel, OrtKernelContext *context)
{
    const depthwise_conv *op = kernel;
    const planes *p = &op->c.planes;
    depthwise_run run = {.op = op};
    TRY(read_tensors(op->api, context, NAME, p, p->channels, 0, &run.t));
    int64_t images = run.t.images * p->channels;
    run.tasks =
        images == 0 ? 0 : worthwhile_tasks(images * p->pixels * p->kernel.h * p->kernel.w / HWCOMP_LANES, images);
    run.copies = aligned_memory(run.tasks * copy_floats(&op->layout) * (int64_t)sizeof *run.copies);
    run.rows = aligned_memory(run.tasks * op->layout.rows * (int64_t)sizeof *run.rows);
    OrtStatus *status = NULL;
    if (run.copies == NULL || run.rows == NULL)
        status = refuse(op->api, NAME, "there is no memory for the rows");
    else
        status = run_tasks(op->api, context, compute_task, run.tasks, &run);
    free(run.copies);
    free((void *)run.rows);
    return status;
}

const operator_type depthwise_conv_operator = {
    .base = OPERATOR_BASE(create, compute, destroy), .name = NAME, .inputs = INPUTS, .optional = INPUTS,
};
