"""Operators that compute with a part of their weights: gradients of weights and scores, and what is always kept."""

import copy

import pytest
import torch
from torch import nn

from hwcomp.choice import Choice
from hwcomp.errors import InputError
from hwcomp.ops import Fused, Normalised
from hwcomp.scheme import Sparse
from hwcomp.sparsity import MIN_KEPT, SparseOperator

HALF = Sparse(density=0.5)


def linear() -> nn.Linear:
    layer = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -2.0, 3.0, -4.0], [0.5, 0.25, -6.0, 7.0]]))
    return layer


def test_it_computes_with_the_masked_weight() -> None:
    layer, x = linear(), torch.randn(3, 4)
    operator = SparseOperator(layer, HALF, min_kept=1)
    expected = torch.tensor([[0.0, 0.0, 3.0, -4.0], [0.0, 0.0, -6.0, 7.0]])
    assert torch.equal(operator.masked_weight(), expected)
    torch.testing.assert_close(operator(x), x @ expected.T)


def test_gradients_follow_the_formulas() -> None:
    layer = linear()
    operator = SparseOperator(layer, HALF, min_kept=1)
    with torch.no_grad():
        operator.scores.copy_(torch.tensor([[-9.0, 8.0, 0.1, -0.2], [7.0, -6.0, 0.3, 0.4]]))
    operator.learn("both")
    mask = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    x, factor = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[5.0, 6.0]])
    output = operator(x)
    torch.testing.assert_close(output, x @ (layer.weight * mask).T)
    (output * factor).sum().backward()
    by_masked = factor.T @ x  # dL / d(W * M)
    torch.testing.assert_close(layer.weight.grad, by_masked * mask)
    torch.testing.assert_close(
        operator.scores.grad, by_masked * layer.weight.detach() * operator.scores.detach().sign()
    )


@pytest.mark.parametrize(("what", "weight", "scores"), [("weights", True, False), ("scores", False, True)])
def test_only_what_is_asked_for_is_trained(what, weight: bool, scores: bool) -> None:
    operator = SparseOperator(linear(), HALF)
    operator.learn(what)
    operator(torch.randn(3, 4)).square().sum().backward()
    assert (operator.weight.grad is not None, operator.scores.grad is not None) == (weight, scores)


def test_the_mask_follows_the_scores_only_while_they_learn() -> None:
    operator = SparseOperator(linear(), HALF, min_kept=1)
    before = operator.mask.clone()
    with torch.no_grad():
        operator.scores.copy_(operator.scores.flip(1))
    assert torch.equal(operator.masked_weight() != 0, before == 1)
    operator.learn("scores")
    assert torch.equal(operator.masked_weight() != 0, before.flip(1) == 1)
    operator.learn("weights")
    assert torch.equal(operator.masked_weight() != 0, before == 1)
    operator.renew()
    assert torch.equal(operator.masked_weight() != 0, before.flip(1) == 1)


def test_scores_start_at_the_weights_or_at_random() -> None:
    conv = nn.Conv2d(6, 50, 3)
    scaled = SparseOperator(conv, HALF).scores
    torch.testing.assert_close(scaled, (6 / 54) ** 0.5 * conv.weight / conv.weight.abs().max())
    drawn = [
        SparseOperator(conv, HALF, initial="kaiming", generator=torch.Generator().manual_seed(seed)).scores
        for seed in (0, 0, 1)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert float(drawn[0].std()) == pytest.approx((2 / 54) ** 0.5, rel=0.05)


def test_a_weight_of_zeros_has_scores_of_zero() -> None:
    conv = nn.Conv2d(4, 4, 3)
    nn.init.zeros_(conv.weight)
    assert torch.equal(SparseOperator(conv, HALF).scores, torch.zeros_like(conv.weight))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(32, 32, 3, groups=32), 32),  # one for each output channel; 1 % would be two
        (nn.Conv2d(8, 4, 3), MIN_KEPT),
        (nn.Linear(3, 2), 6),  # all that there are
        (nn.Conv2d(64, 64, 3), 369),  # enough of them
    ],
)
def test_a_layer_keeps_a_few_weights_whatever_the_density(layer: nn.Module, expected: int) -> None:
    operator = SparseOperator(layer, Sparse(density=0.01))
    assert int(operator.mask.sum()) == expected
    assert operator.is_guarded == (expected < 369)
    operator.renew_by_magnitude(0.01)
    assert int(operator.mask.sum()) == expected


@pytest.mark.parametrize(
    "wrap",
    [
        lambda conv: conv,
        lambda conv: Fused(conv, nn.ReLU()),
        lambda conv: Normalised(conv, nn.BatchNorm2d(8)),
        lambda conv: Fused(Normalised(conv, nn.BatchNorm2d(8)), nn.ReLU()),
        lambda conv: Choice(Fused(conv, nn.ReLU()), ["float", "int8"]),
    ],
)
def test_it_finds_the_layer_in_what_it_is_wrapped_in(wrap) -> None:
    conv = nn.Conv2d(3, 8, 3)
    op = wrap(conv).eval()
    operator, x = SparseOperator(op, Sparse(rows=4, density=0.25)), torch.randn(2, 3, 6, 6)
    zeroed = copy.deepcopy(op)
    with torch.no_grad():
        conv_of_copy = next(part for part in zeroed.modules() if isinstance(part, nn.Conv2d))
        conv_of_copy.weight.mul_(operator.mask)
    assert not operator.training
    torch.testing.assert_close(operator(x), zeroed(x))
    assert torch.equal(conv.weight != 0, torch.ones_like(conv.weight) == 1)


def test_other_layers_are_refused() -> None:
    with pytest.raises(InputError, match="A BatchNorm2d cannot be sparse"):
        SparseOperator(nn.BatchNorm2d(4), HALF)
