"""Rewrites the sizes in calls, so that they give the smaller tensors.

Sizes that follow from the tensors (``x.shape[0]``, ``-1``) stay as they are wherever they come out right, so a
compact program takes other batch sizes where the original did.
"""

from collections.abc import Callable
from typing import Any

from torch import fx

from hwcomp.compaction import sizes, slices
from hwcomp.compaction.edit import Edit

REWRITES: dict[str, Callable[[Edit], None]] = {
    **dict.fromkeys(("reshape", "view"), sizes.reshape),
    **dict.fromkeys(("expand", "broadcast_to"), sizes.expand),
    **dict.fromkeys(("chunk", "split", "tensor_split"), slices.split),
    "unflatten": sizes.unflatten, "layer_norm": sizes.layer_norm,
    "getitem": slices.index, "narrow": slices.narrow, "select": slices.select, "pad": slices.pad,
    "squeeze": slices.squeeze,
}  # fmt: skip


def rewrite(edit: Edit) -> None:
    """Change the arguments of a node in place so that it gives what is wanted."""
    change = REWRITES.get(edit.name)
    if change is not None:
        change(edit)
    edit.node.args = _frozen_numbers(edit, edit.node.args)
    edit.node.kwargs = _frozen_numbers(edit, edit.node.kwargs)


def _frozen_numbers(edit: Edit, arguments: Any) -> Any:
    """Put the old value in place of a number that has changed and was no size: it is part of the function."""
    if edit.name in REWRITES:
        return arguments

    def number(node: fx.Node) -> Any:
        old = edit.before[node.name]
        return old if isinstance(old, (int, float)) and old != edit.after[node.name] else node

    return fx.node.map_arg(arguments, number)
