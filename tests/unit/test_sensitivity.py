"""What each rounding does to the outputs, one at a time."""

import torch
from torch import Tensor, nn

from hwcomp import target
from hwcomp.calibration import activation_ranges, observe
from hwcomp.default_passes import default_passes
from hwcomp.program import run_passes
from hwcomp.search.knapsack import Sensitivity
from hwcomp.search.sensitivity import sensitivity
from hwcomp.tracing import trace


class Net(nn.Module):
    def __init__(self, *, inplace: bool) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.act = nn.Hardswish(inplace=inplace)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.act(self.b(self.act(self.a(x))) + x))


def measured(*, inplace: bool, scale: float = 1.0) -> Sensitivity:
    torch.manual_seed(0)
    model, x = Net(inplace=inplace).eval(), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        model.c.weight.mul_(scale)
        model.c.bias.mul_(scale)
    program = run_passes(trace(model, (x,)), default_passes(target.load("x86_64")))
    seen = observe(program, [(x,)])
    return sensitivity(program, [(x,)], activation_ranges(program, seen, "minmax", "uint8"), seen)


def test_activations_that_overwrite_their_input_change_nothing() -> None:
    """Most published networks have them; what lies behind a changed node is computed from kept values."""
    assert measured(inplace=True) == measured(inplace=False)


def test_distances_are_small_positive_and_relative() -> None:
    one, scaled = measured(inplace=False), measured(inplace=False, scale=1024.0)
    for name, distance in one.tensors.items():
        assert 0 < distance < 1e-3
        assert abs(scaled.tensors[name] / distance - 1) < 1e-3
    assert all(0 < value < 1e-3 for by_scheme in one.weights.values() for value in by_scheme.values())
