/* What ONNX Runtime asks of a library of operators: their schemas, and that they are put into the domain "hwcomp". */
#include "operator.h"

/* What a processor must have to run this library; whoever loads it reads that in the file, before it is too late. */
__attribute__((used)) static const char needs[] = "hwcomp-isa:" HWCOMP_ISA ";";

const char *operator_name(const OrtCustomOp *base) { return ((const operator_type *)base)->name; }
size_t operator_inputs(const OrtCustomOp *base) { return ((const operator_type *)base)->inputs; }

const char *operator_provider(const OrtCustomOp *base)
{
    (void)base;
    return NULL;  /* the CPU */
}

size_t operator_outputs(const OrtCustomOp *base)
{
    (void)base;
    return 1;
}

int operator_input_type(const OrtCustomOp *base, size_t index)
{
    return ((const operator_type *)base)->integers >> index & 1 ? ORT_INT32 : ORT_FLOAT;
}

int operator_output_type(const OrtCustomOp *base, size_t index)
{
    (void)base, (void)index;
    return ORT_FLOAT;
}

int operator_input_presence(const OrtCustomOp *base, size_t index)
{
    return index < ((const operator_type *)base)->optional ? ORT_REQUIRED : ORT_OPTIONAL;
}

int operator_output_presence(const OrtCustomOp *base, size_t index)
{
    (void)base, (void)index;
    return ORT_REQUIRED;
}

int operator_input_memory(const OrtCustomOp *base, size_t index)
{
    (void)base, (void)index;
    return 0;  /* where the provider has it */
}

__attribute__((visibility("default"))) OrtStatus *RegisterCustomOps(OrtSessionOptions *options, const OrtApiBase *base)
{
    const OrtApi *api = base->get(ORT_VERSION);
    OrtCustomOpDomain *domain;
    TRY(ort_create_domain(api, "hwcomp", &domain));
    TRY(ort_add_operator(api, domain, &sparse_conv_operator.base));
    TRY(ort_add_operator(api, domain, &depthwise_conv_operator.base));
    return ort_add_domain(api, options, domain);
}
