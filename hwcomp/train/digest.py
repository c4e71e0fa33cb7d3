"""Hash of a batch, to tell whether the data gives the same again."""

from typing import Any

from hwcomp.digests import tensors_digest
from hwcomp.program import flatten


def batch_digest(inputs: Any, targets: Any) -> str:
    """Return a hash of a batch."""
    return tensors_digest((*flatten(inputs), *flatten(targets)))
