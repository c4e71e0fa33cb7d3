"""One call of the graph, its tensors replaced by their shadows."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from hwcomp.errors import UnknownOperatorError
from hwcomp.groups.ledger import Ledger


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A node with its arguments as values.

    Attributes:
        node: the node.
        name: what is called: a function's or method's name without trailing underscore, or a module's type.
        args: positional arguments, shadows in place of tensors.
        kwargs: the same by keyword.
        module: the module called, or None.
        paths: id of a parameter or buffer -> its path, the same one for all names of a shared tensor.
        shape: of the result, None where it is not one tensor.
        ledger: where unions and reasons are written down.
    """

    node: fx.Node
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    module: nn.Module | None
    paths: dict[int, str]
    shape: tuple[int, ...] | None
    ledger: Ledger

    @property
    def source(self) -> Tensor:
        """The first argument, which is a tensor."""
        value = self.args[0] if self.args else self.kwargs.get("input")
        if not isinstance(value, Tensor):
            raise UnknownOperatorError(f"{self.name} is not applied to a tensor")
        return value

    @property
    def result_shape(self) -> tuple[int, ...]:
        """The shape of the result, which is one tensor."""
        if self.shape is None:
            raise UnknownOperatorError(f"{self.name} does not give one tensor")
        return self.shape

    def option(self, position: int, name: str, default: Any = None) -> Any:
        """Return an argument by position or keyword."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    def path(self, tensor: object) -> str:
        """Return the path of a parameter or buffer."""
        if id(tensor) not in self.paths:
            raise UnknownOperatorError("its weight is computed from other parameters")
        return self.paths[id(tensor)]

    def tensors(self) -> list[Tensor]:
        """Return all shadows among the arguments, in order."""
        return list(tensors_in((self.args, self.kwargs)))


Handler = Callable[[Call], Any]


def tensors_in(value: Any) -> Iterable[Tensor]:
    """Give all tensors in nested tuples, lists, dicts and slices."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(tuple(value.values()))
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)


def map_tensors(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """Return nested tuples, lists and dicts with each tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: map_tensors(item, change) for key, item in value.items()}
    if isinstance(value, (tuple, list)) and any(True for _ in tensors_in(value)):
        return type(value)([map_tensors(item, change) for item in value])
    return value
