"""Einsum of two tensors as a matrix product."""

import math

from torch import Tensor

from hwcomp.errors import UnknownOperatorError
from hwcomp.groups.call import Call
from hwcomp.groups.products import product
from hwcomp.groups.shadow import compacted


def einsum(call: Call) -> Tensor:
    """``"bhid,bhjd->bhij"``: labels in both and in the result are batch axes, those in both only are summed over."""
    left_labels, right_labels, labels = _parsed(call)
    left, right = call.tensors()
    batch = [label for label in left_labels if label in right_labels and label in labels]
    inner = [label for label in left_labels if label in right_labels and label not in labels]
    rows = [label for label in left_labels if label not in right_labels]
    columns = [label for label in right_labels if label not in left_labels]
    if not set(rows + columns) <= set(labels):
        raise UnknownOperatorError("it sums over an axis of one tensor")
    sizes = {**dict(zip(left_labels, left.shape, strict=True)), **dict(zip(right_labels, right.shape, strict=True))}
    matrices = [
        _matrices(left, left_labels, batch, rows, inner),
        _matrices(right, right_labels, batch, inner, columns),
    ]
    shape = (*matrices[0].shape[:-1], matrices[1].shape[-1])
    result = product(call.ledger, matrices[0], matrices[1], shape, call.node.name)
    order = batch + rows + columns
    result = result.reshape([sizes[label] for label in order])
    return compacted(result.permute([order.index(label) for label in labels]))


def _parsed(call: Call) -> tuple[str, str, str]:
    equation = str(call.args[0]).replace(" ", "")
    sources, arrow, result = equation.partition("->")
    operands = sources.split(",")
    if not arrow or "." in equation or len(operands) != 2 or len(call.tensors()) != 2:
        raise UnknownOperatorError("only two tensors, a given result and no ellipsis are understood")
    if any(len(set(part)) < len(part) for part in (*operands, result)):
        raise UnknownOperatorError("a label stands twice in one tensor")
    return operands[0], operands[1], result


def _matrices(ids: Tensor, labels: str, batch: list[str], rows: list[str], columns: list[str]) -> Tensor:
    """Return the shadow as ``(*batch, rows, columns)``."""
    ids = ids.permute([labels.index(label) for label in batch + rows + columns])
    count = len(batch)
    height = math.prod(ids.shape[count : count + len(rows)])
    return compacted(ids.reshape(*ids.shape[:count], height, -1))
