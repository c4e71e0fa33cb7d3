/* The inner loops of depthwise convolutions, which compute the outputs of one channel from its planes.
 *
 * A row of outputs may be written beyond its end, up to `end`: what lies there must be written later.
 */
#ifndef HWCOMP_DEPTHWISE_KERNELS_H
#define HWCOMP_DEPTHWISE_KERNELS_H

#include "planes.h"

typedef void channel_kernel(const planes *p, const float *x, const float *weight, float bias, float low, float high,
                            float *y, const float *end);

/* Return the floats in scratch memory for the planes of one channel. */
int64_t channel_scratch_floats(const planes *p);

/* Return the kernel for 3x3, 5x5 and 7x7 weights and strides of 1 and 2, NULL for others. */
channel_kernel *channel_kernel_of(pair kernel, pair stride);

#endif
