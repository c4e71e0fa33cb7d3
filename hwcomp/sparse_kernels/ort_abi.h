/* The part of ONNX Runtime's C interface that the operators use, at version 17 (ONNX Runtime 1.17 or newer).
 *
 * The runtime hands out a table of functions to which members are only ever appended, so a function is known by its
 * index for good; tests/runtime/test_sparse_ops.py calls every one of them. A function that returns a status returns
 * NULL for success.
 */
#ifndef HWCOMP_ORT_ABI_H
#define HWCOMP_ORT_ABI_H

#include <stddef.h>
#include <stdint.h>

enum { ORT_VERSION = 17, ORT_FUNCTIONS = 276 };
enum { ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2 };
enum { ORT_FLOAT = 1, ORT_INT32 = 6 };
enum { ORT_REQUIRED = 0, ORT_OPTIONAL = 1 };

typedef struct OrtStatus OrtStatus;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtCustomOpDomain OrtCustomOpDomain;
typedef struct OrtKernelInfo OrtKernelInfo;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtValue OrtValue;
typedef struct OrtShape OrtShape;
typedef struct { void (*function[ORT_FUNCTIONS])(void); } OrtApi;
typedef struct { const OrtApi *(*get)(uint32_t version); const char *(*version)(void); } OrtApiBase;

/* What an operator is: its schema and the functions of its kernel. Those that stay NULL are not needed. */
typedef struct OrtCustomOp OrtCustomOp;
struct OrtCustomOp {
    uint32_t version;
    void *(*create_kernel_v1)(const OrtCustomOp *, const OrtApi *, const OrtKernelInfo *);
    const char *(*name)(const OrtCustomOp *);
    const char *(*provider)(const OrtCustomOp *);
    int (*input_type)(const OrtCustomOp *, size_t);
    size_t (*inputs)(const OrtCustomOp *);
    int (*output_type)(const OrtCustomOp *, size_t);
    size_t (*outputs)(const OrtCustomOp *);
    void (*compute_v1)(void *, OrtKernelContext *);
    void (*destroy)(void *);
    int (*input_presence)(const OrtCustomOp *, size_t);
    int (*output_presence)(const OrtCustomOp *, size_t);
    int (*input_memory)(const OrtCustomOp *, size_t);
    int (*variadic_input_least)(const OrtCustomOp *);
    int (*variadic_input_alike)(const OrtCustomOp *);
    int (*variadic_output_least)(const OrtCustomOp *);
    int (*variadic_output_alike)(const OrtCustomOp *);
    OrtStatus *(*create_kernel)(const OrtCustomOp *, const OrtApi *, const OrtKernelInfo *, void **);
    OrtStatus *(*compute)(void *, OrtKernelContext *);
    OrtStatus *(*infer_shape)(const OrtCustomOp *, void *);
    int (*first_version)(const OrtCustomOp *);
    int (*last_version)(const OrtCustomOp *);
};

/* ORT_CALL(index, result, parameter types) is that function of the table `api`, ready to be called. */
#define ORT_CALL(index, result, ...) ((result(*)(__VA_ARGS__))api->function[index])

static inline OrtStatus *ort_status(const OrtApi *api, int code, const char *text)
{
    return ORT_CALL(0, OrtStatus *, int, const char *)(code, text);
}

static inline OrtStatus *ort_create_domain(const OrtApi *api, const char *name, OrtCustomOpDomain **domain)
{
    return ORT_CALL(26, OrtStatus *, const char *, OrtCustomOpDomain **)(name, domain);
}

static inline OrtStatus *ort_add_operator(const OrtApi *api, OrtCustomOpDomain *domain, const OrtCustomOp *operator)
{
    return ORT_CALL(27, OrtStatus *, OrtCustomOpDomain *, const OrtCustomOp *)(domain, operator);
}

static inline OrtStatus *ort_add_domain(const OrtApi *api, OrtSessionOptions *options, OrtCustomOpDomain *domain)
{
    return ORT_CALL(28, OrtStatus *, OrtSessionOptions *, OrtCustomOpDomain *)(options, domain);
}

