"""Relax modules for GPUs before their kernels are scheduled: number format, layout, fusion."""

from typing import Any

import numpy as np
import tvm
from tvm import relax, te

from hwcomp.config import Precision
from hwcomp.lowering.relax_graph import constant, shape_of

LAYOUT = {"relax.nn.conv2d": ["NHWC", "OHWI"]}
"""Channels last: what a product sums over lies side by side in memory."""


def fused_module(module: Any, precision: Precision, entry: str) -> Any:
    """Return a module whose operators are fused functions of loops, not yet scheduled.

    Before: ``lv = conv2d(x, w); lv1 = add(lv, b); lv2 = relu(lv1)``; after: ``lv2 = call_tir(fused_conv2d_add_relu, x,
    w, b)``, with channels last and constants in the number format of the products. In float16, products and what lies
    between them are halves; sums, means, softmax and normalisation are floats, and so are inputs and outputs.

    Args:
        module: as TVM's front end gives it.
        precision: of products.
        entry: name of the function that is the network.
    """
    transform = relax.transform
    fold = [transform.CanonicalizeBindings(), transform.FoldConstant()]
    halves = [transform.ToMixedPrecision(out_dtype="float32"), *fold] if precision == "float16" else []
    steps = [
        *fold,
        *halves,
        transform.ConvertLayout(LAYOUT),
        *fold,
        transform.LegalizeOps({"relax.matmul": _matmul, "relax.broadcast_to": _broadcast}),
        transform.CanonicalizeBindings(),
        transform.RewriteDataflowReshape(),  # before fusion: a reshape alone needs no kernel
        transform.AnnotateTIROpPattern(),
        transform.FoldConstant(),
        transform.FuseOps(),
        transform.FuseTIR(),
        transform.DeadCodeElimination([entry]),
    ]
    return tvm.transform.Sequential(steps)(module)


def _broadcast(builder: Any, call: Any) -> Any:
    """Leave out a broadcast to the shape that is there already."""
    return call.args[0] if shape_of(call) == shape_of(call.args[0]) else _default(builder, call)


def _matmul(builder: Any, call: Any) -> Any:
    """Multiply by a constant weight as it lies in memory with the inputs of each output side by side."""
    weight = constant(call.args[1])
    if weight is None or weight.ndim != 2:
        return _default(builder, call)
    turned = relax.const(np.ascontiguousarray(weight.T))
    dtype = str(call.ty.dtype)

    def product(x: Any, w: Any) -> Any:
        k = te.reduce_axis((0, int(w.shape[1])), "k")
        return te.compute(
            (*x.shape[:-1], w.shape[0]),
            lambda *i: te.sum(x(*i[:-1], k).astype(dtype) * w(i[-1], k).astype(dtype), k),
            name="matmul",
        )

    return builder.call_te(product, call.args[0], turned, primfunc_name_hint="matmul")


def _default(builder: Any, call: Any) -> Any:
    return tvm.ir.Op.get(call.op.name).get_attr("FLegalize")(builder, call)
