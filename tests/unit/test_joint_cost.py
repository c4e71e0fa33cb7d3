"""Widths and precision together: one table, its expectation when both are drawn, and what is kept of it."""

import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hwcomp.cost import CostTable
from hwcomp.errors import InputError
from hwcomp.joint_cost import JointTable
from hwcomp.space import Edge, SearchSpace, Site
from hwcomp.width_law import Polynomial

CHANNELS = {"g": 8, "h": 6, "k": 4}
WIDTHS = {"g": (2, 5, 8), "h": (3, 6)}
SPACE = SearchSpace(
    sites=(
        Site(name="a", op="conv2d", candidates=("float", "int8", "float:0.25+int8")),
        Site(name="b", op="conv2d", candidates=("float", "int8", "int8_float_output")),
        Site(name="c", op="conv2d", candidates=("float", "int8", "float:0.5+int8")),
        Site(name="d", op="softmax"),
    ),
    edges=(
        Edge(tensor="x", elements=10, readers=("a",)),
        Edge(tensor="a", elements=20, readers=("b", "c", "c")),
        Edge(tensor="b", elements=30, readers=("c",)),
        Edge(tensor="c", elements=40, readers=("d", "output")),
    ),
)


@pytest.fixture(scope="module")
def joint() -> JointTable:
    generator = random.Random(0)

    def law() -> Polynomial:
        names = sorted(CHANNELS)
        pairs = itertools.combinations_with_replacement(names, 2)
        return Polynomial(
            constant=generator.uniform(0, 5),
            linear={name: generator.random() for name in names},
            pairs={pair: generator.uniform(0, 0.1) for pair in pairs if generator.random() < 0.7},
        )

    site_laws = {site.name: {c: law() for c in site.candidates} for site in SPACE.sites}
    quantize, dequantize = ({edge.tensor: law() for edge in SPACE.edges} for _ in range(2))
    table = CostTable(
        space=SPACE,
        site_us={site: {c: one(CHANNELS) for c, one in laws.items()} for site, laws in site_laws.items()},
        quantize_us={tensor: one(CHANNELS) for tensor, one in quantize.items()},
        dequantize_us={tensor: one(CHANNELS) for tensor, one in dequantize.items()},
        correction=1.3,
        error=0.03,
        notes=("one",),
    )
    return JointTable(
        table=table,
        channels=CHANNELS,
        site_laws=site_laws,
        quantize_laws=quantize,
        dequantize_laws=dequantize,
        error=0.04,
        networks=22,
        multiple=4,
    )


def assignments() -> Iterator[dict[str, str]]:
    for choice in itertools.product(*(site.candidates for site in SPACE.sites)):
        yield {site.name: c for site, c in zip(SPACE.sites, choice, strict=True)}


def all_widths() -> Iterator[dict[str, int]]:
    for sizes in itertools.product(*WIDTHS.values()):
        yield {"k": 4, **dict(zip(WIDTHS, sizes, strict=True))}


