"""An estimator by its name, or from a user's file, tried once before a search relies on it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hwcomp.errors import InputError
from hwcomp.estimators._interface import Coefficients, Draw, Estimator
from hwcomp.plugin_files import find, make
from hwcomp.workload import located

PACKAGE = "hwcomp.estimators"

TRIAL = {"trial": torch.zeros(3), "width:trial": torch.zeros(2)}
"""Logits that every estimator is tried with."""


def load_estimator(spec: str, **options: Any) -> Estimator:
    """Return the estimator of a name, or of ``path/to/file.py:Class``.

    It is asked once for coefficients and gradients of two sites, so that one that does not keep to the interface is
    found before the search starts.

    Args:
        spec: the name of a file in ``hwcomp/estimators``, or a class (or a function that makes an estimator) in a file
            of the user's.
        options: fields of the estimator.

    Raises:
        InputError: there is no such file, class or option, the file cannot be imported, or the trial fails.
    """
    made = make("estimator", spec, find(PACKAGE, spec, "ESTIMATOR"), options)
    if getattr(made, "mixing", None) not in {"outputs", "weights"}:
        raise InputError(f"The estimator '{spec}' does not say how sites mix; set mixing to 'outputs' or 'weights'.")
    estimator: Estimator = made
    try:
        _try(spec, estimator)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"The estimator '{spec}' failed on a trial of two sites: {located(error, None)}") from error
    return estimator


def _try(spec: str, estimator: Estimator) -> None:
    draw = Draw(progress=0.5, generator=torch.Generator().manual_seed(0))
    _check(spec, "coefficients", estimator.coefficients(TRIAL, draw))
    gradients, mean = estimator.gradients(_squares, TRIAL, draw)
    _check(spec, "gradients", gradients)
    if not isinstance(mean, float):
        raise InputError(f"The estimator '{spec}' gives a {type(mean).__name__} for the mean loss; give a float.")


def _check(spec: str, what: str, found: Mapping[str, Tensor]) -> None:
    for site, logits in TRIAL.items():
        tensor = found.get(site)
        if tensor is None or tensor.shape != logits.shape or not bool(torch.isfinite(tensor).all()):
            text = "nothing" if tensor is None else f"{tensor.tolist()}"
            raise InputError(
                f"The {what} of estimator '{spec}' are {text} for a site of {len(logits)} candidates; "
                "give one finite number per candidate."
            )


def _squares(coefficients: Coefficients) -> Tensor:
    return torch.stack([tensor.square().sum() for tensor in coefficients.values()]).sum()
