"""A latency term by its name, or from a user's file, tried once before a search relies on it."""

from typing import Any

import torch
from torch import Tensor

from hwcomp.errors import InputError
from hwcomp.latency_terms._interface import LatencyTerm
from hwcomp.plugin_files import find, make
from hwcomp.workload import located

PACKAGE = "hwcomp.latency_terms"


def load_latency_term(spec: str, **options: Any) -> LatencyTerm:
    """Return a new latency term of a name, or of ``path/to/file.py:Class``.

    It is asked once for a total, so that one that does not keep to the interface is found before the search starts.

    Args:
        spec: the name of a file in ``hwcomp/latency_terms``, or a class (or a function that makes a term) in a file of
            the user's.
        options: fields of the term.

    Raises:
        InputError: there is no such file, class or option, the file cannot be imported, or the trial fails.
    """
    term: LatencyTerm = make("latency term", spec, find(PACKAGE, spec, "TERM"), options)
    try:
        found: Any = term.total(torch.tensor(2.0, requires_grad=True), torch.tensor(1.5, requires_grad=True))
    except Exception as error:
        raise InputError(f"The latency term '{spec}' failed on a trial: {located(error, None)}") from error
    if not isinstance(found, Tensor) or found.numel() != 1 or not bool(torch.isfinite(found)):
        raise InputError(f"The latency term '{spec}' gives {found} as total; give a tensor of one finite number.")
    if not found.requires_grad:
        raise InputError(f"The total of latency term '{spec}' has no gradient; compute it from task and ratio.")
    return term
