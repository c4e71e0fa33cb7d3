"""What every importance must keep; a new file in the folder is tested without editing this one."""

import copy
import importlib
import inspect
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from hwcomp.compaction import zero_channels
from hwcomp.errors import InputError
from hwcomp.groups import Groups, WidthGroup, width_groups
from hwcomp.importance import gather_gradients, load_importance
from hwcomp.plugins import names
from hwcomp.program import Program
from hwcomp.tracing import trace

IMPORTANCES = names("hwcomp.importance")
IS_RANDOM = {name: "seed" in inspect.signature(load_importance(name).score).parameters for name in IMPORTANCES}


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean()


def gradients_of(program: Program) -> dict[str, Tensor]:
    inputs = program.example_inputs
    targets = torch.randn_like(program.module(*inputs))
    return gather_gradients(program.module, [(inputs, targets)], loss)


def scored(name: str, program: Program, groups: Groups) -> Iterator[tuple[WidthGroup, Tensor]]:
    """The groups that an importance can score, with their scores; where it cannot it must say so."""
    importance, gradients = load_importance(name, seed=1), gradients_of(program)
    for group in groups.groups:
        try:
            scores = importance(program.module, group, gradients if importance.needs_gradients else None)
        except InputError as error:
            assert group.name in str(error)  # noqa: PT017 - only some groups are refused
            continue
        yield group, scores


def test_there_are_importances() -> None:
    assert IMPORTANCES
    assert any(IS_RANDOM.values()), "without a control nothing is known to be worth its time"


@pytest.mark.parametrize("name", IMPORTANCES)
def test_the_file_holds_a_documented_function_of_its_name(name: str) -> None:
    function = getattr(importlib.import_module(f"hwcomp.importance.{name}"), name)
    assert inspect.isfunction(function)
    assert function.__doc__


@pytest.mark.parametrize("name", IMPORTANCES)
def test_scores_are_one_number_per_channel_and_the_same_each_time(name: str, network) -> None:
    program = trace(network.model, network.inputs)
    groups = width_groups(program)
    assert groups.groups
    before = copy.deepcopy(program.module.state_dict())
    torch.manual_seed(0)
    first = list(scored(name, program, groups))
    torch.manual_seed(0)
    second = list(scored(name, program, groups))
    for (group, scores), (_, again) in zip(first, second, strict=True):
        assert scores.shape == (group.channels,)
        assert scores.dtype == torch.float32
        assert bool(torch.isfinite(scores).all())
        assert bool((scores >= 0).all())
        assert torch.equal(scores, again)
    assert all(torch.equal(value, before[key]) for key, value in program.module.state_dict().items())


@pytest.mark.parametrize("name", [name for name in IMPORTANCES if not IS_RANDOM[name]])
def test_a_channel_that_is_zero_matters_least(name: str, network) -> None:
    program = trace(network.model, network.inputs)
    groups = width_groups(program)
    last = {group.name: [group.channels - 1] for group in groups.groups}
    zero_channels(program.module, groups, last)
    for _, scores in scored(name, program, groups):
        assert scores[-1] == 0
        # a channel that a ReLU closes on all data may be worth nothing as well
        assert bool((scores[:-1] > 0).all()) or load_importance(name).needs_gradients


@pytest.mark.parametrize("name", IMPORTANCES)
def test_every_importance_scores_something(name: str, make_network) -> None:
    network = make_network("residual")
    program = trace(network.model, network.inputs)
    assert list(scored(name, program, width_groups(program)))
