"""An importance by its name, or from a user's file, checked each time it is asked."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.groups import WidthGroup
from hwcomp.plugins import load
from hwcomp.workload import execute_file, located

PACKAGE = "hwcomp.importance"


class Score(Protocol):
    """Scores the channels of a width group; those with the smallest scores are removed first."""

    def __call__(self, module: nn.Module, group: WidthGroup, gradients: Mapping[str, Tensor] | None, /) -> Tensor:
        """Return one score per channel, (C,)."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """A function that scores channels, and what it needs.

    Attributes:
        name: for messages and reports.
        score: the function.
        needs_gradients: whether it reads gradients.
    """

    name: str
    score: Score
    needs_gradients: bool = False

    def __call__(self, module: nn.Module, group: WidthGroup, gradients: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the scores of a group's channels, (C,) float32, after checking them.

        Args:
            module: the network, `Program.module`, or a copy of it.
            group: its channels.
            gradients: path of a parameter -> gradient, see `gather_gradients`.

        Raises:
            InputError: gradients are missing, the function fails, or gives something else than C finite numbers.
        """
        if self.needs_gradients and gradients is None:
            raise InputError(f"The importance '{self.name}' needs gradients; give labelled training data.")
        try:
            scores: Any = self.score(module, group, gradients)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"The importance '{self.name}' failed on group '{group.name}': {located(error, None)}"
            ) from error
        problem = _problem(scores, group.channels)
        if problem is not None:
            raise InputError(
                f"The importance '{self.name}' gives {problem} for group '{group.name}'; it must give one finite "
                f"number per channel, a tensor of shape ({group.channels},)."
            )
        checked: Tensor = scores.detach().to(torch.float32)
        return checked


def _problem(scores: Any, channels: int) -> str | None:
    if not isinstance(scores, Tensor):
        return f"a {type(scores).__name__}"
    if scores.shape != (channels,):
        return f"a tensor of shape {tuple(scores.shape)}"
    if scores.is_complex():
        return "complex numbers"
    return None if bool(torch.isfinite(scores).all()) else "NaN or infinity"


def load_importance(spec: str, seed: int = 0) -> Importance:
    """Return the importance of a name, or of ``path/to/file.py:function``.

    Args:
        spec: the name of a file in ``hwcomp/importance``, or a function in a file of the user's.
        seed: for a function with an argument of that name.

    Raises:
        InputError: there is no such file or function, or the file cannot be imported.
    """
    if ".py" in spec:
        path_text, _, name = spec.partition(".py")
        name = name.removeprefix(":")
        function, module = _from_file(Path(f"{path_text}.py"), name)
    else:
        name, function = spec, load(PACKAGE, spec, spec)
        module = inspect.getmodule(function)
    if "seed" in inspect.signature(function).parameters:
        function = partial(function, seed=seed)
    return Importance(name=name, score=function, needs_gradients=bool(getattr(module, "NEEDS_GRADIENTS", False)))


def _from_file(path: Path, name: str) -> tuple[Any, Any]:
    if not path.is_file():
        raise InputError(f"No file '{path}'; give an importance as path/to/file.py:function.")
    module = execute_file(path)
    function = getattr(module, name, None) if name else None
    if not callable(function):
        known = [key for key, value in vars(module).items() if inspect.isfunction(value) and key[0] != "_"]
        wanted = f"has no function '{name}'" if name else "is a file, and the function in it is not named"
        raise InputError(f"{path} {wanted}; give one as {path}:NAME ({', '.join(known) or 'it has none'}).")
    return function, module
