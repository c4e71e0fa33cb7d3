"""Latency terms: where descent ends, what they add up to, and what is refused."""

import math
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hwcomp.errors import InputError
from hwcomp.estimators import Draw, load_estimator
from hwcomp.latency_terms import LatencyTerm, load_latency_term, total_gradients

BUDGETS = (0.25, 0.5, 0.8)


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def descend(term: LatencyTerm, budget: float, steps: int = 1500) -> float:
    """The latency at which descent ends; the task's loss is 1 / latency, so it always pays to be slower."""
    size = number(0.0)
    for _ in range(steps):
        latency = size.exp()
        ratio = latency / budget
        (slope,) = torch.autograd.grad(term.total(1 / latency, ratio), size)
        size = (size.detach() - 0.05 * slope).requires_grad_()
        term.update(ratio.item(), 1 / steps)
    return math.exp(size.item())


@pytest.mark.parametrize("multiplier", [0.0, 1.0, 8.0])
@pytest.mark.parametrize("budget", BUDGETS)
def test_the_lagrangian_ends_at_the_budget(budget: float, multiplier: float) -> None:
    """The multiplier ends at what the budget costs: minus the slope of 1 / x at B, times B."""
    term = load_latency_term("lagrangian", rate=75.0, multiplier=multiplier)
    assert descend(term, budget) == pytest.approx(budget, rel=0.01)
    assert float(term.state()) == pytest.approx(1 / budget, rel=0.05)


def test_the_lagrangian_does_nothing_where_the_budget_does_not_bind() -> None:
    """The best latency is 1 without any budget; a budget of 2 must not move it, whatever the multiplier was."""
    term, size = load_latency_term("lagrangian", rate=75.0, multiplier=1.0), number(0.0)
    for _ in range(1500):
        latency = size.exp()
        (slope,) = torch.autograd.grad(term.total((latency - 1).square(), latency / 2), size)
        size = (size.detach() - 0.05 * slope).requires_grad_()
        term.update(latency.item() / 2, 1 / 1500)
    assert float(term.state()) == 0
    assert math.exp(size.item()) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ratio_penalty", {}),
        ("add_linear", {}),
        ("log_ratio", {}),
        ("relative_curve", {"ratios": (0.5, 1.0, 2.0), "losses": (3.0, 1.5, 1.0)}),
    ],
)
def test_a_fixed_weight_misses_the_budget(name: str, options: dict) -> None:
    """Why there is a multiplier: one weight that were right for one budget is wrong for the next."""
    missed = [abs(descend(load_latency_term(name, **options), budget) / budget - 1) for budget in BUDGETS]
    assert max(missed) > 0.1


@pytest.mark.parametrize(("weight", "budget"), [(1.0, 0.25), (4.0, 0.5)])
def test_the_penalty_ends_where_its_weight_says(weight: float, budget: float) -> None:
    """1 / x + w (x / B)^2 is least at the cube root of B^2 / 2 w."""
    end = descend(load_latency_term("ratio_penalty", weight=weight), budget)
    assert end == pytest.approx((budget**2 / (2 * weight)) ** (1 / 3), rel=0.01)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("lagrangian", {"multiplier": 0.5, "curvature": 2.0}, 3.0 + 0.5 * 0.25 + 0.0625),
        ("ratio_penalty", {"weight": 2.0}, 3.0 + 2 * 1.25**2),
        ("add_linear", {"weight": 2.0}, 3.0 + 0.5),
        ("log_ratio", {"exponent": 0.5}, 3.0 * 1.25**0.5),
        ("relative_curve", {"ratios": (1.0, 2.0), "losses": (2.0, 1.0)}, 0.1 + (3.0 - 1.75) / 1.75),
    ],
)
def test_totals_are_the_formulas(name: str, options: dict, expected: float) -> None:
    """A loss of 3 at 1.25 budgets."""
    assert load_latency_term(name, **options).total(number(3.0), number(1.25)).item() == pytest.approx(expected)


def test_the_multiplier_is_saved_and_restored() -> None:
    term, other = load_latency_term("lagrangian", rate=0.5), load_latency_term("lagrangian", rate=0.5)
    term.update(1.8, 1.0)
    other.restore(term.state())
    assert float(other.state()) == pytest.approx(0.4)
    other.update(0.1, 1.0)
    assert float(other.state()) == 0, "it is never negative"
    for wrong in (torch.tensor([-1.0]), torch.tensor([math.nan]), torch.zeros(0), torch.zeros(2)):
        with pytest.raises(InputError, match="one multiplier, 0 or positive; found"):
            term.restore(wrong)


