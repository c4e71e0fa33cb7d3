"""The passes of the default flow."""

from hwcomp.passes.canonicalize_mean import CanonicalizeMean
from hwcomp.passes.drop_identity import DropIdentity
from hwcomp.passes.flatten_linear import FlattenLinear
from hwcomp.passes.fold_batchnorm import FoldBatchnorm
from hwcomp.passes.fuse_activation import FuseActivation
from hwcomp.passes.insert_quant_choices import InsertQuantChoices
from hwcomp.program import Pass
from hwcomp.target import Target


def default_passes(target: Target) -> list[Pass]:
    """Return the passes of the default flow, in order."""
    return [
        DropIdentity(),
        FoldBatchnorm(),
        CanonicalizeMean(),
        FlattenLinear(),
        FuseActivation(),
        InsertQuantChoices(target=target),
    ]
