/* What the convolutions have in common as operators of ONNX Runtime: see operator.h. */
#include "operator.h"

#include <stdio.h>
#include <stdlib.h>

enum { LINE_BYTES = 64, TASK_CYCLES = 16384, MOST_TASKS = 64, RANK = 4 };

OrtStatus *refuse(const OrtApi *api, const char *operator, const char *reason)
{
    char text[160];
    snprintf(text, sizeof text, "hwcomp::%s: %s", operator, reason);
    return ort_status(api, ORT_INVALID_ARGUMENT, text);
}

static OrtStatus *read_ints(const OrtApi *api, const OrtKernelInfo *info, const char *name, int64_t *values,
                            size_t count)
{
    size_t found = count;
    TRY(ort_ints(api, info, name, values, &found));
    return found == count ? NULL : refuse(api, name, "the attribute has too few values");
}

OrtStatus *read_convolution(const OrtApi *api, const OrtKernelInfo *info, const char *operator, convolution *c)
{
    int64_t input[3], kernel[2], strides[2], pads[4];
    TRY(read_ints(api, info, "input", input, 3));
    TRY(read_ints(api, info, "kernel", kernel, 2));
    TRY(read_ints(api, info, "strides", strides, 2));
    TRY(read_ints(api, info, "pads", pads, 4));
    TRY(ort_float(api, info, "low", &c->low));
    TRY(ort_float(api, info, "high", &c->high));
    c->planes = (planes){
        .channels = input[0], .size = {input[1], input[2]}, .kernel = {kernel[0], kernel[1]},
        .stride = {strides[0], strides[1]}, .before = {pads[0], pads[1]}, .after = {pads[2], pads[3]},
    };
    const char *wrong = lay_out(&c->planes);
    return wrong == NULL ? NULL : refuse(api, operator, wrong);
}

/* Get the dimensions of a tensor; those that it does not have are 1. */
static OrtStatus *read_shape(const OrtApi *api, const OrtValue *value, int64_t dimensions[RANK], size_t *rank,
                             int64_t *elements)
{
    OrtShape *shape;
    size_t count;
    TRY(ort_shape(api, value, &shape));
    for (size_t i = 0; i < RANK; i++)
        dimensions[i] = 1;
    OrtStatus *status = ort_rank(api, shape, rank);
    if (status == NULL && *rank <= RANK)
        status = ort_dimensions(api, shape, dimensions, *rank);
    if (status == NULL)
        status = ort_count(api, shape, &count);
    if (status == NULL)
        *elements = (int64_t)count;
    ort_release_shape(api, shape);
    return status;
}

OrtStatus *read_constant(const OrtApi *api, const OrtKernelInfo *info, const char *operator, size_t index,
                         const void **data, int64_t *count)
{
    const OrtValue *value = NULL;
    int64_t dimensions[RANK];
    size_t rank;
    int is_constant = 0;
    void *found = NULL;
    TRY(ort_constant(api, info, index, &is_constant, &value));
    if (!is_constant)
        return refuse(api, operator, "weights must be constants");
    TRY(read_shape(api, value, dimensions, &rank, count));
    TRY(ort_data(api, value, &found));
    *data = found;
    return NULL;
}

OrtStatus *read_tensors(const OrtApi *api, OrtKernelContext *context, const char *operator, const planes *p,
                        int64_t out_channels, size_t residual, tensors *found)
{
    const OrtValue *x, *added = NULL;
    OrtValue *y;
    int64_t dimensions[RANK], elements, added_elements;
    size_t rank, added_rank, inputs;
    void *data;
    TRY(ort_input(api, context, 0, &x));
    TRY(read_shape(api, x, dimensions, &rank, &elements));
    if (rank > RANK || rank + (p->size.w == 1) < RANK || dimensions[1] != p->channels || dimensions[2] != p->size.h ||
        dimensions[3] != p->size.w)
        return refuse(api, operator, "the input has another shape than its attribute says");
    TRY(ort_data(api, x, &data));
    *found = (tensors){.images = dimensions[0], .x = data};
    int64_t out[RANK] = {dimensions[0], out_channels, p->out.h, p->out.w};
    TRY(ort_input_count(api, context, &inputs));
    if (residual != 0 && inputs > residual)
        TRY(ort_input(api, context, residual, &added));
    if (added != NULL) {
        TRY(read_shape(api, added, dimensions, &added_rank, &added_elements));
        if (added_rank != rank || added_elements != out[0] * out[1] * out[2] * out[3] || dimensions[1] != out[1] ||
            dimensions[2] != out[2])
            return refuse(api, operator, "what is added has another shape than the output");
        TRY(ort_data(api, added, &data));
        found->residual = data;
    }
    TRY(ort_output(api, context, 0, out, rank, &y));
    TRY(ort_data(api, y, &data));
    found->y = data;
    return NULL;
}

OrtStatus *run_tasks(const OrtApi *api, const OrtKernelContext *context, void (*run)(void *, size_t), int64_t tasks,
                     void *state)
{
    if (tasks > 1)
        return ort_parallel(api, context, run, (size_t)tasks, state);
    if (tasks == 1)
        run(state, 0);
    return NULL;
}

int64_t worthwhile_tasks(int64_t cycles, int64_t limit)
{
    int64_t tasks = cycles / TASK_CYCLES;
    tasks = tasks < MOST_TASKS ? tasks : MOST_TASKS;
    tasks = tasks < limit ? tasks : limit;
    return tasks < 1 ? 1 : tasks;
}

void *aligned_memory(int64_t bytes)
{
    return aligned_alloc(LINE_BYTES, ((size_t)bytes / LINE_BYTES + 1) * LINE_BYTES);
}
