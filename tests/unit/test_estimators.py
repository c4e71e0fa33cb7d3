"""Estimators: the mean of each against a closed form, and how much they vary."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hwcomp.estimators import Coefficients, Draw, Estimator, Logits, load_estimator

SITES = ("a", "b", "width:c")
STANDARD_ERRORS = 4


def at(progress: float = 0.0, seed: int = 0) -> Draw:
    return Draw(progress=progress, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def logits() -> dict[str, Tensor]:
    """Three candidates at each of three sites."""
    generator = torch.Generator().manual_seed(3)
    return {site: torch.randn(3, generator=generator, dtype=torch.float64) for site in SITES}


@pytest.fixture
def table() -> Tensor:
    """The loss of each of the 27 networks: no sum of one term per site."""
    return torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64).square() + 1


def of_table(table: Tensor) -> Callable[[Coefficients], Tensor]:
    """The loss of a network of the table for one-hot coefficients, and what lies between them for others."""
    return lambda c: torch.einsum("ijk,i,j,k->", table, *(c[site] for site in SITES))


def mean_gradient(
    estimator: Estimator, loss: Callable[[Coefficients], Tensor], logits: Logits, draw: Draw, count: int
) -> tuple[Tensor, Tensor]:
    """The mean of all sites' gradients over many draws, and its standard error."""
    rows = [torch.cat(list(estimator.gradients(loss, logits, draw)[0].values())) for _ in range(count)]
    return torch.stack(rows).mean(0), torch.stack(rows).std(0) / math.sqrt(count)


def assert_within_errors(mean: Tensor, error: Tensor, expected: Tensor) -> None:
    assert bool((error > 0).all()), "it draws nothing"
    assert bool(((mean - expected).abs() <= STANDARD_ERRORS * error).all()), (mean, error, expected)


@pytest.mark.parametrize("name", ["score_function", "score_function_without_baseline"])
def test_score_functions_are_unbiased_for_any_loss(name: str, logits, table) -> None:
    """The true gradient: that of the mean loss over all 27 networks."""
    leaves = [logits[site].clone().requires_grad_() for site in SITES]
    chances = torch.einsum("i,j,k->ijk", *(leaf.softmax(0) for leaf in leaves))
    expected = torch.cat(torch.autograd.grad((chances * table).sum(), leaves))
    mean, error = mean_gradient(load_estimator(name, samples=4), of_table(table), logits, at(), 2000)
    assert_within_errors(mean, error, expected)
    assert float(expected.abs().max()) > 3 * STANDARD_ERRORS * float(error.max()), "too noisy to tell anything"


def test_score_functions_need_no_derivative_of_the_loss(logits, table) -> None:
    calls = []

    def loss(coefficients: Coefficients) -> Tensor:
        calls.append([int(coefficients[site].argmax()) for site in SITES])
        assert all(sorted(coefficients[site].tolist()) == [0, 0, 1] for site in SITES)
        return table[tuple(calls[-1])]

    gradients, mean = load_estimator("score_function", samples=5).gradients(loss, logits, at())
    assert mean == pytest.approx(float(torch.stack([table[tuple(call)] for call in calls]).mean()))
    assert len(calls) == 5
    assert list(gradients) == list(SITES)


@pytest.mark.parametrize(("name", "mixing"), [("softmax_mixture", "outputs"), ("weight_mixture", "weights")])
def test_mixtures_have_the_derivative_of_the_mixture(name: str, mixing: str, logits) -> None:
    """p_i (l_i - sum_j p_j l_j), for the slopes l of a loss that is not linear."""

    def loss(coefficients: Coefficients) -> Tensor:
        return torch.stack([coefficients[site] @ slopes for site in SITES]).square().sum()

    slopes = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    estimator = load_estimator(name)
    gradients, value = estimator.gradients(loss, logits, at())
    assert estimator.mixing == mixing
    chances = {site: logits[site].softmax(0) for site in SITES}
    assert value == pytest.approx(float(loss(chances)))
    for site, p in chances.items():
        by_p = 2 * (p @ slopes) * slopes
        torch.testing.assert_close(gradients[site], p * (by_p - p @ by_p))


@pytest.mark.parametrize("name", ["softmax_mixture", "weight_mixture", "gumbel"])
def test_one_backward_pass_reaches_the_logits_of_a_relaxation(name: str, logits, table) -> None:
    leaves = {site: logits[site].clone().requires_grad_() for site in SITES}
    estimator = load_estimator(name)
    of_table(table)(estimator.coefficients(leaves, at())).backward()
    gradients, _ = estimator.gradients(of_table(table), logits, at())
    for site in SITES:
        torch.testing.assert_close(leaves[site].grad, gradients[site])


def linear(*losses: float) -> Callable[[Coefficients], Tensor]:
    return lambda c: c["a"] @ torch.tensor(losses, dtype=torch.float64)


def test_two_gates_have_the_true_gradient_of_a_linear_loss() -> None:
    """p_j (l_j - sum_k p_k l_k), without noise: both paths are always compared."""
    logits = {"a": torch.tensor([0.3, -0.5], dtype=torch.float64)}
    losses = torch.tensor([1.0, 3.0], dtype=torch.float64)
    p = logits["a"].softmax(0)
    for seed in range(5):
        gradients, value = load_estimator("binary_gates").gradients(linear(1.0, 3.0), logits, at(seed=seed))
        assert value in {1.0, 3.0}
        torch.testing.assert_close(gradients["a"], p * (losses - p @ losses))


