"""What every cost model must keep that needs no more than a target, the facts of a program and a number of threads."""

import dataclasses
import itertools
import math
import random
from collections.abc import Callable, Mapping
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from hwcomp import target
from hwcomp.analysis import facts_of
from hwcomp.cost import CostModel, CostTable
from hwcomp.errors import InputError
from hwcomp.kernel import BOUNDARIES, Kernel, Window
from hwcomp.kernels import kernels_of, search_space
from hwcomp.learned_model import LearnedModel
from hwcomp.learning import fit
from hwcomp.passes.fuse_activation import FuseActivation
from hwcomp.passes.insert_quant_choices import InsertQuantChoices
from hwcomp.plugins import load, names
from hwcomp.program import run_passes
from hwcomp.scheme import FLOAT, QUANTS
from hwcomp.store import KernelRow
from hwcomp.target import Target
from hwcomp.tracing import trace
from hwcomp.work import moved_bytes

FIELDS = {"target", "threads", "model", "measured"}
THREADS = 2
ASSIGNMENTS = 20
POINTS = 3

Tabulate = Callable[[nn.Module, Tensor], CostTable]


class Network(nn.Module):
    """A residual block of every class of operator that targets list, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.expand = nn.Conv2d(16, 32, 1)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.project = nn.Conv2d(32, 16, 1)
        self.act = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classify = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 10) of images (N, 3, H, W)."""
        x = self.act(self.stem(x))
        y = self.project(self.act(self.depthwise(torch.sigmoid(self.expand(x)))))
        y = self.pool(self.act(x + y))
        result: Tensor = self.classify(torch.flatten(y, 1))
        return result


def required_fields(name: str) -> set[str]:
    """Return the fields of a cost model that have no default."""
    fields = dataclasses.fields(load("hwcomp.cost_models", name, "COST_MODEL"))
    return {f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING}


