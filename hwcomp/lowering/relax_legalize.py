"""Operators of Relax that become our kernels, one by one; TVM's own translation serves where we have none."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from tvm import relax, te

from hwcomp.lowering.relax_graph import constant, is_float, legalized, shape_of
from hwcomp.lowering.relax_kernels import call
from hwcomp.sparse_kernels import tir_functions
from hwcomp.sparse_kernels.tir_build import Vectors
from hwcomp.sparse_kernels.tir_matrices import BLOCK, Matrices, matrix_product, panels
from hwcomp.sparse_kernels.tir_pooling import Pooling, pooling
from hwcomp.sparse_kernels.tir_rows import layer_norm, mean, softmax

ACTIVATIONS = {
    "relax.exp": tir_functions.exp,
    "relax.sigmoid": tir_functions.sigmoid,
    "relax.tanh": tir_functions.tanh,
    "relax.erf": tir_functions.erf,
    "relax.nn.silu": tir_functions.silu,
    "relax.nn.gelu": tir_functions.gelu,
    "relax.nn.gelu_tanh": tir_functions.gelu_tanh,
}

Legalize = Callable[[Any, Any], Any]
"""Builder, call of an operator -> the expression that takes its place."""


@dataclass(frozen=True, kw_only=True)
class Legalizer:
    """Translates operators for a target.

    Attributes:
        vectors: of the target.
        threads: that share the work of a kernel.
    """

    vectors: Vectors
    threads: int

    def operators(self) -> dict[str, Legalize]:
        """Return operator -> translation."""
        own: dict[str, Legalize] = {
            "relax.matmul": self._matmul,
            "relax.mean": self._mean,
            "relax.nn.softmax": self._softmax,
            "relax.nn.layer_norm": self._layer_norm,
            "relax.nn.max_pool2d": self._pool,
            "relax.nn.avg_pool2d": self._pool,
        }
        return own | {name: _elementwise(function) for name, function in ACTIVATIONS.items()}

    def _matmul(self, builder: Any, product: Any) -> Any:
        """Reshape to a batch of matrices, multiply, and cut off what fills up the last blocks."""
        left, right = product.args
        weight, shape = constant(right), shape_of(product)
        shapes = shape_of(left), shape_of(right)
        is_packed = weight is not None and weight.ndim == 2
        is_batch = len(shapes[0]) == len(shapes[1]) >= 2 and shapes[0][:-2] == shapes[1][:-2]
        if not is_float(product) or not (is_packed or (is_batch and shape[-1] >= self.vectors.lanes)):
            return legalized(builder, product)
        inputs, outputs = shapes[1][-2:]
        rows = prod(shape[:-1]) if is_packed else shape[-2]
        matrices = Matrices(
            batch=1 if is_packed else prod(shape[:-2]),
            rows=rows,
            inputs=inputs,
            outputs=outputs,
            lanes=self.vectors.lanes,
            vectors=min(self.vectors.vectors(BLOCK), -(-outputs // self.vectors.lanes)),
            threads=self.threads,
            is_packed=is_packed,
        )
        x = builder.emit(relax.op.reshape(left, (matrices.batch, rows, inputs)))
        if is_packed:
            w: Any = relax.const(panels(np.asarray(weight), matrices.step))
        else:
            w = builder.emit(relax.op.reshape(right, matrices.right))
        tables = [relax.const(table) for table in matrices.tables()]
        whole = builder.emit(call(builder, "product", matrix_product(matrices), [x, w, *tables], matrices.result))
        if matrices.result != (matrices.batch, rows, outputs):
            whole = builder.emit(builder.call_te(cut, whole, (matrices.batch, rows, outputs)))
        return relax.op.reshape(whole, shape)

    def _mean(self, builder: Any, product: Any) -> Any:
        shape, axes = shape_of(product.args[0]), product.attrs.axis
        kept = len(shape) - (len(shape) if axes is None else len(axes))
        last = [] if axes is None else sorted(int(axis) % len(shape) for axis in axes)
        if last != list(range(kept, len(shape))) or not is_float(product):
            return legalized(builder, product)
        rows = prod(shape[:kept]), prod(shape[kept:])
        x = builder.emit(relax.op.reshape(product.args[0], rows))
        y = builder.emit(call(builder, "mean", mean(*rows, self.vectors.lanes), [x], rows[:1]))
        return relax.op.reshape(y, shape_of(product))

    def _softmax(self, builder: Any, product: Any) -> Any:
        shape = shape_of(product)
        if int(product.attrs.axis) % len(shape) != len(shape) - 1 or not is_float(product):
            return legalized(builder, product)
        rows = prod(shape[:-1]), shape[-1]
        x = builder.emit(relax.op.reshape(product.args[0], rows))
        y = builder.emit(call(builder, "softmax", softmax(*rows, self.vectors.lanes), [x], rows))
        return relax.op.reshape(y, shape)

    def _layer_norm(self, builder: Any, product: Any) -> Any:
        shape, attributes = shape_of(product), product.attrs
        axes = [int(axis) % len(shape) for axis in attributes.axes]
        if axes != [len(shape) - 1] or not is_float(product):
            return legalized(builder, product)
        rows = prod(shape[:-1]), shape[-1]
        x = builder.emit(relax.op.reshape(product.args[0], rows))
        kernel = layer_norm(*rows, self.vectors.lanes, float(attributes.epsilon))
        y = builder.emit(call(builder, "layer_norm", kernel, [x, *product.args[1:3]], rows))
        return relax.op.reshape(y, shape)

    def _pool(self, builder: Any, product: Any) -> Any:
        attributes, (batch, channels, height, width) = product.attrs, shape_of(product.args[0])
        dilated = any(int(d) != 1 for d in attributes.dilation)
        is_mean = product.op.name == "relax.nn.avg_pool2d"
        if batch != 1 or dilated or (is_mean and attributes.ceil_mode) or not is_float(product):
            return legalized(builder, product)
        pool = Pooling(
            channels=channels,
            height=height,
            width=width,
            window=(int(attributes.pool_size[0]), int(attributes.pool_size[1])),
            stride=(int(attributes.strides[0]), int(attributes.strides[1])),
            padding=(int(attributes.padding[0]), int(attributes.padding[1])),
            output=shape_of(product)[2:],  # type: ignore[arg-type]  # two of them
            lanes=self.vectors.lanes,
            mean=is_mean,
            counts_padding=bool(attributes.count_include_pad),
        )
        return call(builder, "pooling", pooling(pool), [product.args[0]], shape_of(product))


def _elementwise(function: Callable[[Any], Any]) -> Legalize:
    def legalize(builder: Any, product: Any) -> Any:
        if not is_float(product):
            return legalized(builder, product)
        return builder.call_te(
            lambda x: te.compute(x.shape, lambda *i: function(x(*i))),
            product.args[0],
            primfunc_name_hint=function.__name__,
        )

    return legalize


def cut(tensor: Any, shape: tuple[int, ...]) -> Any:
    """Return the first elements of a tensor along every axis; what follows may be fused with it."""
    return te.compute(shape, tensor, name="cut")
