"""What passes that offer sparse schemes share."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import fx, nn

from hwcomp.choice import Choice
from hwcomp.ops import anchor, is_float, module_of, shape_of
from hwcomp.passes._batchnorm import folded
from hwcomp.passes._edit import call_instead
from hwcomp.scheme import FLOAT


def why_not_sparse(node: fx.Node, uses: Counter[int], *, depthwise: bool = False) -> str | None:  # noqa: PLR0911 - a list of reasons
    """Return why a layer cannot have sparse weights, or None if it can."""
    module = module_of(node)
    if module is None:
        return "its weight is no parameter of its own"
    inner = anchor(module)
    if isinstance(inner, nn.Conv1d) or not isinstance(inner, (nn.Conv2d, nn.Linear)):
        return "sparse weights are for conv2d and linear"
    if not is_float(node) or not all(is_float(source) for source in node.all_input_nodes):
        return "its input or output is not one float32 tensor"
    if isinstance(inner, nn.Conv2d) and len(shape_of(node) or ()) != 4:
        return "its input has no batch"
    if isinstance(inner, nn.Conv2d) and inner.padding_mode != "zeros":
        return f"padding '{inner.padding_mode}' has no sparse kernel"
    if isinstance(inner, nn.Conv2d) and inner.groups > 1 and not (depthwise and inner.weight.shape[1] == 1):
        return f"its channels are in {inner.groups} groups"
    if uses[id(inner.weight)] > 1:
        return "its weight is used at several places"
    weight = anchor(folded(module)).weight
    assert isinstance(weight, torch.Tensor)
    if not bool(weight.detach().abs().amax() > 0):
        return "all its weights are zero"
    return None


def offer(module: fx.GraphModule, node: fx.Node, schemes: Sequence[str]) -> bool:
    """Add schemes to what a node may choose; return whether there was one to add."""
    before = module_of(node)
    assert before is not None
    known = before.candidates if isinstance(before, Choice) else (FLOAT,)
    added = [scheme for scheme in schemes if scheme not in known]
    if not added:
        return False
    choice = Choice(before.op if isinstance(before, Choice) else before, (*known, *added))
    if isinstance(before, Choice):
        with torch.no_grad():
            choice.logits[: len(known)] = before.logits
    choice.training = before.training
    call_instead(module, node, choice)
    return True
