"""From sums of kernels to whole runs: the factors are found again, and the error is that of runs left out."""

import random
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from hwcomp.correction import Run, corrected
from hwcomp.cost import CostTable
from hwcomp.design import random_assignments
from hwcomp.kernel import BOUNDARIES, Kernel, Kernels, Window
from hwcomp.space import Edge, SearchSpace, Site

SITES = 40
BOTH = ("float", "int8")
NAMES = [f"s{i}" for i in range(SITES)]
SPACE = SearchSpace(
    sites=tuple(Site(name=name, op="conv2d", candidates=BOTH) for name in NAMES),
    edges=tuple(
        Edge(tensor=tensor, elements=1000, readers=(reader,))
        for tensor, reader in zip(["x", *NAMES], [*NAMES, "output"], strict=True)
    ),
)


def kernel(index: int, choice: str) -> Kernel:
    """Return a convolution over all channels, one of each channel alone, or an addition, in turn."""
    op, groups = [("conv2d", 1), ("conv2d", 8), ("add", 0)][index % 3]
    window = Window(size=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=groups) if groups else None
    return Kernel(op=op, scheme=choice, inputs=((1, 8, 16, 16),), output=(1, 8, 16, 16), window=window)


KERNELS = Kernels(
    sites={name: {choice: kernel(i, choice) for choice in BOTH} for i, name in enumerate(NAMES)},
    tensors={
        n: {op: Kernel(op=op, scheme="uint8", inputs=(), output=None) for op in BOUNDARIES} for n in ["x", *NAMES]
    },
)
KINDS = ("dense", "depthwise", "other")


def table(seed: int = 0) -> CostTable:
    drawn = random.Random(seed)
    return CostTable(
        space=SPACE,
        site_us={name: {"float": drawn.uniform(20, 60), "int8": drawn.uniform(8, 25)} for name in NAMES},
        quantize_us={name: drawn.uniform(2, 6) for name in ["x", *NAMES]},
        dequantize_us={name: drawn.uniform(2, 6) for name in ["x", *NAMES]},
    )


def scaled(raw: CostTable, factor: Mapping[str, float]) -> CostTable:
    """Return what a device takes whose groups are slower than the table by the factors given."""
    kinds = {name: KINDS[index % 3] for index, name in enumerate(NAMES)}
    return replace(
        raw,
        site_us={
            name: {c: us * factor.get(f"{c} {kinds[name]}", 1.0) for c, us in times.items()}
            for name, times in raw.site_us.items()
        },
        quantize_us={name: us * factor.get("quantize", 1.0) for name, us in raw.quantize_us.items()},
        dequantize_us={name: us * factor.get("dequantize", 1.0) for name, us in raw.dequantize_us.items()},
    )


def runs(truth: CostTable, count: int, noise: float = 0.0, seed: int = 0) -> list[Run]:
    """Return noisy runs of random assignments on a device that takes what a table says."""
    drawn = random.Random(seed)
    return [
        Run(assignment=assignment, latency_us=truth.predict_us(assignment) * drawn.uniform(1 - noise, 1 + noise))
        for assignment in random_assignments(SPACE, count, drawn)
    ]


def errors(found: CostTable, truth: CostTable) -> list[float]:
    """Return the relative errors on assignments that nothing was fitted on."""
    unseen = random_assignments(SPACE, 200, random.Random(99))
    return [abs(found.predict_us(a) / truth.predict_us(a) - 1) for a in unseen]


FACTORS = {
    "float dense": 1.3, "float depthwise": 0.8, "float other": 1.1, "int8 dense": 0.8, "int8 depthwise": 1.7,
    "int8 other": 1.0, "quantize": 2.2, "dequantize": 0.6,
}  # fmt: skip


def test_factors_of_groups_are_found_from_noisy_runs() -> None:
    raw = table()
    truth = scaled(raw, FACTORS)
    found = corrected(raw, KERNELS, runs(truth, 150, noise=0.005))
    assert np.quantile(errors(raw, truth), 0.9) > 0.1
    assert np.quantile(errors(found, truth), 0.9) < 0.02
    found_factors = {
        f"{choice} {kind}": found.site_us[name][choice] / raw.site_us[name][choice]
        for name, kind in zip(NAMES, KINDS, strict=False)
        for choice in BOTH
    }
    for group, factor in found_factors.items():
        assert factor == pytest.approx(FACTORS[group], rel=0.25)
    assert found_factors["int8 depthwise"] > 1.25 * max(found_factors["int8 other"], found_factors["int8 dense"])
    assert found_factors["float dense"] > 1.25 * found_factors["float depthwise"]


