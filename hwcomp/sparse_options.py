"""The pattern of sparse weights as the user writes it: "4x1", "1x1" or "2of4", with a density beside it."""

import re

from hwcomp.errors import InputError
from hwcomp.scheme import Sparse

PATTERN = re.compile(
    r"(?P<rows>[1-9]\d{0,3})x(?P<columns>[1-9]\d{0,3})|(?P<kept>[1-9]\d{0,3})of(?P<group>[1-9]\d{0,3})"
)
DEFAULT_PATTERN = "4x1"


def asked_sparse(method: str, pattern: str, density: float | None) -> Sparse:
    """Return the pattern that a method is to reach.

    Args:
        method: its name, for the sentence of an error.
        pattern: output channels x input channels of a block, or kept weights of so many input channels.
        density: share of the weights that stay; a pattern like "2of4" tells it by itself.

    Raises:
        InputError: there is no such pattern, no density, or one that contradicts the pattern.
    """
    match = PATTERN.fullmatch(pattern)
    if match is None or (match["kept"] and int(match["kept"]) > int(match["group"])):
        raise InputError(
            f"There is no pattern '{pattern}' of sparse weights; give a block of output x input channels like 4x1, 1x1 "
            "or 1x4, or weights that stay of a group like 2of4."
        )
    if match["kept"]:
        sparse = Sparse(density=int(match["kept"]) / int(match["group"]), group=int(match["group"]))
        if density is not None and density != sparse.density:
            raise InputError(
                f"The pattern {pattern} keeps {sparse.density:g} of the weights, --density {density:g} asks for "
                "another share; leave --density out."
            )
        return sparse
    if density is None:
        raise InputError(
            f"{method} keeps the share of the weights that you give, no latency decides it; give --density, above 0 "
            "and at most 1."
        )
    return Sparse(rows=int(match["rows"]), columns=int(match["columns"]), density=density)
