"""Second order: the gradient through one step of the weights is that of automatic differentiation."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from hwcomp.estimators import Draw, load_estimator
from hwcomp.search.unrolled import Unrolled, again

EXACT = torch.float64
NAMES = ("a", "b")
RATE, DECAY = 0.3, 0.1


def number(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=EXACT)


LOGITS = {"a": number(3, seed=1), "b": number(2, seed=2)}
PULL, MIX = number(4, 5, seed=3), number(4, 5, seed=4)
GOAL, COST = number(4, seed=5), number(5, seed=6)


def joined(coefficients: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([coefficients[name] for name in NAMES])


def train_loss(w: Tensor, coefficients: Mapping[str, Tensor]) -> Tensor:
    """Quadratic in the weights, whose optimum depends on the choices; and a term that both share."""
    c = joined(coefficients)
    return 0.5 * (w - PULL @ c).square().sum() + w @ MIX @ c


def held_loss(w: Tensor, coefficients: Mapping[str, Tensor]) -> Tensor:
    c = joined(coefficients)
    return 0.5 * (w - GOAL).square().sum() + COST @ c + 0.2 * w @ MIX @ c


def draw() -> Draw:
    return Draw(progress=0.3, generator=torch.Generator().manual_seed(11))


def weights() -> Tensor:
    return number(4, seed=7).requires_grad_()


@pytest.mark.parametrize("name", ["weight_mixture", "softmax_mixture", "gumbel"])
def test_it_is_the_gradient_through_a_step(name: str) -> None:
    """Of losses that are quadratic in the weights, for which central differences are exact."""
    estimator, w = load_estimator(name), weights()
    leaves = {site: x.clone().requires_grad_() for site, x in LOGITS.items()}
    coefficients = estimator.coefficients(leaves, draw())
    (by_weights,) = torch.autograd.grad(train_loss(w, coefficients), w, create_graph=True)
    value = held_loss(w - RATE * (by_weights + DECAY * w), coefficients)
    expected = torch.autograd.grad(value, list(leaves.values()))

    unrolled = Unrolled(weights=[w], rate=RATE, weight_decay=DECAY)
    found, mean = unrolled.gradients(estimator, lambda c: train_loss(w, c), lambda c: held_loss(w, c), LOGITS, draw())
    assert mean == pytest.approx(value.item())
    for site, by_logits in zip(leaves, expected, strict=True):
        torch.testing.assert_close(found[site], by_logits, rtol=1e-6, atol=1e-9)
    first, _ = estimator.gradients(lambda c: held_loss(w, c), LOGITS, draw())
    assert not torch.allclose(found["a"], first["a"], rtol=0.05)


def test_it_is_the_slope_of_finite_differences() -> None:
    """Of the held-out loss after a step, by every logit."""
    estimator, w = load_estimator("weight_mixture"), weights()

    def after_a_step(flat: Tensor) -> float:
        c = estimator.coefficients({"a": flat[:3], "b": flat[3:]}, draw())
        (by_weights,) = torch.autograd.grad(train_loss(w, c), w)
        return float(held_loss(w.detach() - RATE * (by_weights + DECAY * w.detach()), c))

    unrolled = Unrolled(weights=[w], rate=RATE, weight_decay=DECAY)
    found, _ = unrolled.gradients(estimator, lambda c: train_loss(w, c), lambda c: held_loss(w, c), LOGITS, draw())
    flat, steps = joined(LOGITS), 1e-5 * torch.eye(5, dtype=EXACT)
    slopes = [(after_a_step(flat + step) - after_a_step(flat - step)) / 2e-5 for step in steps]
    torch.testing.assert_close(joined(found), torch.tensor(slopes, dtype=EXACT), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["weight_mixture", "gumbel", "binary_gates", "score_function"])
def test_weights_are_put_back_and_their_gradients_left_alone(name: str) -> None:
    w, unused = weights(), torch.ones(2, dtype=EXACT, requires_grad=True)
    before = w.detach().clone()
    unrolled = Unrolled(weights=[w, unused], rate=RATE, weight_decay=DECAY)
    found, _ = unrolled.gradients(
        load_estimator(name), lambda c: train_loss(w, c), lambda c: held_loss(w, c), LOGITS, draw()
    )
    assert torch.equal(w, before)
    assert torch.equal(unused, torch.ones(2, dtype=EXACT))
    assert w.grad is None
    assert all(bool(torch.isfinite(x).all()) and not x.requires_grad for x in found.values())


def test_weights_are_put_back_after_an_error() -> None:
    w, before = weights(), weights().detach()

    def broken(coefficients: Mapping[str, Tensor]) -> Tensor:
        raise ArithmeticError

    unrolled = Unrolled(weights=[w], rate=RATE, weight_decay=DECAY)
    with pytest.raises(ArithmeticError):
        unrolled.gradients(load_estimator("weight_mixture"), lambda c: train_loss(w, c), broken, LOGITS, draw())
    assert torch.equal(w, before)


def test_a_held_out_loss_that_no_weight_changes_has_its_first_order_gradient() -> None:
    w, estimator = weights(), load_estimator("weight_mixture")
    unrolled = Unrolled(weights=[w], rate=RATE, weight_decay=0.0)

    def held(coefficients: Mapping[str, Tensor]) -> Tensor:
        return COST @ joined(coefficients) + 0 * w.sum()

    found, _ = unrolled.gradients(estimator, lambda c: train_loss(w, c), held, LOGITS, draw())
    first, _ = estimator.gradients(held, LOGITS, draw())
    torch.testing.assert_close(joined(found), joined(first))


def test_a_repeated_draw_gives_the_same_numbers() -> None:
    one = draw()
    torch.rand(3, generator=one.generator)
    other = again(one)
    assert other.progress == one.progress
    assert torch.equal(torch.rand(4, generator=other.generator), torch.rand(4, generator=one.generator))