def test_gates_of_more_candidates_weigh_pairs_by_how_often_they_are_drawn() -> None:
    logits = {"a": torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)}
    losses, p = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64), logits["a"].softmax(0)
    expected = torch.zeros(3, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            if i != j:
                often = p[i] * p[j] / (1 - p[i]) + p[i] * p[j] / (1 - p[j])
                expected[i] += often * p[i] * p[j] / (p[i] + p[j]) ** 2 * (losses[i] - losses[j])
    mean, error = mean_gradient(load_estimator("binary_gates"), linear(1.0, 2.0, 4.0), logits, at(), 4000)
    assert_within_errors(mean, error, expected)
    assert float((expected - p * (losses - p @ losses)).abs().max()) > 0.05, "here it is not the true gradient"


def test_gates_compute_two_paths_and_leave_the_other_probabilities() -> None:
    seen = []

    def loss(coefficients: Coefficients) -> Tensor:
        seen.append(coefficients["a"].detach())
        return coefficients["a"] @ torch.tensor([1.0, 5.0, 2.0, 8.0])

    estimator, before = load_estimator("binary_gates"), {"a": torch.tensor([0.5, -0.2, 0.1, 0.4])}
    gradients, value = estimator.gradients(loss, before, at(seed=1))
    assert int((seen[0] != 0).sum()) == 2
    assert float(seen[0].max()) == 1
    assert value in {1.0, 5.0, 2.0, 8.0}
    moved = gradients["a"] != 0
    assert torch.equal(moved, seen[0] != 0)
    unsettled = before["a"] - 3.0 * gradients["a"].sign() * torch.tensor([1.0, 2.0, 3.0, 4.0])
    after = estimator.stepped(before, {"a": unsettled}, gradients)["a"]
    p, q = before["a"].softmax(0), after.softmax(0)
    torch.testing.assert_close(q[~moved], p[~moved])
    assert float((q[moved] - p[moved]).abs().max()) > 0.1
    assert torch.equal(estimator.stepped(before, {"a": unsettled}, {"a": torch.zeros(4)})["a"], unsettled)


def expected_slope(difference: float, temperature: float) -> float:
    """The mean slope of sigmoid((difference + noise) / temperature) over logistic noise, by quadrature."""
    noise = torch.linspace(-60, 60, 400_001, dtype=torch.float64)
    soft = torch.sigmoid((difference + noise) / temperature)
    density = torch.sigmoid(noise) * torch.sigmoid(-noise)
    return float(torch.trapezoid(density * soft * (1 - soft) / temperature, noise))


@pytest.mark.parametrize("progress", [0.0, 0.6, 1.0])
def test_gumbel_has_the_gradient_of_the_soft_draw(progress: float) -> None:
    logits = {"a": torch.tensor([0.7, -0.3], dtype=torch.float64)}
    estimator = load_estimator("gumbel", start=5.0, end=0.5)
    temperature = 5.0 * 0.1**progress
    slope = (1.0 - 3.0) * expected_slope(1.0, temperature)
    mean, error = mean_gradient(estimator, linear(1.0, 3.0), logits, at(progress), 3000)
    assert_within_errors(mean, error, torch.tensor([slope, -slope], dtype=torch.float64))


def test_gumbel_tends_to_the_true_gradient_of_a_linear_loss() -> None:
    p = torch.tensor([0.7, -0.3], dtype=torch.float64).softmax(0)
    true = float(p[0] * p[1])
    assert abs(expected_slope(1.0, 5.0) - true) > 0.5 * true, "biased while the draw is soft"
    assert expected_slope(1.0, 0.01) == pytest.approx(true, rel=1e-3)


def test_gumbel_draws_one_candidate_by_its_probability() -> None:
    draw, logits, estimator = at(0.2), {"a": torch.tensor([1.0, 0.0, -1.0])}, load_estimator("gumbel")
    drawn = torch.stack([estimator.coefficients(logits, draw)["a"] for _ in range(4000)])
    assert bool(((drawn == 0) | (drawn == 1)).all())
    share = drawn.mean(0)
    torch.testing.assert_close(share, logits["a"].softmax(0), atol=0.03, rtol=0)


FILTERS, SAMPLES = 16, 20
"""A layer whose filters share their logits, as many networks per step, three candidates."""

COSTS = torch.tensor([-0.12, 0.0, 0.12], dtype=torch.float64)


def deviation(name: str, count: int) -> tuple[Tensor, float]:
    """The mean gradient by the shared logits over many steps, (3,), and the standard deviation of one step's."""
    generator = torch.Generator().manual_seed(5)
    logits = {f"filter {index}": torch.zeros(3, dtype=torch.float64) for index in range(FILTERS)}

    def loss(coefficients: Coefficients) -> Tensor:
        """About 2, a little lower for cheap candidates, and noisy as that of a batch is."""
        share = torch.stack(list(coefficients.values())).mean(0)
        noise = 0.05 * torch.randn((), generator=generator, dtype=torch.float64)
        return 2 + COSTS @ share + noise

    estimator, draw = load_estimator(name, samples=SAMPLES), at()
    rows = [torch.stack(list(estimator.gradients(loss, logits, draw)[0].values())).sum(0) for _ in range(count)]
    return torch.stack(rows).mean(0), float(torch.stack(rows).std(0).mean())


def test_the_baseline_lowers_the_deviation_tenfold() -> None:
    """On filters drawn from one distribution; the standard deviations are printed with ``pytest -s``."""
    count = 60
    with_baseline, small = deviation("score_function", count)
    without, large = deviation("score_function_without_baseline", count)
    print(f"standard deviation with baseline {small:.4f}, without {large:.4f}, ratio {large / small:.1f}")
    assert large >= 10 * small
    expected = COSTS / 3
    assert bool(((with_baseline - expected).abs() <= STANDARD_ERRORS * small / math.sqrt(count)).all())
    assert bool(((without - expected).abs() <= STANDARD_ERRORS * large / math.sqrt(count)).all())
    assert large > 10 * float(expected.abs().max()), "without it, one step says nothing"