def drawn(seed: int) -> tuple[dict[str, Tensor], dict[str, tuple[tuple[int, ...], Tensor]]]:
    """Return probabilities of the sites with a choice and of two of the three groups."""
    generator = torch.Generator().manual_seed(seed)

    def some(count: int) -> Tensor:
        return torch.randn(count, generator=generator, dtype=torch.float64).softmax(0)

    return (
        {site.name: some(len(site.candidates)) for site in SPACE.free},
        {group: (sizes, some(len(sizes))) for group, sizes in WIDTHS.items()},
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_expectation_is_the_mean_over_everything_that_may_be_drawn(joint: JointTable, seed: int) -> None:
    probabilities, widths = drawn(seed)
    mean = 0.0
    for assignment, sizes in itertools.product(assignments(), all_widths()):
        weight = 1.0
        for site, p in probabilities.items():
            candidates = next(one.candidates for one in SPACE.sites if one.name == site)
            weight *= float(p[candidates.index(assignment[site])])
        for group, (options, p) in widths.items():
            weight *= float(p[options.index(sizes[group])])
        mean += weight * joint.predict_us(assignment, sizes)
    assert float(joint.expected_us(probabilities, widths)) == pytest.approx(mean, rel=1e-9)
    in_single = (
        {site: p.float() for site, p in probabilities.items()},
        {group: (sizes, p.float()) for group, (sizes, p) in widths.items()},
    )
    assert joint.expected_us(*in_single).dtype == torch.float32
    assert float(joint.expected_us(*in_single)) == pytest.approx(mean, rel=1e-5)


def test_the_gradient_is_that_of_finite_differences(joint: JointTable) -> None:
    """Of schemes and widths, also where a probability is zero or one."""
    probabilities, widths = drawn(0)
    probabilities["a"] = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    names, groups = list(probabilities), list(widths)

    def expected_us(*points: Tensor) -> Tensor:
        schemes, sizes = points[: len(names)], points[len(names) :]
        return joint.expected_us(
            dict(zip(names, schemes, strict=True)),
            {group: (WIDTHS[group], p) for group, p in zip(groups, sizes, strict=True)},
        )

    points = [p.clone().requires_grad_() for p in (*probabilities.values(), *(p for _, p in widths.values()))]
    assert torch.autograd.gradcheck(expected_us, points, eps=1e-4, atol=1e-6)


def test_at_full_widths_it_is_the_table(joint: JointTable) -> None:
    probabilities, _ = drawn(1)
    expected_us = float(joint.table.expected_us(probabilities))
    assert float(joint.expected_us(probabilities, {})) == pytest.approx(expected_us, rel=1e-6)
    whole = {group: ((1, width), torch.tensor([0.0, 1.0])) for group, width in CHANNELS.items()}
    assert float(joint.expected_us(probabilities, whole)) == pytest.approx(expected_us, rel=1e-6)
    for assignment in assignments():
        assert joint.predict_us(assignment, {}) == pytest.approx(joint.table.predict_us(assignment))


def test_what_is_not_named_is_float(joint: JointTable) -> None:
    assert float(joint.expected_us({}, {})) == pytest.approx(joint.table.predict_us({}), rel=1e-6)
    one = {"a": torch.tensor([0.0, 1.0, 0.0])}
    assert float(joint.expected_us(one, {})) == pytest.approx(joint.table.predict_us({"a": "int8"}), rel=1e-6)


def test_table_law_and_prediction_agree(joint: JointTable) -> None:
    for assignment, widths in itertools.product(assignments(), all_widths()):
        predicted_us = joint.predict_us(assignment, widths)
        assert joint.at(widths).predict_us(assignment) == pytest.approx(predicted_us)
        assert joint.law(assignment)(widths) == pytest.approx(predicted_us)


def test_the_errors_of_both_add_up(joint: JointTable) -> None:
    assert joint.at({"g": 4}).error == pytest.approx(0.05)


def test_it_can_be_kept(joint: JointTable) -> None:
    assert JointTable.of_json(json.loads(json.dumps(joint.as_json()))) == joint


def test_a_network_without_boundaries_has_an_expectation(joint: JointTable) -> None:
    space = replace(SPACE, edges=())
    alone = replace(joint, table=replace(joint.table, space=space), quantize_laws={}, dequantize_laws={})
    probabilities, widths = drawn(0)
    assert 0 < float(alone.expected_us(probabilities, widths)) < float(joint.expected_us(probabilities, widths))


HALF = torch.tensor([0.5, 0.5])


@pytest.mark.parametrize(
    ("probabilities", "widths", "message"),
    [
        ({"z": HALF}, {}, "Site 'z' is not in the latency table"),
        ({"b": HALF}, {}, r"Site 'b' has 3 candidates; it is given probabilities of shape \(2,\)"),
        ({}, {"z": ((1, 2), HALF)}, "Group 'z' is not in the latency table"),
        ({}, {"g": ((1, 2, 3), HALF)}, r"Group 'g' has 3 widths; it is given probabilities of shape \(2,\)"),
    ],
)
def test_draws_that_do_not_fit_are_refused(joint: JointTable, probabilities, widths, message: str) -> None:
    with pytest.raises(InputError, match=message):
        joint.expected_us(probabilities, widths)


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"z": 1}, "no width group 'z'; take one of: g, h, k"),
        ({"g": 9}, "cannot have 9 channels; give it between 1 and 8"),
        ({"g": 0}, "cannot have 0 channels"),
    ],
)
def test_widths_that_do_not_exist_are_refused(joint: JointTable, widths: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        joint.at(widths)
