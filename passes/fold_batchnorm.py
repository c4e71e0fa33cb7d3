r"""Fold BatchNorm into the convolution or linear layer before it.

.. math:: W'_o = W_o g_o, \quad b'_o = (b_o - \mu_o) g_o + \beta_o, \quad g_o = \gamma_o / \sqrt{v_o + \epsilon}
"""

from dataclasses import dataclass
from typing import final

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from hwcomp.ops import module_of
from hwcomp.passes._edit import call_instead, erase_after, only_user
from hwcomp.program import Note, PassResult, Program, finish


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FoldBatchnorm:
    """Fold a BatchNorm into the weights of the operator that alone feeds it.

    Before: ``x -> conv -> batch_norm -> y``; after: ``x -> conv' -> y``. Weights and statistics in float32.
    """

    preserves: bool = True

    def __call__(self, program: Program) -> PassResult:
        """Return the folded program; a BatchNorm that stays is noted with the reason."""
        result = program.fork()
        changed, notes = 0, []
        for norm in result.nodes:
            statistics = module_of(norm)
            if not isinstance(statistics, (nn.BatchNorm1d, nn.BatchNorm2d)):
                continue
            producer = norm.all_input_nodes[0]
            reason = _why_not(producer, statistics)
            if reason is not None:
                notes.append(Note(site=norm.name, reason=f"BatchNorm not folded: {reason}"))
                continue
            call_instead(result.module, producer, _folded(module_of(producer), statistics))
            erase_after(producer, norm)
            changed += 1
        return PassResult(program=finish(result), changed=changed, notes=tuple(notes))


def _why_not(producer: fx.Node, statistics: nn.BatchNorm1d | nn.BatchNorm2d) -> str | None:
    module = module_of(producer)
    if not isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
        return "it does not follow a convolution or linear layer"
    if only_user(producer) is None:
        return "the output before it is read elsewhere"
    if statistics.running_mean is None or statistics.running_var is None:
        return "it keeps no running statistics"
    if isinstance(module, nn.Linear) and producer.meta["tensor_meta"].shape[1:] != (module.out_features,):
        return "its channels are not the features of the linear layer"
    return None


def _folded(module: nn.Module | None, statistics: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    if isinstance(module, nn.Linear):
        return fuse_linear_bn_eval(module.eval(), statistics)
    assert isinstance(module, (nn.Conv1d, nn.Conv2d))
    return fuse_conv_bn_eval(module.eval(), statistics)


PASS = FoldBatchnorm
