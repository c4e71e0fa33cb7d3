"""Sparse weights: which are kept, and operators that train with the others left out."""

from hwcomp.sparsity.masked import MIN_KEPT, Initial, Learned, SparseOperator
from hwcomp.sparsity.patterns import pattern_mask
from hwcomp.sparsity.schedule import density_at

__all__ = [
    "MIN_KEPT",
    "Initial",
    "Learned",
    "SparseOperator",
    "density_at",
    "pattern_mask",
]
