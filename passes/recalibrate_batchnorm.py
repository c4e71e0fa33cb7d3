r"""Take the running statistics of BatchNorm anew, from inputs that the network sees as it is now.

After channels were removed, or weights were shared by networks of several widths, the running statistics belong to
another network. With the statistics of batches :math:`1 \dots K`,

.. math:: \mu = \frac{1}{K} \sum_k \mu_k, \quad \sigma^2 = \frac{1}{K} \sum_k \sigma_k^2

Source: [Yu2019]_, Universally slimmable networks and improved training techniques.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hwcomp.errors import InputError
from hwcomp.ops import module_of
from hwcomp.program import Inputs, Note, PassResult, Program, finish, flatten


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RecalibrateBatchnorm:
    """Replace every BatchNorm by one with the same weights and the statistics of the given batches.

    Before: ``x -> batch_norm(mean, var) -> y``; after: ``x -> batch_norm(mean', var') -> y``. While the statistics are
    taken, each BatchNorm normalises by those of its batch, as in training, and all else computes as at inference.

    Attributes:
        batches: inputs as the network's forward takes them; each batch counts the same.
    """

    batches: tuple[Inputs, ...]
    preserves: bool = False

    def __call__(self, program: Program) -> PassResult:
        """Return the program with new statistics; a BatchNorm that keeps none is noted.

        Raises:
            InputError: there are no batches, one does not fit the network, or statistics become NaN or infinite.
        """
        if not self.batches:
            raise InputError("There are no batches to take BatchNorm statistics from; give at least one.")
        shared = {id(weight): weight for weight in program.module.parameters()}
        twin = copy.deepcopy(program.module, shared).eval()
        renewed = {name: norm for name, norm in _norms(twin) if _keeps_statistics(norm)}
        _observe(twin, renewed.values(), self.batches)
        for module, model in zip(twin.modules(), program.module.modules(), strict=True):
            module.training = model.training
        changed = 0
        for name, norm in renewed.items():
            original = program.module.get_submodule(name)
            assert isinstance(original, _BatchNorm)
            _check_finite(name, norm)
            norm.momentum = original.momentum
            changed += not _have_same_statistics(norm, original)
        result, notes = program.fork(), []
        for path, site in _owners(program).items():
            leaf = twin.get_submodule(path)
            result.module.set_submodule(path, leaf)
            if not all(_keeps_statistics(norm) for _, norm in _norms(leaf)):
                notes.append(Note(site=site, reason="BatchNorm not recalibrated: it keeps no running statistics"))
        return PassResult(program=finish(result), changed=changed, notes=tuple(notes))


def _owners(program: Program) -> dict[str, str]:
    """Return the modules of the graph that are a BatchNorm or hold some, each with the node that calls it first."""
    owners: dict[str, str] = {}
    for node in program.nodes:
        module = module_of(node)
        if module is not None and any(_norms(module)):
            owners.setdefault(str(node.target), node.name)
    return owners


def _norms(module: nn.Module) -> list[tuple[str, _BatchNorm]]:
    return [(name, norm) for name, norm in module.named_modules() if isinstance(norm, _BatchNorm)]


def _keeps_statistics(norm: _BatchNorm) -> bool:
    return norm.track_running_stats and norm.running_mean is not None and norm.running_var is not None


def _observe(module: nn.Module, norms: Iterable[_BatchNorm], batches: tuple[Inputs, ...]) -> None:
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # makes torch average over all batches alike
        norm.train()
    for index, batch in enumerate(batches):
        _run(module, batch, index)


def _run(module: nn.Module, batch: Inputs, index: int) -> None:
    try:
        with torch.no_grad():
            module(*flatten(batch))
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"Batch {index} cannot be used to recalibrate BatchNorm: {reason}; give inputs as the network takes them, "
            "several in a batch."
        ) from error


def _statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    return mean, variance


def _have_same_statistics(norm: _BatchNorm, other: _BatchNorm) -> bool:
    return all(torch.equal(a, b) for a, b in zip(_statistics(norm), _statistics(other), strict=True))


def _check_finite(name: str, norm: _BatchNorm) -> None:
    if not all(bool(torch.isfinite(values).all()) for values in _statistics(norm)):
        raise InputError(
            f"The batches make the statistics of BatchNorm '{name}' NaN or infinite; look for such values among the "
            "inputs and the weights."
        )


PASS = RecalibrateBatchnorm
