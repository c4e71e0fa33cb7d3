"""Removes channels: physically, by zeros that compute the same, or in place on a network in training."""

from hwcomp.compaction.compact import compact
from hwcomp.compaction.kept import Kept
from hwcomp.compaction.masked import masked
from hwcomp.compaction.zero import zero_channels

__all__ = ["Kept", "compact", "masked", "zero_channels"]
