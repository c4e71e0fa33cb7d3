"""A call that has to be rewritten, with what its inputs hold before and after."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from hwcomp.compaction.cut import removed_along
from hwcomp.compaction.kept import Gone
from hwcomp.groups.walk import filled

Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """A call to rewrite.

    Attributes:
        node: in the new graph.
        name: its operator.
        before: what every node held.
        after: what every node up to this one's inputs holds now.
        wanted: what the node has to hold.
        gone: which channel ids are removed.
    """

    node: fx.Node
    name: str
    before: Values
    after: Values
    wanted: Any
    gone: Gone

    @property
    def source(self) -> Tensor:
        """What the first input held before."""
        node: Any = self.node.args[0]
        tensor: Tensor = self.before[node.name]
        return tensor

    @property
    def result(self) -> Tensor:
        """What the node held before."""
        tensor: Tensor = self.before[self.node.name]
        return tensor

    def value(self, position: int, name: str) -> Any:
        """Return an argument by position or keyword, as it was before."""
        node = self.node
        given = node.args[position] if len(node.args) > position else node.kwargs[name]
        return filled(given, self.before)

    def is_right(self, axis: int) -> bool:
        """Return whether an axis of the input keeps its length and all numbers of the call come out as before."""
        length = self.source.shape[axis]
        return self.moved(axis, length) == length and not self.has_other_numbers()

    def has_other_numbers(self) -> bool:
        """Return whether a number that the call is given comes out otherwise than before."""
        names = [node.name for node in self.node.all_input_nodes]
        return any(isinstance(self.before[name], int) and self.before[name] != self.after[name] for name in names)

    def moved(self, axis: int, position: int) -> int:
        """Return where a boundary between entries along an axis of the input comes to stand."""
        return int((~removed_along(self.source, axis, self.gone)[:position]).sum())

    def set_arguments(self, *arguments: Any) -> None:
        """Give the call these positional arguments after its first one, and no others."""
        self.node.args, self.node.kwargs = (self.node.args[0], *arguments), {}
