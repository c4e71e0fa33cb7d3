"""Checks of the options of latency terms."""

import math

from hwcomp.errors import InputError


def check_positive(term: str, **options: float) -> None:
    """Raise InputError if an option is not a positive number."""
    for name, value in options.items():
        if not 0 < value < math.inf:
            raise InputError(f"The option '{name}' of latency term '{term}' is {value}; give a positive number.")
