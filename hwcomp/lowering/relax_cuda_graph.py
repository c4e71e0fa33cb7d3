"""Relax modules for GPUs before their kernels are scheduled: number format, layout, fusion."""

from typing import Any

import numpy as np
import tvm
from tvm import relax, te
from tvm.relax.dpl import is_op, rewrite_call, wildcard

from hwcomp.config import Precision
from hwcomp.lowering.relax_graph import constant, legalized, number, shape_of

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
        transform.AnnotateTIROpPattern(),
        transform.FoldConstant(),
        transform.FuseOps(),
        transform.FuseTIR(),
        transform.RewriteDataflowReshape(),  # a reshape that was fused with nothing needs no kernel
        transform.DeadCodeElimination([entry]),
    ]
    return tvm.transform.Sequential(steps)(_without_clip(module, entry))


def _without_clip(module: Any, entry: str) -> Any:
    """Return a module with minimum and maximum where it clips: TVM's conversion to halves cannot read clip's limits."""
    values = [wildcard(), wildcard(), wildcard()]

    def limited(_call: Any, found: Any) -> Any:
        x, low, high = (found[value] for value in values)
        dtype = str(x.ty.dtype)
        limits = [relax.const(np.asarray(number(limit), dtype)) for limit in (low, high)]
        return relax.op.minimum(relax.op.maximum(x, limits[0]), limits[1])

    module = tvm.IRModule(module.functions, attrs=module.attrs)
    module[entry] = rewrite_call(is_op("relax.clip")(*values), limited, module[entry])
    return module


def _broadcast(builder: Any, call: Any) -> Any:
    """Leave out a broadcast to the shape that is there already."""
    return call.args[0] if shape_of(call) == shape_of(call.args[0]) else legalized(builder, call)


def _matmul(builder: Any, call: Any) -> Any:
    """Multiply by a constant weight as it lies in memory with the inputs of each output side by side."""
    weight = constant(call.args[1])
    if weight is None or weight.ndim != 2:
        return legalized(builder, call)
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
