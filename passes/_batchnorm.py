"""Which BatchNorm can become part of the operator before it, and what the two are when folded."""

import copy
from collections.abc import Callable

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from hwcomp.choice import Choice
from hwcomp.ops import Fused, Normalised, module_of
from hwcomp.passes._edit import call_instead, erase_after, only_user
from hwcomp.program import Note, PassResult, Program, finish

Norm = nn.BatchNorm1d | nn.BatchNorm2d


def absorb(program: Program, combine: Callable[[nn.Module, Norm], nn.Module], done: str) -> PassResult:
    """Return the program after putting each BatchNorm that can go there into the operator before it.

    Before: ``x -> conv -> batch_norm -> y``; after: ``x -> combine(conv, batch_norm) -> y``; nodes keep their names.

    Args:
        program: it is not changed.
        combine: makes one module of the two.
        done: the participle for notes on those that stay: "folded" or "joined".
    """
    result = program.fork()
    changed, notes = 0, []
    for node in result.nodes:
        norm = module_of(node)
        if not isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            continue
        producer = node.all_input_nodes[0]
        reason = _why_not(producer, norm)
        if reason is not None:
            notes.append(Note(site=node.name, reason=f"BatchNorm not {done}: {reason}"))
            continue
        operator = module_of(producer)
        assert operator is not None
        call_instead(result.module, producer, combine(operator, norm))
        erase_after(producer, node)
        changed += 1
    return PassResult(program=finish(result), changed=changed, notes=tuple(notes))


def _why_not(producer: fx.Node, norm: Norm) -> str | None:
    module = module_of(producer)
    operator = module[0] if isinstance(module, Normalised) else module
    if not isinstance(operator, (nn.Conv1d, nn.Conv2d, nn.Linear)):
        return "it does not follow a convolution or linear layer"
    if only_user(producer) is None:
        return "the output before it is read elsewhere"
    if norm.running_mean is None or norm.running_var is None:
        return "it keeps no running statistics"
    if isinstance(operator, nn.Linear) and producer.meta["tensor_meta"].shape[1:] != (operator.out_features,):
        return "its channels are not the features of the linear layer"
    return None


def fold(operator: nn.Module, norm: Norm) -> nn.Module:
    r"""Return a copy of a convolution or linear layer that does the work of the BatchNorm after it, as at inference.

    .. math:: W'_o = W_o g_o, \quad b'_o = (b_o - \mu_o) g_o + \beta_o, \quad g_o = \gamma_o / \sqrt{v_o + \epsilon}
    """
    operator, norm = copy.deepcopy(folded(operator)).eval(), copy.deepcopy(norm).eval()
    if isinstance(operator, nn.Linear):
        return fuse_linear_bn_eval(operator, norm)
    assert isinstance(operator, (nn.Conv1d, nn.Conv2d))
    return fuse_conv_bn_eval(operator, norm)


def folded(module: nn.Module) -> nn.Module:
    """Return a module with every BatchNorm that was joined to an operator folded; itself where there is none."""
    if isinstance(module, Choice):
        choice = Choice(folded(module.op), module.candidates)
        choice.load_state_dict({"logits": module.logits.detach()}, strict=False)
        choice.training = module.training
        return choice
    if isinstance(module, Fused):
        return Fused(folded(module[0]), *list(module)[1:])
    if isinstance(module, Normalised):
        operator = module[0]
        for norm in list(module)[1:]:
            assert isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d))
            operator = fold(operator, norm)
        return operator
    return module
