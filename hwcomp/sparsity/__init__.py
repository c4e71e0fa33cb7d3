"""Sparse weights: which are kept, and operators that train with the others left out."""

from hwcomp.sparsity.masked import Initial, Learned, SparseOperator
from hwcomp.sparsity.patterns import MIN_KEPT, pattern_mask, size_mask
from hwcomp.sparsity.schedule import density_at
from hwcomp.sparsity.zeros import network_with_zeros, operator_with_zeros

__all__ = [
    "MIN_KEPT",
    "Initial",
    "Learned",
    "SparseOperator",
    "density_at",
    "network_with_zeros",
    "operator_with_zeros",
    "pattern_mask",
    "size_mask",
]
