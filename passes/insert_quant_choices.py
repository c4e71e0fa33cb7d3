"""Make every operator that the target can compute in integers searchable."""

from dataclasses import dataclass
from typing import final

import torch
from torch import fx, nn

from hwcomp.choice import Choice
from hwcomp.ops import SAME_VALUES, Function, anchor, is_float, module_of, op_of, shape_of
from hwcomp.passes._batchnorm import folded
from hwcomp.passes._edit import call_instead, only_user
from hwcomp.program import Note, PassResult, Program, finish
from hwcomp.scheme import FLOAT, FLOAT16
from hwcomp.target import Target

NOT_FLOAT = "its input or output is not one float32 tensor"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class InsertQuantChoices:
    """Wrap each operator that has more than one scheme on the target in a `Choice`, which still computes in float.

    Before: ``x -> conv -> y``; after: ``x -> Choice(conv; float, int8) -> y``.

    Attributes:
        target: decides the candidates.
    """

    target: Target
    preserves: bool = True

    def __call__(self, program: Program) -> PassResult:
        """Return the program with choices; an operator of a known kind that cannot be quantised is noted."""
        result = program.fork()
        changed, notes = 0, []
        for node in result.nodes:
            candidates = self.target.candidates(op_of(node)) if node.op.startswith("call_") else (FLOAT,)
            if len(candidates) == 1 or isinstance(module_of(node), Choice):
                continue
            reason = why_not_in_halves(node) if set(candidates) <= {FLOAT, FLOAT16.name} else why_not(node)
            if reason is not None:
                notes.append(Note(site=node.name, reason=f"stays float: {reason}"))
                continue
            call_instead(result.module, node, Choice(module_of(node) or Function(node), candidates))
            changed += 1
        return PassResult(program=finish(result), changed=changed, notes=tuple(notes))


def why_not_in_halves(node: fx.Node) -> str | None:
    """Return why a node cannot compute in halves, or None if it can: any operator on float tensors does."""
    if not is_float(node) or not node.all_input_nodes or not all(is_float(source) for source in node.all_input_nodes):
        return NOT_FLOAT
    return None


def why_not(node: fx.Node) -> str | None:  # noqa: PLR0911 - a list of reasons
    """Return why a node of a quantisable kind cannot be quantised, or None if it can."""
    module = module_of(node)
    inner = anchor(module) if module is not None else None
    op, inputs = op_of(node), node.all_input_nodes
    if not is_float(node) or not inputs or not all(is_float(source) for source in inputs):
        return NOT_FLOAT
    if op in ("add", "mul") and len(inputs) != 2:
        return "one of its inputs is a constant"
    if any(source.op == "get_attr" for source in inputs):
        return "one of its inputs is a parameter"
    if op == "conv2d" and len(shape_of(node) or ()) != 4:
        return "its input has no batch"
    if op in ("hardswish", "hardsigmoid") and (only_user(inputs[0]) is not node or op_of(inputs[0]) in SAME_VALUES):
        return "its input shares values with another tensor, so its range cannot be cut at -3"
    if op == "adaptive_avg_pool2d" and (shape_of(node) or ())[2:] != (1, 1):
        return "only pooling to one pixel has an integer kernel"
    if isinstance(inner, nn.Conv2d) and inner.padding_mode != "zeros":
        return f"padding '{inner.padding_mode}' has no integer kernel"
    if isinstance(inner, nn.MaxPool2d) and inner.return_indices:
        return "it returns indices"
    weight = None if module is None else getattr(anchor(folded(module)), "weight", None)
    if isinstance(weight, torch.Tensor) and not bool(weight.detach().abs().amax() > 0):
        return "all its weights are zero"
    return None


PASS = InsertQuantChoices
