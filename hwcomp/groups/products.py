"""Products of activations: attention, and matrix products of any kind.

Where batch axes vary there are heads, and a head is one channel: whole heads are removed and their width stays.
"""

from torch import Tensor

from hwcomp.errors import UnknownOperatorError
from hwcomp.groups.call import Call
from hwcomp.groups.elementwise import join
from hwcomp.groups.ledger import Ledger
from hwcomp.groups.shadow import blank, broadcast, compacted, core, numbers, spread, varied, vector


def matrix_product(call: Call) -> Tensor:
    """``(..., T, K) x (..., K, S) -> (..., T, S)``."""
    operands = call.tensors()
    if len(operands) != 2 or min(operand.ndim for operand in operands) < 2:
        raise UnknownOperatorError("it is no product of two matrices")
    return product(call.ledger, operands[0], operands[1], call.result_shape, call.node.name)


def product(ledger: Ledger, left: Tensor, right: Tensor, shape: tuple[int, ...], site: str) -> Tensor:
    """Return the shadow of a matrix product: whole heads, or pairs of channels that are multiplied and summed."""
    if has_heads(left) or has_heads(right):
        return join(ledger, whole_heads(ledger, left), whole_heads(ledger, right), site).expand(shape)
    rows, columns = len(shape) - 2, len(shape) - 1
    inner_left, inner_right = left.ndim - 1 in varied(left), right.ndim - 2 in varied(right)
    if inner_left or inner_right:
        _contract(ledger, left, right, site)
        return blank(shape)
    outer_left, outer_right = left.ndim - 2 in varied(left), right.ndim - 1 in varied(right)
    if outer_left and outer_right:
        reason = f"{site} multiplies each of its channels with each of others"
        ledger.keep_constant(left, [left.ndim - 2], reason)
        ledger.keep_constant(right, [right.ndim - 1], reason)
        return blank(shape)
    if outer_left:
        return spread(vector(left, -2), rows, shape)
    return spread(vector(right, -1), columns, shape)


def _contract(ledger: Ledger, left: Tensor, right: Tensor, site: str) -> None:
    """Tie channel k of the left operand to channel k of the right one."""
    ledger.keep_constant(left, [left.ndim - 2], f"{site} multiplies tensors that vary along both axes")
    ledger.keep_constant(right, [right.ndim - 1], f"{site} multiplies tensors that vary along both axes")
    left_ids, right_ids = vector(left, -1), vector(right, -2)
    ledger.unite(left_ids, right_ids)
    reason = f"{site} multiplies it with a tensor of fixed width"
    ledger.freeze(left_ids[right_ids == 0], reason)
    ledger.freeze(right_ids[left_ids == 0], reason)


def has_heads(ids: Tensor) -> bool:
    """Return whether channels vary along an axis before the matrices."""
    return any(axis < ids.ndim - 2 for axis in varied(ids))


def whole_heads(ledger: Ledger, ids: Tensor) -> Tensor:
    """Tie everything within each matrix and return the shadow ``(..., 1, 1)`` of the heads."""
    small = core(ids)
    rows = small.reshape(-1, small.shape[-2] * small.shape[-1])
    ledger.unite_rows(numbers(rows), "a part of its head stays")
    return compacted(ids.narrow(-1, 0, 1).narrow(-2, 0, 1))


def attention(call: Call) -> Tensor:
    """``softmax(q k^T) v`` over ``(..., T, E)``: queries, keys and values of a head are one channel.

    Without heads, queries and keys keep their width, because the scale of the scores depends on it.
    """
    if call.kwargs.get("enable_gqa"):
        raise UnknownOperatorError("several of its heads share keys")
    query, key, value, mask = (call.option(i, name) for i, name in enumerate(("query", "key", "value", "attn_mask")))
    site, ledger, shape = call.node.name, call.ledger, call.result_shape
    if not any(has_heads(operand) for operand in (query, key, value)):
        for operand in (query, key):
            ledger.keep_constant(operand, [operand.ndim - 2, operand.ndim - 1], f"{site} has a single head")
        return product(ledger, blank((*shape[:-1], key.shape[-2])), value, shape, site)
    heads = join(ledger, whole_heads(ledger, query), whole_heads(ledger, key), site)
    if isinstance(mask, Tensor):
        scores = broadcast((*shape[:-1], key.shape[-2]), mask.shape)
        heads = whole_heads(ledger, join(ledger, heads.expand(scores), mask, site))
    return join(ledger, heads, whole_heads(ledger, value), site).expand(shape)
