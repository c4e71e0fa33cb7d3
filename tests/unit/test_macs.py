"""Multiply-accumulates: by hand, and as published for slimmed and for softly pruned ResNets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hwcomp import target
from hwcomp.default_passes import default_passes
from hwcomp.macs import PRODUCTS, macs_by_node, macs_of
from hwcomp.program import Program, run_passes
from hwcomp.tracing import trace
from hwcomp.workload import load_workload

EXAMPLE = Path(__file__).parents[2] / "examples" / "cifar10" / "model.py"

SLIMMED = {
    4 / 16: 2_633_728, 5 / 16: 4_080_640, 6 / 16: 5_842_944, 7 / 16: 7_920_640, 8 / 16: 10_313_728,
    9 / 16: 13_022_208, 10 / 16: 16_046_080, 11 / 16: 19_385_344, 12 / 16: 23_040_000, 13 / 16: 27_010_048,
    14 / 16: 31_295_488, 15 / 16: 35_896_320, 1.0: 40_812_544,
}  # fmt: skip
"""Width of all layers -> multiply-accumulates of ResNet-20 with projections, the classifier left out."""

SOFTLY_PRUNED = {(20, 0.3): 42.2, (32, 0.3): 41.5, (56, 0.4): 52.6, (110, 0.3): 40.8}
"""Layers and pruning rate -> per cent of multiply-accumulates saved, as published for soft filter pruning."""


@pytest.fixture(scope="module")
def resnet() -> Callable[..., Program]:
    """Return what traces a ResNet for CIFAR-10."""
    network: Any = type(load_workload(f"{EXAMPLE}:resnet20_scratch").model)
    return lambda *args, **options: trace(network(*args, **options), (torch.zeros(1, 3, 32, 32),))


@pytest.mark.parametrize("width", SLIMMED)
def test_slimmed_resnet_20_has_the_published_count(resnet, width: float) -> None:
    widths = tuple(int(width * channels) for channels in (16, 32, 64))
    assert macs_of(resnet(20, widths)) == SLIMMED[width]


@pytest.mark.parametrize(("layers", "rate"), SOFTLY_PRUNED)
def test_soft_filter_pruning_saves_the_published_share(resnet, layers: int, rate: float) -> None:
    """Filters go from every layer; only inside a block, and in the first one, are inputs gone as well."""
    counts = macs_by_node(resnet(layers, is_padded=True))
    assert len(counts) == layers - 1
    kept = 0.0
    for name, macs in counts.items():
        loses_inputs = name.endswith("conv2") or name == "blocks_0_conv1"
        kept += macs * (1 - rate) ** (2 if loses_inputs else 1)
    assert round(100 * (1 - kept / sum(counts.values())), 1) == SOFTLY_PRUNED[layers, rate]


class Mixed(nn.Module):
    """One of everything that multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2)
        self.depthwise = nn.Conv2d(8, 8, (3, 1), groups=8)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2, bias=False)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(torch.relu(self.depthwise(self.grouped(x))))
        y = self.fc(y.flatten(2).transpose(1, 2))
        return y @ y.transpose(1, 2)


def test_each_kind_is_counted_by_its_formula() -> None:
    program = trace(Mixed(), (torch.zeros(2, 4, 10, 10),))
    grouped, depthwise, up = 2 * (4 * 8 // 2) * 9 * 25, 2 * 8 * 3 * 15, 2 * 8 * 6 * 4 * 15
    assert macs_by_node(program) == {"grouped": grouped, "depthwise": depthwise, "up": up}
    linear, matmul = 2 * 60 * 6 * 5, 2 * 60 * 60 * 5
    assert macs_of(program, PRODUCTS) == grouped + depthwise + up + linear + matmul


def test_passes_and_choices_do_not_change_the_count(make_network) -> None:
    network = make_network("residual")
    program = trace(network.model, network.inputs)
    assert macs_of(run_passes(program, default_passes(target.load("x86_64"))), PRODUCTS) == macs_of(program, PRODUCTS)
    assert macs_of(program) > 0