def test_the_curve_is_linear_between_points_and_constant_beyond() -> None:
    term = load_latency_term("relative_curve", ratios=(0.5, 1.0, 2.0), losses=(3.0, 1.5, 1.0))
    for ratio, expected in ((0.1, 3.0), (0.5, 3.0), (0.75, 2.25), (1.0, 1.5), (1.5, 1.25), (2.0, 1.0), (9.0, 1.0)):
        assert term.curve(number(ratio)).item() == pytest.approx(expected)
        on_the_curve = term.total(number(expected), number(ratio))
        assert on_the_curve.item() == pytest.approx(0.1)
    below, above = term.total(number(0.75), number(1.0)), term.total(number(3.0), number(1.0))
    assert below.item() == pytest.approx(0.1 - 0.1 * 0.5)
    assert above.item() == pytest.approx(0.1 + 1.0)
    ratio = number(1.5)
    (slope,) = torch.autograd.grad(term.total(number(2.0), ratio), ratio)
    assert float(slope) == pytest.approx(2.0 / 1.25**2 * 0.5), "slower networks are compared with better ones"


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_the_product_does_not_depend_on_the_unit_of_latency(unit: float) -> None:
    """Logarithms of a latency below one unit would reward what is slower."""
    task, ratio = number(2.0), (number(0.5) * unit) / (0.8 * unit)
    by_task, by_ratio = torch.autograd.grad(load_latency_term("log_ratio").total(task, ratio), [task, ratio])
    assert float(by_task) == pytest.approx(0.625**0.6)
    assert float(by_ratio) == pytest.approx(2 * 0.6 * 0.625**-0.4)


def test_gradients_of_task_and_latency_join_by_the_chain_rule() -> None:
    """For an exact estimator they are the gradient of the total."""
    logits = {"a": torch.tensor([0.2, -0.1, 0.4]), "width:b": torch.tensor([0.0, 1.0])}
    costs = {"a": torch.tensor([1.0, 2.0, 4.0]), "width:b": torch.tensor([0.5, 1.0])}

    def ratio(chances: dict[str, Tensor]) -> Tensor:
        return (chances["a"] @ costs["a"]) * (chances["width:b"] @ costs["width:b"]) / 1.5

    def loss(c: dict[str, Tensor]) -> Tensor:
        return 1 / (c["a"] @ costs["a"]) + c["width:b"].square().sum()

    draw = Draw(progress=0.0, generator=torch.Generator())
    for name, options in (("log_ratio", {}), ("lagrangian", {"multiplier": 0.7})):
        term = load_latency_term(name, **options)
        found, mean = load_estimator("weight_mixture").gradients(loss, logits, draw)
        joined, value = total_gradients(term, found, mean, logits, ratio)
        leaves = {site: tensor.clone().requires_grad_() for site, tensor in logits.items()}
        chances = {site: leaf.softmax(0) for site, leaf in leaves.items()}
        term.total(loss(chances), ratio(chances)).backward()
        assert value == pytest.approx(ratio(chances).item())
        for site, leaf in leaves.items():
            torch.testing.assert_close(joined[site], leaf.grad)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("lagrange", {}, "did you mean lagrangian?"),
        ("lagrangian", {"lambda_": 1.0}, "its options: rate, curvature, multiplier"),
        ("lagrangian", {"rate": 0.0}, "option 'rate' of latency term 'lagrangian' is 0.0; give a positive"),
        ("lagrangian", {"multiplier": -1.0}, "multiplier of 'lagrangian' is -1.0"),
        ("ratio_penalty", {"weight": -1.0}, "option 'weight' of latency term 'ratio_penalty' is -1.0"),
        ("log_ratio", {"exponent": math.inf}, "option 'exponent' of latency term 'log_ratio' is inf"),
        ("relative_curve", {}, "'relative_curve': missing a required"),
        ("relative_curve", {"ratios": (1.0,), "losses": (1.0,)}, "has 1 ratios and 1 losses; give two points"),
        ("relative_curve", {"ratios": (1.0, 0.5), "losses": (1.0, 2.0)}, "give them ascending, above 0"),
        ("relative_curve", {"ratios": (0.5, 1.0), "losses": (0.0, 2.0)}, "give positive numbers"),
    ],
)
def test_what_cannot_be_loaded_is_told(spec: str, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        load_latency_term(spec, **options)


def test_the_product_needs_a_positive_latency() -> None:
    with pytest.raises(InputError, match="is 0 budgets; 'log_ratio' needs more"):
        load_latency_term("log_ratio").total(number(1.0), number(0.0))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("task.detach()", "has no gradient; compute it"),
        ("task.item()", "gives 2.0 as total"),
        ("task / 0", "of one finite number"),
        ("task + other", "failed on a trial: NameError: name 'other'"),
    ],
)
def test_one_that_does_not_keep_to_the_interface_is_told(tmp_path: Path, result: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from hwcomp.latency_terms import LatencyTerm\n"
        f"class Mine(LatencyTerm):\n    def total(self, task, ratio):\n        return {result}\n"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        load_latency_term(f"{path}:Mine")


def test_a_term_without_state_takes_none(tmp_path: Path) -> None:
    term = load_latency_term("add_linear")
    term.restore(term.state())
    with pytest.raises(InputError, match=r"AddLinear has shape \(0,\), found \(1,\); it was saved by another"):
        term.restore(torch.zeros(1))
