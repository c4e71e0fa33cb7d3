"""Reading a Relax function: which operator, which constant, who reads what."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tvm
from numpy.typing import NDArray
from tvm import relax

Call = Any
"""A call of an operator in Relax; TVM has no types."""


def operator(value: Any) -> str:
    """Return the name of the operator that an expression calls, or ""."""
    return str(getattr(value.op, "name", "")) if isinstance(value, relax.Call) else ""


def constant(value: Any) -> NDArray[Any] | None:
    """Return the array of a constant, None for anything else."""
    return value.value.numpy() if isinstance(value, tvm.ir.GenericConst) else None


def number(value: Any) -> float:
    """Return the number that an expression holds."""
    while hasattr(value, "value"):
        value = value.value
    return float(value)


def shape_of(value: Any) -> tuple[int, ...]:
    """Return the shape of an expression; hwcomp's programs have no other than constant ones."""
    return tuple(int(size) for size in value.ty.shape)


def legalized(builder: Any, call: Any) -> Any:
    """Return a call of an operator as TVM itself turns it into loops."""
    return tvm.ir.Op.get(call.op.name).get_attr("FLegalize")(builder, call)


def is_float(value: Any) -> bool:
    """Return whether an expression is a tensor of 32-bit floats."""
    return str(value.ty.dtype) == "float32"


@dataclass(frozen=True)
class Block:
    """The bindings of a function.

    Attributes:
        function: whose bindings follow each other, without branches.
    """

    function: Any

    @cached_property
    def values(self) -> dict[Any, Any]:
        """Variable -> what is bound to it, in order."""
        return {binding.var: binding.value for block in self.function.body.blocks for binding in block.bindings}

    @cached_property
    def readers(self) -> dict[Any, list[Any]]:
        """Variable -> those that are made of it; None stands for the function's result."""
        found: dict[Any, list[Any]] = {}

        def read(by: Any, value: Any) -> None:
            relax.analysis.post_order_visit(
                value, lambda e: found.setdefault(e, []).append(by) if isinstance(e, relax.Var) else None
            )

        for var, value in self.values.items():
            read(var, value)
        read(None, self.function.body.body)
        return found

    def only_reader(self, var: Any) -> Any:
        """Return the one variable that is made of another, None if there are more or the function returns it."""
        readers = self.readers.get(var, [])
        return readers[0] if len(readers) == 1 else None
