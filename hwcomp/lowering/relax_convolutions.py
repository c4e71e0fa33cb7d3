"""Finds convolutions in a Relax module, with what can be fused into them, and puts calls of our kernels there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm.relax.expr_functor import PyExprMutator, mutator

from hwcomp.lowering.relax_graph import Block, constant, is_float, number, operator, shape_of
from hwcomp.sparse_kernels.tir_convolution import LARGEST


@dataclass(frozen=True, kw_only=True)
class Fused:
    """A convolution with a constant weight, and what follows it in the same kernel.

    Attributes:
        call: the convolution.
        weight: (M, C / groups, KH, KW).
        chain: the variables from that of the convolution to the one that holds the result.
        bias: (M,), or None.
        added: a tensor that is added to the output, or None.
        low: smallest output.
        high: largest output.
    """

    call: Any
    weight: NDArray[np.float32]
    chain: tuple[Any, ...]
    bias: NDArray[np.float32] | None = None
    added: Any = None
    low: float = -LARGEST
    high: float = LARGEST

    @property
    def is_clamped(self) -> bool:
        """Whether an activation was fused; nothing comes behind it."""
        return self.low > -LARGEST or self.high < LARGEST


Emit = Callable[[Any, Fused, Any, Any], Any]
"""Builder, convolution, its input, what is added -> the call that takes its place."""


def fused_convolutions(block: Block, takes: Callable[[Any], bool]) -> Iterator[Fused]:
    """Go through the convolutions with constant weights that are taken; no two of them share what is fused."""
    used: set[Any] = set()
    for var, value in block.values.items():
        if operator(value) != "relax.nn.conv2d" or not takes(value):
            continue
        weight = constant(value.args[1])
        if weight is not None and is_float(value):
            fused = Fused(call=value, weight=weight, chain=(var,))
            while (longer := _extended(block, fused, used)) is not None:
                fused = longer
            used.update(fused.chain)
            yield fused


def _extended(block: Block, fused: Fused, used: set[Any]) -> Fused | None:
    """Return a convolution with the operator behind it fused too, None if that cannot be."""
    reader = block.only_reader(fused.chain[-1])
    if reader is None or reader in used or fused.is_clamped:
        return None
    value, chain = block.values[reader], (*fused.chain, reader)
    name = operator(value)
    if name == "relax.add":
        return _with_addend(fused, value, chain)
    if name == "relax.nn.relu":
        return replace(fused, low=0.0, chain=chain)
    if name == "relax.clip":
        return replace(fused, low=number(value.args[1]), high=number(value.args[2]), chain=chain)
    return None


def _with_addend(fused: Fused, value: Any, chain: tuple[Any, ...]) -> Fused | None:
    last = fused.chain[-1]
    other = value.args[1] if value.args[0].same_as(last) else value.args[0]
    array = constant(other)
    if array is not None:
        is_bias = array.shape == (1, len(fused.weight), 1, 1) and fused.bias is None and fused.added is None
        return replace(fused, bias=array.reshape(-1), chain=chain) if is_bias else None
    fits = fused.added is None and shape_of(other) == shape_of(value)
    return replace(fused, added=other, chain=chain) if fits else None


@mutator
class ReplaceConvolutions(PyExprMutator):  # type: ignore[misc]  # TVM has no types
    """Rewrites ``main`` of a module so that convolutions are calls of our kernels.

    Before: ``lv = conv2d(x, w); lv1 = add(lv, b); lv2 = relu(lv1)``; after: ``lv2 = call_tir(kernel, x, w', b, ...)``.

    Args:
        module: with the function ``main``.
        takes: convolution -> whether there is a kernel for it.
        emit: makes the call that takes its place.
    """

    def __init__(self, module: Any, takes: Callable[[Any], bool], emit: Emit) -> None:
        super().__init__(module)
        self.module, self.emit = module, emit
        self.ends: dict[Any, Fused] = {}
        self.inner: set[Any] = set()
        for fused in fused_convolutions(Block(module["main"]), takes):
            self.ends[fused.chain[-1]] = fused
            self.inner.update(fused.chain[:-1])

    def rewritten(self) -> Any:
        """Return the module with our kernels."""
        self.builder_.update_func(self.module.get_global_var("main"), self.visit_expr(self.module["main"]))
        return self.builder_.get()

    def visit_var_binding_(self, binding: Any) -> None:
        """Leave out what is fused; put the call where its result is bound."""
        if binding.var in self.inner:
            return
        fused = self.ends.get(binding.var)
        if fused is None:
            super().visit_var_binding_(binding)
            return
        added = None if fused.added is None else self.visit_expr(fused.added)
        call = self.emit(self.builder_, fused, self.visit_expr(fused.call.args[0]), added)
        self.set_var_remap(binding.var, self.builder_.emit(call))
