/* The inner loops of depthwise convolutions, which compute the outputs of one channel from the rows of its image.
 *
 * A row of outputs may be written beyond its end, up to `end`: what lies there must be written later.
 */
#ifndef HWCOMP_DEPTHWISE_KERNELS_H
#define HWCOMP_DEPTHWISE_KERNELS_H

#include "depthwise_layout.h"

typedef void channel_kernel(const depthwise_layout *l, const float *const *rows, const float *weight, float bias,
                            float low, float high, float *y, const float *end);

/* Return the kernel of a layout for 3x3, 5x5 and 7x7 weights and strides of 1 and 2, NULL for others. */
channel_kernel *channel_kernel_of(const depthwise_layout *l);

#endif
