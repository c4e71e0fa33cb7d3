"""The learned model must find a law again that its samples follow, and never claim to know more than it does."""

import itertools
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hwcomp.analysis import facts_of
from hwcomp.cost_models.learned import Learned, LearnedModel, fit, worst_families
from hwcomp.errors import InputError
from hwcomp.kernel import BOUNDARIES, Kernel, Kernels, Window
from hwcomp.provenance import Provenance
from hwcomp.sampling import KINDS
from hwcomp.space import Edge, SearchSpace, Site
from hwcomp.store import KernelRow
from hwcomp.trees import fit_trees
from hwcomp.work import moved_bytes

SCHEMES = ("float", "int8")
NOISE = 0.03


def convolution(channels: int, filters: int, side: int, size: int = 1, scheme: str = "float") -> Kernel:
    window = Window(size=(size, size), stride=(1, 1), padding=(size // 2,) * 2, dilation=(1, 1), groups=1)
    shapes = {"inputs": ((1, channels, side, side),), "output": (1, filters, side, side)}
    return Kernel(op="conv2d", scheme=scheme, activation="" if scheme == "float" else "uint8", window=window, **shapes)


def linear(channels: int, filters: int, scheme: str = "float") -> Kernel:
    activation = "" if scheme == "float" else "uint8"
    return Kernel(op="linear", scheme=scheme, activation=activation, inputs=((1, channels),), output=(1, filters))


def conversion(op: str, channels: int, side: int) -> Kernel:
    shape = (1, channels, side, side)
    return Kernel(op=op, scheme="uint8", activation="uint8", inputs=(shape,), output=shape)


def law_us(kernel: Kernel) -> float:
    """A device that computes 16 filters at once, whether there are 16 or not."""
    filters = kernel.output[1] if kernel.output else 1
    wasted = -(-filters // 16) * 16 / filters
    rate = 60e3 if kernel.scheme == "int8" else 20e3
    return 2.0 + facts_of(kernel).macs * wasted / rate + moved_bytes(kernel) / 10e3


def samples(count: int, seed: int) -> list[Kernel]:
    """Draw different kernels, at least ``count``."""
    draw = random.Random(seed)
    found: dict[str, Kernel] = {}
    while len(found) < count:
        channels, filters, side = (round(2 ** draw.uniform(*ends)) for ends in ((3, 9), (3, 9), (2, 6)))
        drawn = [convolution(channels, filters, side, draw.choice((1, 3)), scheme) for scheme in SCHEMES]
        drawn += [linear(channels, filters, scheme) for scheme in SCHEMES]
        drawn += [conversion(op, channels, side) for op in BOUNDARIES]
        found |= {kernel.key: kernel for kernel in drawn}
    return list(found.values())


def row(kernel: Kernel | str, us: float, provenance: Provenance = "measured") -> KernelRow:
    key = kernel if isinstance(kernel, str) else kernel.key
    quantiles = {"median_us": us, "p10_us": us, "p90_us": us}
    return KernelRow(kernel=key, method="alone", runs=3, date="2026-01-01", provenance=provenance, **quantiles)


def noisy_rows(kernels: list[Kernel], seed: int = 0) -> list[KernelRow]:
    draw = random.Random(seed)
    return [row(kernel, law_us(kernel) * draw.lognormvariate(0, NOISE)) for kernel in kernels]


@pytest.fixture(scope="module")
def model() -> LearnedModel:
    return fit(noisy_rows(samples(600, seed=1)), seed=0, setting="a device")


def test_unseen_kernels_follow_the_law_again(model: LearnedModel) -> None:
    """With the step of the vector width; and the error that the model states is the one it has."""
    unseen = samples(200, seed=2)
    errors = np.abs([model.predict_us(kernel) / law_us(kernel) - 1 for kernel in unseen])
    assert np.quantile(errors, 0.9) < 0.1
    assert model.held_out_within_10 > 0.85
    assert model.held_out_within_25 >= model.held_out_within_10
    assert 0.5 < model.kfold_error / model.held_out_error < 2
    assert np.mean(errors) < model.held_out_error + NOISE
    full, one_more = (model.predict_us(convolution(256, filters, 28)) for filters in (64, 65))
    assert one_more / full == pytest.approx(
        law_us(convolution(256, 65, 28)) / law_us(convolution(256, 64, 28)), rel=0.1
    )


def test_noise_is_owned_up_to(model: LearnedModel) -> None:
    """Twice the kernels at random times: the stated error grows with what cannot be known."""
    draw = random.Random(3)
    rows = [row(kernel, law_us(kernel) * draw.lognormvariate(0, 0.5)) for kernel in samples(600, seed=1)]
    wild = fit(rows, seed=0)
    assert wild.held_out_error > 0.3
    assert wild.kfold_error > 0.3
    assert wild.held_out_within_10 < 0.4


def test_fused_and_disturbed_kernels_do_not_bend_the_law() -> None:
    """Of twenty rows one took no time at all, because the runtime fused it; three were disturbed."""
    rows = noisy_rows(samples(600, seed=1))
    for start, factor in ((0, 1e-6), (7, 100.0), (13, 3.0), (16, 3.0)):
        for index in range(start, len(rows), 20):
            rows[index] = row(rows[index].kernel, factor * rows[index].median_us)
    bent = fit(rows, seed=0)
    errors = np.abs([bent.predict_us(kernel) / law_us(kernel) - 1 for kernel in samples(200, seed=2)])
    assert np.median(errors) < 0.15
    # where no tree was fitted the law stands alone
    far = convolution(64, 64, 512)
    assert bent.predict_us(far) == pytest.approx(law_us(far), rel=0.05)


def test_the_same_rows_and_seed_give_the_same_model(model: LearnedModel) -> None:
    again = json.loads(fit(noisy_rows(samples(600, seed=1)), seed=0, setting="a device").to_json())
    kept = json.loads(model.to_json())
    assert {**again, "date": ""} == {**kept, "date": ""}


def test_json_keeps_every_prediction(model: LearnedModel) -> None:
    text = model.to_json()
    read = LearnedModel.from_json(text)
    kernels = [*samples(100, seed=4), convolution(1, 3, 1, 7), linear(5000, 5000)]
    assert [read.predict_us(k) for k in kernels] == [model.predict_us(k) for k in kernels]
    assert [(read.error(k), read.covers(k)) for k in kernels] == [(model.error(k), model.covers(k)) for k in kernels]
    assert read.to_json() == text
    assert (read.setting, read.samples, read.provenance) == ("a device", model.samples, "measured")


def test_predicting_many_gives_what_predicting_each_does(model: LearnedModel) -> None:
    kernels = samples(50, seed=5)
    each = [model.predict_us(kernel) for kernel in kernels]
    assert model.regression.predict_us(kernels).tolist() == pytest.approx(each, rel=1e-12)


def _first_trees(content: dict[str, Any]) -> dict[str, Any]:
    return next(iter(content["regression"]["trees"].values()))


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another format": lambda c: c.update(format=2),
    "a field is missing": lambda c: c.pop("samples"),
    "an unknown field": lambda c: c.update(extra=1),
    "a negative error": lambda c: c.update(held_out_error=-1),
    "an error that is none": lambda c: c.update(kfold_error=float("nan")),
    "an error that is a word": lambda c: c["errors"].update({"linear float": "small"}),
    "no errors": lambda c: c.update(errors={}),
    "another provenance": lambda c: c.update(provenance="guessed"),
    "ranges of other sizes": lambda c: c["ranges"].update({"linear float": [[0, 1]]}),
    "ranges without end": lambda c: c["ranges"]["linear float"].__setitem__(0, [0, float("inf")]),
    "ranges that are none": lambda c: c.update(ranges=[1]),
    "no regression": lambda c: c.update(regression=[]),
    "no law for the rest": lambda c: c["regression"]["laws"].pop(""),
    "a negative law": lambda c: c["regression"]["laws"][""].__setitem__(0, -1.0),
    "a short law": lambda c: c["regression"]["laws"][""].pop(),
    "fewer features": lambda c: c["regression"].update(names=[]),
    "a node that is not there": lambda c: _first_trees(c)["left"].__setitem__(0, 10**7),
    "a node before the first": lambda c: _first_trees(c)["roots"].__setitem__(0, -1),
    "a short column": lambda c: _first_trees(c)["value"].pop(),
    "a value that is none": lambda c: _first_trees(c)["value"].__setitem__(0, float("nan")),
    "a threshold that is a word": lambda c: _first_trees(c)["threshold"].__setitem__(0, "x"),
    "endless trees": lambda c: _first_trees(c).update(depth=10**9),
    "trees without nodes": lambda c: c["regression"]["trees"].update(linear={}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_models_are_refused(model: LearnedModel, damage: str) -> None:
    content = json.loads(model.to_json())
    DAMAGES[damage](content)
    with pytest.raises(InputError, match=r"no learned model that can be used: .+; make it again"):
        LearnedModel.from_json(json.dumps(content))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"format": 1}', "[" * 100_000])
def test_what_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no learned model"):
        LearnedModel.from_json(text)


def test_extrapolations_are_known_as_such(model: LearnedModel) -> None:
    inside, too_large = convolution(64, 64, 14), convolution(64, 64, 1000)
    assert model.covers(inside)
    assert not model.covers(too_large)
    assert not model.covers(convolution(64, 64, 14, scheme="int8_float_output"))
    assert not model.covers(Kernel(op="softmax", scheme="float", inputs=((1, 8),), output=(1, 8)))
    assert model.error(too_large) > model.error(inside) > 0
    # far outside, the law goes on where trees would stand still
    larger = [model.predict_us(convolution(64, 64, side)) for side in (64, 256, 1024)]
    assert all(after / before == pytest.approx(16, rel=0.5) for before, after in itertools.pairwise(larger))


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "at least 100 different kernels, found 0"),
        (noisy_rows(samples(90, seed=1)[:90]), "at least 100 different kernels, found 90"),
        (noisy_rows(samples(90, seed=1)[:90]) * 2, "at least 100 different kernels, found 90"),
        ([row(k, 1.0, "simulated" if i else "measured") for i, k in enumerate(samples(120, seed=1))],
         "found measured and simulated"),
        ([*noisy_rows(samples(120, seed=1)), row("something else", 1.0)],
         "'something else' is not the key of a kernel"),
    ],
)  # fmt: skip
def test_rows_that_mean_nothing_are_refused(rows: list[KernelRow], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        fit(rows, seed=0)


def test_more_is_drawn_where_the_model_errs() -> None:
    """Latencies of linear layers, which stand among tokens, cannot be told from their shapes here."""
    draw = random.Random(0)
    rows = [row(k, law_us(k) * (draw.lognormvariate(0, 1) if k.op == "linear" else 1)) for k in samples(600, seed=1)]
    weights = worst_families(fit(rows, seed=0))
    assert set(weights) <= set(KINDS)
    assert max(weights, key=lambda block: weights[block]) == "tokens"
    assert weights["tokens"] > 1 > weights["dense"] > 0


def test_trees_are_those_of_scikit_learn() -> None:
    """Also for features that lie on a threshold, and leaves at several depths."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    from hwcomp import trees

    generator = np.random.default_rng(0)
    features = generator.integers(-4, 5, size=(300, 5)).astype(float)
    targets = features[:, 0] ** 2 + np.sign(features[:, 1]) + 0.1 * generator.normal(size=300)
    theirs = HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=trees.ROUNDS, learning_rate=trees.RATE, max_leaf_nodes=trees.LEAVES,
        min_samples_leaf=trees.LEAST, early_stopping=False, random_state=0,
    ).fit(features, targets)  # fmt: skip
    unseen = generator.integers(-9, 10, size=(200, 5)) / 2
    np.testing.assert_allclose(fit_trees(features, targets, 0).predict(unseen), theirs.predict(unseen), atol=1e-5)


SPACE = SearchSpace(
    sites=tuple(Site(name=name, op="conv2d", candidates=SCHEMES) for name in ("a", "b")),
    edges=(
        Edge(tensor="x", elements=64 * 196, readers=("a",)),
        Edge(tensor="a", elements=64 * 196, readers=("b",)),
        Edge(tensor="b", elements=32 * 196, readers=("output",)),
    ),
)
KERNELS = Kernels(
    sites={
        name: {scheme: convolution(64, filters, 14, 3, scheme) for scheme in SCHEMES}
        for name, filters in (("a", 64), ("b", 32))
    },
    tensors={n: {op: conversion(op, c, 14) for op in BOUNDARIES} for n, c in (("x", 64), ("a", 64), ("b", 32))},
)


def test_a_site_is_all_measured_or_all_predicted(model: LearnedModel) -> None:
    """A row of one candidate alone would be compared with a prediction of the other."""
    a, b = KERNELS.sites["a"], KERNELS.sites["b"]
    measured = {a["float"].key: 1.0, a["int8"].key: 2.0, b["float"].key: 3.0}
    measured[KERNELS.tensors["b"]["quantize"].key] = 4.0
    table = Learned(model=model, measured=measured).cost_table(SPACE, KERNELS)
    assert table.sources == {"a": "measured", "b": "learned"}
    assert table.site_us["a"] == {"float": 1.0, "int8": 2.0}
    assert table.site_us["b"] == {scheme: model.predict_us(kernel) for scheme, kernel in b.items()}
    assert table.quantize_us["b"] == 4.0
    assert table.dequantize_us["b"] == model.predict_us(KERNELS.tensors["b"]["dequantize"])
    assert 0 < table.error < max(model.error(kernel) for kernel in b.values())
    assert table.provenance == "measured"
    assert table.notes == ()


def test_what_was_measured_altogether_has_no_error(model: LearnedModel) -> None:
    table = Learned(model=model, measured=dict.fromkeys(KERNELS.keys, 7.0)).cost_table(SPACE, KERNELS)
    assert table.error == 0
    assert set(table.sources.values()) == {"measured"}
    assert {
        us for times in (table.quantize_us, table.dequantize_us, *table.site_us.values()) for us in times.values()
    } == {7.0}


def test_tables_name_the_operators_that_the_model_knows_nothing_of(model: LearnedModel) -> None:
    softmax = Kernel(op="softmax", scheme="float", inputs=((1, 32, 14, 14),), output=(1, 32, 14, 14))
    space = SearchSpace(sites=(*SPACE.sites, Site(name="s", op="softmax")), edges=SPACE.edges)
    kernels = Kernels(sites={**KERNELS.sites, "s": {"float": softmax}}, tensors=KERNELS.tensors)
    table = Learned(model=model, measured={}).cost_table(space, kernels)
    assert [note.split(":")[0] for note in table.notes] == ["s"]
    assert table.site_us["s"]["float"] > 0
    plain = Learned(model=model, measured={}).cost_table(SPACE, KERNELS)
    assert table.error > plain.error > 0