def sampled(scheme: str, channels: int, filters: int, side: int, activation: str) -> list[Kernel]:
    """Return convolutions and a linear layer of some size."""
    integers = {} if scheme == FLOAT else {"activation": activation}
    images = {"inputs": ((1, channels, side, side),), "output": (1, filters, side, side)}
    windows = [Window(size=(k, k), stride=(1, 1), padding=(k // 2,) * 2, dilation=(1, 1), groups=1) for k in (1, 3)]
    layer = Kernel(op="linear", scheme=scheme, inputs=((1, channels),), output=(1, filters), **integers)
    return [layer, *(Kernel(op="conv2d", scheme=scheme, window=w, **images, **integers) for w in windows)]


@cache
def fitted(activation: str) -> LearnedModel:
    """Return a model that learned from kernels whose time is their work: what a cost model may need to be given."""
    kernels = [
        kernel
        for scheme, channels, filters, side in itertools.product(
            (FLOAT, *QUANTS), (16, 64, 512), (16, 64, 512), (4, 16)
        )
        for kernel in sampled(scheme, channels, filters, side, activation)
    ]
    for op, channels in itertools.product(BOUNDARIES, (8, 64, 512)):
        shape = (1, channels, 7, 7)
        kernels.append(Kernel(op=op, scheme=activation, activation=activation, inputs=(shape,), output=shape))
    rows = []
    for kernel in {kernel.key: kernel for kernel in kernels}.values():
        us = 2.0 + facts_of(kernel).macs / 20e3 + moved_bytes(kernel) / 10e3
        quantiles = {"median_us": us, "p10_us": us, "p90_us": us}
        rows.append(
            KernelRow(kernel=kernel.key, method="alone", runs=1, date="2026-01-01", provenance="measured", **quantiles)
        )
    return fit(rows, seed=0)


MODELS = [name for name in names("hwcomp.cost_models") if required_fields(name) <= FIELDS]


@pytest.fixture(params=names("hwcomp.targets", ".toml"))
def device(request: pytest.FixtureRequest) -> Target:
    """Give every shipped target in turn."""
    return target.load(request.param)


@pytest.fixture(params=MODELS)
def tabulate(request: pytest.FixtureRequest, device: Target) -> Tabulate:
    """Give every model that needs no more than these fields, as a function of a network and an image for it."""
    make = load("hwcomp.cost_models", request.param, "COST_MODEL")
    accepted = FIELDS & {f.name for f in dataclasses.fields(make)}

    def table(network: nn.Module, image: Tensor) -> CostTable:
        program = run_passes(trace(network, (image,)), [FuseActivation(), InsertQuantChoices(target=device)])
        given = {"target": device, "threads": THREADS, "model": fitted(device.activation), "measured": {}}
        model: CostModel = make(**{name: given[name] for name in accepted})
        try:
            return model.cost_table(search_space(program), kernels_of(program, device.activation))
        except InputError as error:
            pytest.skip(f"has nothing for {device.name}: {error}")

    return table


@pytest.fixture
def table(tabulate: Tabulate) -> CostTable:
    """Return the table of the small network."""
    return tabulate(Network(), torch.zeros(1, 3, 16, 16))


def random_assignment(table: CostTable, generator: random.Random) -> dict[str, str]:
    """Draw a candidate for every site."""
    return {site.name: generator.choice(site.candidates) for site in table.space.sites}


def one_hot(table: CostTable, assignment: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the probabilities that leave no choice."""
    return {
        site.name: torch.tensor([float(c == assignment[site.name]) for c in site.candidates], dtype=torch.float64)
        for site in table.space.sites
    }


def test_there_are_cost_models() -> None:
    """The folder is found, and one model at least needs no device."""
    assert MODELS


def test_everything_has_a_finite_cost(table: CostTable) -> None:
    """Every candidate of every site, and both directions at every tensor; real work costs something."""
    assert table.space.free
    for site in table.space.sites:
        costs_us = table.site_us[site.name]
        assert set(costs_us) == set(site.candidates)
        assert all(0 <= cost_us < math.inf for cost_us in costs_us.values())
        if site.op in ("conv2d", "linear"):
            assert all(cost_us > 0 for cost_us in costs_us.values())
    for edge in table.space.edges:
        for cost_us in (table.quantize_us[edge.tensor], table.dequantize_us[edge.tensor]):
            assert 0 < cost_us < math.inf
    assert 0 < table.correction < math.inf


def test_it_owns_up_to_its_error(table: CostTable) -> None:
    """Only a measurement may claim to be exact."""
    assert table.provenance in ("measured", "simulated", "analytic")
    assert 0 <= table.error < math.inf
    assert table.error > 0 or table.provenance == "measured"


@pytest.mark.parametrize(
    ("kind", "channels"),
    [("conv1x1", 16), ("conv1x1", 256), ("conv3x3", 16), ("conv3x3", 128), ("linear", 64), ("linear", 512)],
)
def test_more_channels_are_never_cheaper(tabulate: Tabulate, kind: str, channels: int) -> None:
    """Neither of the output nor of the input, in no scheme, also where the weights outgrow a small cache."""

    def costs_us(inputs: int, outputs: int) -> Mapping[str, float]:
        if kind == "linear":
            table = tabulate(nn.Sequential(nn.Linear(inputs, outputs)), torch.zeros(1, inputs))
        else:
            window = int(kind[-1])
            layer = nn.Conv2d(inputs, outputs, window, padding=window // 2)
            table = tabulate(nn.Sequential(layer), torch.zeros(1, inputs, 7, 7))
        (costs,) = table.site_us.values()
        return costs

    narrow_us, more_in_us, more_out_us = (costs_us(i * channels, o * channels) for i, o in ((1, 1), (2, 1), (1, 2)))
    assert len(narrow_us) > 1
    for choice, cost_us in narrow_us.items():
        assert more_in_us[choice] >= cost_us
        assert more_out_us[choice] >= cost_us


def test_expectation_without_chance_is_the_prediction(table: CostTable) -> None:
    """At one-hot probabilities the relaxed latency is that of the assignment."""
    generator = random.Random(0)
    for _ in range(ASSIGNMENTS):
        assignment = random_assignment(table, generator)
        expected_us = float(table.expected_us(one_hot(table, assignment)))
        assert expected_us == pytest.approx(table.predict_us(assignment), rel=1e-5)


def test_float_everywhere_is_the_sum_of_sites(table: CostTable) -> None:
    """Without integers there are no boundaries to pay for."""
    total_us = sum(costs_us[FLOAT] for costs_us in table.site_us.values())
    assert table.predict_us({}) == pytest.approx(table.correction * total_us)


def test_gradient_is_that_of_finite_differences(table: CostTable) -> None:
    """Of the expected latency with respect to every probability, at a few random points."""
    generator = torch.Generator().manual_seed(0)
    sites = table.space.free

    def expected_us(*points: Tensor) -> Tensor:
        fixed = one_hot(table, table.space.complete({}))
        return table.expected_us(fixed | {site.name: p for site, p in zip(sites, points, strict=True)})

    for _ in range(POINTS):
        logits = [torch.randn(len(site.candidates), generator=generator, dtype=torch.float64) for site in sites]
        points = [logit.softmax(0).requires_grad_() for logit in logits]
        gradients = torch.autograd.grad(expected_us(*points), points)
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)
        assert torch.autograd.gradcheck(expected_us, points, eps=1e-4, atol=1e-5, rtol=1e-4)
