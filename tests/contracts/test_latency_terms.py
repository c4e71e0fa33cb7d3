"""What every latency term must keep; a new file in the folder is tested without editing this one."""

import dataclasses
import inspect

import pytest
import torch
from torch import Tensor

from hwcomp.latency_terms import LatencyTerm, load_latency_term
from hwcomp.plugins import load, names

TERMS = names("hwcomp.latency_terms")

OPTIONS = {"relative_curve": {"ratios": (0.25, 1.0, 4.0), "losses": (4.0, 2.0, 1.0)}}
"""Of terms that cannot be made without."""

RATIOS = (0.3, 0.9, 1.1, 3.0)


def made(name: str) -> LatencyTerm:
    return load_latency_term(name, **OPTIONS.get(name, {}))


def slopes(term: LatencyTerm, task: float, ratio: float) -> tuple[float, float]:
    """How the total grows with the task's loss and with the latency."""
    values = [torch.tensor(value, requires_grad=True) for value in (task, ratio)]
    found = torch.autograd.grad(term.total(*values), values, materialize_grads=True)
    return float(found[0]), float(found[1])


def test_there_are_latency_terms() -> None:
    assert len(TERMS) >= 5


@pytest.mark.parametrize("name", TERMS)
def test_the_file_holds_a_documented_latency_term(name: str) -> None:
    term = load("hwcomp.latency_terms", name, "TERM")
    assert issubclass(term, LatencyTerm)
    assert term.__name__ == "".join(word.capitalize() for word in name.split("_"))
    assert inspect.getdoc(term)
    assert dataclasses.is_dataclass(term)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("name", TERMS)
def test_a_larger_loss_is_never_better_nor_is_a_larger_latency(name: str, ratio: float) -> None:
    """On either side of the budget, and for losses on either side of 1."""
    for task in (0.2, 2.0, 5.0):
        by_task, by_ratio = slopes(made(name), task, ratio)
        assert by_task > 0
        assert by_ratio >= 0


@pytest.mark.parametrize("name", TERMS)
def test_latency_above_the_budget_is_worse(name: str) -> None:
    assert slopes(made(name), 2.0, 1.5)[1] > 0


@pytest.mark.parametrize("name", TERMS)
def test_the_total_is_one_number_of_the_type_of_the_loss(name: str) -> None:
    for dtype in (torch.float32, torch.float64):
        total = made(name).total(torch.tensor(2.0, dtype=dtype), torch.tensor(1.5, dtype=dtype))
        assert isinstance(total, Tensor)
        assert total.shape == ()
        assert total.dtype == dtype
        assert bool(torch.isfinite(total))


@pytest.mark.parametrize("name", TERMS)
def test_a_restored_term_goes_on_as_the_saved_one(name: str) -> None:
    term, other = made(name), made(name)
    for ratio in RATIOS:
        term.update(ratio, 0.01)
    other.restore(term.state().clone())
    for each in (term, other):
        each.update(1.7, 0.01)
    assert slopes(term, 2.0, 1.2) == slopes(other, 2.0, 1.2)


@pytest.mark.parametrize("name", TERMS)
def test_a_state_does_not_change_with_the_term(name: str) -> None:
    term = made(name)
    state = term.state()
    before = state.clone()
    term.update(2.0, 0.01)
    assert torch.equal(state, before)
