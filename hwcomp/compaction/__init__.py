"""Removes channels: physically, by zeros that compute the same, or in place in training; or reorders them."""

from hwcomp.compaction.compact import compact
from hwcomp.compaction.kept import Kept
from hwcomp.compaction.masked import masked
from hwcomp.compaction.permute import permuted
from hwcomp.compaction.zero import zero_channels

__all__ = ["Kept", "compact", "masked", "permuted", "zero_channels"]