static inline OrtStatus *ort_data(const OrtApi *api, const OrtValue *value, void **data)
{
    return ORT_CALL(51, OrtStatus *, const OrtValue *, void **)(value, data);
}

static inline OrtStatus *ort_rank(const OrtApi *api, const OrtShape *shape, size_t *rank)
{
    return ORT_CALL(61, OrtStatus *, const OrtShape *, size_t *)(shape, rank);
}

static inline OrtStatus *ort_dimensions(const OrtApi *api, const OrtShape *shape, int64_t *dimensions, size_t rank)
{
    return ORT_CALL(62, OrtStatus *, const OrtShape *, int64_t *, size_t)(shape, dimensions, rank);
}

static inline OrtStatus *ort_count(const OrtApi *api, const OrtShape *shape, size_t *count)
{
    return ORT_CALL(64, OrtStatus *, const OrtShape *, size_t *)(shape, count);
}

static inline OrtStatus *ort_shape(const OrtApi *api, const OrtValue *value, OrtShape **shape)
{
    return ORT_CALL(65, OrtStatus *, const OrtValue *, OrtShape **)(value, shape);
}

static inline void ort_release_shape(const OrtApi *api, OrtShape *shape)
{
    ORT_CALL(99, void, OrtShape *)(shape);
}

static inline OrtStatus *ort_float(const OrtApi *api, const OrtKernelInfo *info, const char *name, float *value)
{
    return ORT_CALL(85, OrtStatus *, const OrtKernelInfo *, const char *, float *)(info, name, value);
}

static inline OrtStatus *ort_int(const OrtApi *api, const OrtKernelInfo *info, const char *name, int64_t *value)
{
    return ORT_CALL(86, OrtStatus *, const OrtKernelInfo *, const char *, int64_t *)(info, name, value);
}

/* `count` is the room in `values`, and then the number of values. */
static inline OrtStatus *ort_ints(const OrtApi *api, const OrtKernelInfo *info, const char *name, int64_t *values,
                                  size_t *count)
{
    return ORT_CALL(163, OrtStatus *, const OrtKernelInfo *, const char *, int64_t *, size_t *)(info, name, values,
                                                                                               count);
}

static inline OrtStatus *ort_constant(const OrtApi *api, const OrtKernelInfo *info, size_t index, int *is_constant,
                                      const OrtValue **value)
{
    return ORT_CALL(249, OrtStatus *, const OrtKernelInfo *, size_t, int *, const OrtValue **)(info, index,
                                                                                              is_constant, value);
}

static inline OrtStatus *ort_input_count(const OrtApi *api, const OrtKernelContext *context, size_t *count)
{
    return ORT_CALL(88, OrtStatus *, const OrtKernelContext *, size_t *)(context, count);
}

static inline OrtStatus *ort_input(const OrtApi *api, const OrtKernelContext *context, size_t index,
                                   const OrtValue **value)
{
    return ORT_CALL(90, OrtStatus *, const OrtKernelContext *, size_t, const OrtValue **)(context, index, value);
}

static inline OrtStatus *ort_output(const OrtApi *api, OrtKernelContext *context, size_t index,
                                    const int64_t *dimensions, size_t rank, OrtValue **value)
{
    return ORT_CALL(91, OrtStatus *, OrtKernelContext *, size_t, const int64_t *, size_t, OrtValue **)(
        context, index, dimensions, rank, value);
}

/* Call run(state, 0) ... run(state, tasks - 1) on the session's threads, each as a task of its own. */
static inline OrtStatus *ort_parallel(const OrtApi *api, const OrtKernelContext *context,
                                      void (*run)(void *state, size_t task), size_t tasks, void *state)
{
    return ORT_CALL(274, OrtStatus *, const OrtKernelContext *, void (*)(void *, size_t), size_t, size_t, void *)(
        context, run, tasks, 0, state);
}

#endif
