"""The passes of the default flow, and those that leave a network in the form in which it trains."""

from hwcomp.passes.canonicalize_mean import CanonicalizeMean
from hwcomp.passes.drop_identity import DropIdentity
from hwcomp.passes.find_sparse_weights import FindSparseWeights
from hwcomp.passes.flatten_linear import FlattenLinear
from hwcomp.passes.fold_batchnorm import FoldBatchnorm
from hwcomp.passes.fuse_activation import FuseActivation
from hwcomp.passes.insert_quant_choices import InsertQuantChoices
from hwcomp.passes.join_batchnorm import JoinBatchnorm
from hwcomp.program import Pass
from hwcomp.target import Target


def default_passes(target: Target) -> list[Pass]:
    """Return the passes of the default flow, in order."""
    return _with_norms(FoldBatchnorm(), target)


def training_passes(target: Target) -> list[Pass]:
    """Return the passes after which a network still trains as it did, BatchNorm included.

    They give the nodes of the default flow under the same names, with the same candidates; their leaf modules are those
    of the traced network.
    """
    return _with_norms(JoinBatchnorm(), target)


def _with_norms(norms: Pass, target: Target) -> list[Pass]:
    return [
        DropIdentity(),
        norms,
        CanonicalizeMean(),
        FlattenLinear(),
        FuseActivation(),
        InsertQuantChoices(target=target),
        FindSparseWeights(target=target),
    ]
