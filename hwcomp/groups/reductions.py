"""Operators that work along given axes: fine beside the channels, but what runs over channels keeps them."""

from typing import Any

from torch import Tensor

from hwcomp.errors import UnknownOperatorError
from hwcomp.groups.call import Call
from hwcomp.groups.elementwise import elementwise
from hwcomp.groups.shadow import first

AXIS_POSITION = {"norm": 2, "normalize": 2}
"""Where the axis stands among the arguments, if not second."""

DEFAULT_AXIS = {"normalize": 1, "sort": -1, "argsort": -1}


def along(call: Call) -> Any:
    """Softmax and the like, which keep the shape."""
    axes = _axes(call)
    call.ledger.keep_constant(call.source, axes, f"{call.name} runs over the channels in {call.node.name}")
    return first(call.source, axes)


def reduction(call: Call) -> Any:
    """Mean, sum and the like, which remove axes or leave one entry of them."""
    if isinstance(call.option(1, "other"), Tensor):
        return elementwise(call)
    axes = _axes(call)
    call.ledger.keep_constant(call.source, axes, f"{call.name} runs over the channels in {call.node.name}")
    kept = first(call.source, axes)
    for axis in axes:
        kept = kept.narrow(axis, 0, 1)
    squeezed = kept[tuple(0 if axis in axes else slice(None) for axis in range(kept.ndim))]
    described = call.node.meta["tensor_meta"]
    if call.shape is None:
        one = kept if len(described[0].shape) == kept.ndim else squeezed
        return tuple(one for _ in described)
    return kept if len(call.shape) == kept.ndim else squeezed


def _axes(call: Call) -> list[int]:
    if call.module is not None:
        axes = getattr(call.module, "dim", None)
        if axes is None:
            raise UnknownOperatorError("its axis is not given")
    else:
        position = AXIS_POSITION.get(call.name, 1)
        axes = call.option(position, "dim", DEFAULT_AXIS.get(call.name))
    rank = call.source.ndim
    if axes is None or axes == ():
        return list(range(rank))
    listed = [axes] if isinstance(axes, int) else list(axes)
    return [axis % rank for axis in listed]
