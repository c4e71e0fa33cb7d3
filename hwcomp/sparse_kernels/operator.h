/* What the convolutions have in common as operators of ONNX Runtime.
 *
 * Attributes of both: input [channels, height, width], kernel [h, w], strides [h, w], pads [top, left, bottom, right],
 * and the ends `low` and `high` of what a result may be. X is (N, channels, height, width), or (N, channels, height) if
 * the width is 1; Y has as many dimensions.
 */
#ifndef HWCOMP_OPERATOR_H
#define HWCOMP_OPERATOR_H

#include "ort_abi.h"
#include "planes.h"

/* Return from the function with the status of what failed. */
#define TRY(CALL) \
    do { \
        OrtStatus *status_ = (CALL); \
        if (status_ != NULL) \
            return status_; \
    } while (0)

typedef struct { planes planes; float low, high; } convolution;

/* Tensors of one run; `residual` is NULL if there is none. */
typedef struct { int64_t images; const float *x, *residual; float *y; } tensors;

OrtStatus *refuse(const OrtApi *api, const char *operator, const char *reason);

OrtStatus *read_convolution(const OrtApi *api, const OrtKernelInfo *info, const char *operator, convolution *c);

/* Get an input that does not change, and the number of its elements. */
OrtStatus *read_constant(const OrtApi *api, const OrtKernelInfo *info, const char *operator, size_t index,
                         const void **data, int64_t *count);

/* Get the tensors of a run; `residual` is the index of the input that is added, 0 if there can be none. */
OrtStatus *read_tensors(const OrtApi *api, OrtKernelContext *context, const char *operator, const planes *p,
                        int64_t out_channels, size_t residual, tensors *found);

/* Call run(state, 0) ... run(state, tasks - 1), on the session's threads if there are several. */
OrtStatus *run_tasks(const OrtApi *api, const OrtKernelContext *context, void (*run)(void *, size_t), int64_t tasks,
                     void *state);

/* Return how many tasks are worth their start, for so many cycles of work. */
int64_t worthwhile_tasks(int64_t cycles, int64_t limit);

/* Return memory that starts at a cache line, to be given back with free(), or NULL. */
void *aligned_memory(int64_t bytes);

/* An operator's schema: inputs from `optional` on may be missing, those whose bit is in `integers` are int32, all other
 * tensors are float32. There is one output. ONNX Runtime sees `base` only. */
typedef struct {
    OrtCustomOp base;
    const char *name;
    size_t inputs, optional;
    unsigned integers;
} operator_type;

const char *operator_name(const OrtCustomOp *base);
const char *operator_provider(const OrtCustomOp *base);
size_t operator_inputs(const OrtCustomOp *base);
size_t operator_outputs(const OrtCustomOp *base);
int operator_input_type(const OrtCustomOp *base, size_t index);
int operator_output_type(const OrtCustomOp *base, size_t index);
int operator_input_presence(const OrtCustomOp *base, size_t index);
int operator_output_presence(const OrtCustomOp *base, size_t index);
int operator_input_memory(const OrtCustomOp *base, size_t index);

#define OPERATOR_BASE(CREATE, COMPUTE, DESTROY) \
    {.version = ORT_VERSION, .name = operator_name, .provider = operator_provider, .inputs = operator_inputs, \
     .input_type = operator_input_type, .outputs = operator_outputs, .output_type = operator_output_type, \
     .input_presence = operator_input_presence, .output_presence = operator_output_presence, \
     .input_memory = operator_input_memory, .create_kernel = CREATE, .compute = COMPUTE, .destroy = DESTROY}

extern const operator_type sparse_conv_operator, depthwise_conv_operator;

#endif