def test_conversions_of_each_direction_have_a_factor() -> None:
    drawn = random.Random(0)
    raw = replace(
        table(),
        site_us={name: {"float": 2.0, "int8": 1.0} for name in NAMES},
        quantize_us={name: drawn.uniform(5, 100) for name in ["x", *NAMES]},
        dequantize_us={name: drawn.uniform(5, 100) for name in ["x", *NAMES]},
    )
    found = corrected(raw, KERNELS, runs(scaled(raw, {"quantize": 1.6, "dequantize": 0.8}), 150))
    assert found.quantize_us["s0"] == pytest.approx(1.6 * raw.quantize_us["s0"], rel=0.1)
    assert found.dequantize_us["s0"] == pytest.approx(0.8 * raw.dequantize_us["s0"], rel=0.1)


def test_one_factor_is_found_from_one_run() -> None:
    """Where nothing tells the groups apart, all are scaled alike."""
    raw = table()
    slower = scaled(raw, dict.fromkeys(FACTORS, 1.7))
    found = corrected(raw, KERNELS, runs(slower, 1))
    assert max(errors(found, slower)) < 0.03
    assert found.held_out == 0


def test_runs_that_the_table_predicts_already_change_nothing() -> None:
    raw = table()
    found = corrected(raw, KERNELS, runs(raw, 20))
    assert max(errors(found, raw)) < 1e-6
    assert found.error < 1e-6
    assert found.held_out == 20


def test_the_error_is_that_of_runs_left_out() -> None:
    """It agrees with the one found on assignments that were drawn later, and not with that of the fit itself."""
    raw = table()
    truth = table(seed=5)  # other kernels are slow than the table says: no factor of a group can help
    for count in (12, 40):
        drawn = runs(truth, count)
        found = corrected(raw, KERNELS, drawn)
        assert 0.4 < found.error / np.quantile(errors(found, truth), 0.9) < 2.5
        of_the_fit = np.quantile([abs(found.predict_us(r.assignment) / r.latency_us - 1) for r in drawn], 0.9)
        assert found.error > 1.1 * of_the_fit
        assert found.held_out == count


def with_dear_conversions(truth: CostTable, us: float) -> CostTable:
    """Return a device on which every fifth conversion costs more: no factor of all conversions can say that."""
    dear = {name: us if i % 5 == 0 else old for i, (name, old) in enumerate(truth.dequantize_us.items())}
    return replace(truth, dequantize_us=dear)


def test_the_error_grows_with_what_the_factors_cannot_express() -> None:
    raw = table()
    truth = scaled(raw, FACTORS)
    truths = [truth, *(with_dear_conversions(truth, us) for us in (30.0, 100.0, 300.0))]
    stated = [corrected(raw, KERNELS, runs(one, 40)).error for one in truths]
    assert stated[0] < 0.01
    assert stated == sorted(stated)
    assert stated[-1] > 0.1
    mended = with_dear_conversions(raw, 300.0)
    assert corrected(mended, KERNELS, runs(with_dear_conversions(raw, 300.0), 40)).error < 0.01


def test_noise_of_the_runs_is_part_of_the_error() -> None:
    raw = table()
    assert 0.02 < corrected(raw, KERNELS, runs(scaled(raw, FACTORS), 40, noise=0.05)).error < 0.08


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_few_noisy_runs_do_not_explode(count: int, seed: int) -> None:
    """There are more groups than runs, and some of them hardly occur in any."""
    raw = table()
    found = corrected(raw, KERNELS, runs(raw, count, noise=0.1, seed=seed))
    entries = [us for times in found.site_us.values() for us in times.values()]
    assert min(entries) > 0
    for name, times in found.site_us.items():
        for choice, us in times.items():
            assert 0.5 < us / raw.site_us[name][choice] < 2.0
    assert max(errors(found, raw)) < 0.3


def test_a_group_that_no_run_had_follows_the_others() -> None:
    raw = table()
    slower = scaled(raw, dict.fromkeys(FACTORS, 2.0))
    only_float = [Run(assignment={}, latency_us=slower.predict_us({}))]
    found = corrected(raw, KERNELS, only_float)
    assert found.site_us["s0"]["int8"] == pytest.approx(2 * raw.site_us["s0"]["int8"], rel=0.1)
    assert found.quantize_us["s0"] == pytest.approx(2 * raw.quantize_us["s0"], rel=0.1)


def test_everything_else_in_the_table_stays() -> None:
    raw = replace(table(), provenance="simulated", notes=("a note",), sources={"s0": "learned"})
    found = corrected(raw, KERNELS, runs(raw, 5))
    assert (found.space, found.provenance, found.notes, found.sources) == (
        raw.space, raw.provenance, raw.notes, raw.sources,
    )  # fmt: skip


def test_without_runs_there_is_nothing_to_correct_by() -> None:
    with pytest.raises(ValueError, match="needs whole runs"):
        corrected(table(), KERNELS, [])
