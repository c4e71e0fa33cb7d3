"""``--precision``: a whole network in halves for a GPU, and which of several runtimes gets it."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import TensorProto, numpy_helper

from hwcomp.config import CompileConfig, Fastest, Latency, Speedup
from hwcomp.console import Reporter
from hwcomp.devices.local import LocalDevice
from hwcomp.errors import LoweringError
from hwcomp.evaluation import distance
from hwcomp.job import Job
from hwcomp.lowering.halves import in_halves
from hwcomp.lowering.onnx_export import export_plain
from hwcomp.lowering.tvm import compile_library
from hwcomp.sparse_kernels.tir_build import vectors_of
from hwcomp.stages import Stages
from hwcomp.subject import to_bytes
from hwcomp.target import load
from hwcomp.tracing import trace
from hwcomp.uniform.judging import Judge, Judged, order, take
from hwcomp.uniform.predicting import Predictor
from hwcomp.uniform.timing import measure
from hwcomp.uniform.versions import Version, Versions
from hwcomp.workload import Workload

HALF = 2.0**-11
"""Relative rounding of a half."""


def plain(network: Any, *names: str) -> bytes:
    return to_bytes(export_plain(network.model, network.inputs, names))


def test_halves_are_computed_with_and_nothing_else_changes(network: Any) -> None:
    before = plain(network, "x")
    after = in_halves(before)
    device, feed = LocalDevice(), {"x": network.inputs[0].numpy()}
    expected, found = device.run(before, feed, 1), device.run(after, feed, 1)
    assert [(one.dtype, one.shape) for one in found] == [(one.dtype, one.shape) for one in expected]
    assert 0 < distance([expected], [found]) < 20 * HALF
    weights = onnx.load_model_from_string(after).graph.initializer
    assert TensorProto.FLOAT not in {one.data_type for one in weights}


def test_a_weight_that_no_half_holds_is_refused(make_network: Any) -> None:
    model = onnx.load_model_from_string(plain(make_network("perceptron"), "x"))
    weight = model.graph.initializer[0]
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] = 70_000
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises(
        LoweringError, match=rf"'{re.escape(weight.name)}' has a value of 70000, and float16 ends at 65504"
    ):
        in_halves(model.SerializeToString())


def test_the_command_gives_a_file_in_halves(cli: Any, tiny_source: str) -> None:
    """No GPU is here: the file is made and checked on the processor, and its latency is an estimate."""
    options = ("--target", "gpu", "--precision", "float16", "--out", "out")
    said = cli.succeeds("compile", cli.write(tiny_source), *options)
    assert "estimated" in said
    assert "site" not in said
    manifest = json.loads((cli.folder / "out" / "manifest.json").read_text())
    assert (manifest["runtime"]["name"], manifest["runtime"]["precision"]) == ("onnxruntime", "float16")
    assert 0 < manifest["compiled"]["output_distance"] < 20 * HALF
    weights = onnx.load(cli.folder / "out" / "model.onnx").graph.initializer
    assert TensorProto.FLOAT not in {one.data_type for one in weights}
    assert manifest["reach"]["provenance"] == "analytic"
    assert "plot-sensitivity" not in (cli.folder / "out" / "report.html").read_text().split("<script>")[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--target", "host", "--precision", "float16"), ["'host' is a processor", "--target gpu"]),
        (("--target", "gpu", "--precision", "float17"), ["--precision", "float17"]),
        (
            ("--target", "gpu", "--precision", "float16", "--method", "latency_pruning"),
            ["--precision float16 compiles a network as it is", "latency_pruning"],
        ),
    ],
)
def test_precisions_that_cannot_be(cli: Any, tiny_source: str, options: tuple[str, ...], words: list[str]) -> None:
    sentence = cli("compile", cli.write(tiny_source), *options).sentence()
    assert all(word in sentence for word in words)


@pytest.fixture
def compared(make_network: Any, tmp_path: Path) -> Any:
    """Times a network in ONNX Runtime and as a library of TVM, here."""
    network = make_network("chain")
    target, program = load("host"), trace(network.model, network.inputs)
    job = Job(
        workload=Workload(name="chain", model=network.model, example_inputs=network.inputs),
        network=program, original=program, target=target, config=CompileConfig(threads=1),
        stages=Stages(tmp_path), reporter=Reporter(),
    )  # fmt: skip
    file = plain(network, "x")
    library = compile_library(program, vectors_of(target.isa), 1, job.stages)
    baseline = Version(runtime="onnxruntime", content=file, precision="float32")

    def compared(content: bytes = library) -> Any:
        other = Version(runtime="tvm", content=content, precision="float32")
        with LocalDevice() as device:
            made = Versions(offered=[baseline, other], baseline=baseline)
            return measure(job, Predictor.of(job, program), device, made, Judge.of(job, file, [network.inputs]))

    return compared


def test_the_faster_of_two_runtimes_is_taken(compared: Any) -> None:
    timed = compared()
    took = {one.version.runtime: one.latency_us for one in timed.judged}
    assert set(took) == {"onnxruntime", "tvm"}
    assert took[timed.version.runtime] <= 1.03 * min(took.values())
    assert timed.distance < 1e-5
    assert timed.compiled.median_us == took[timed.version.runtime]


def test_a_runtime_that_cannot_run_it_is_named_and_left_out(compared: Any) -> None:
    timed = compared(b"\x7fELF, but no library")
    assert timed.version.runtime == "onnxruntime"
    assert set(timed.refused) == {"TVM, float32"}
    assert [one.version.runtime for one in timed.judged] == ["onnxruntime"]


def judged(name: str, latency_us: float, distance: float, drop: float | None = None) -> Judged:
    version = Version(runtime="onnxruntime", content=b"", precision="float16", what=name)
    return Judged(version=version, latency_us=latency_us, speedup=100 / latency_us, distance=distance, drop=drop)


class Knowing:
    """Stands in for a judge: it knows what each version loses."""

    def __init__(self, budget: Any, **lost: float) -> None:
        self.job = SimpleNamespace(config=SimpleNamespace(budget=budget))
        self.known, self.asked = lost, list[str]()

    def lost(self, version: Version, latency_us: float) -> float | None:
        assert latency_us > 0
        self.asked.append(version.what)
        return self.known.get(version.what)


QUICK, EXACT, SLOW = judged("quick", 50, 0.08), judged("exact", 51, 0.001), judged("slow", 90, 0.0)


@pytest.mark.parametrize(
    ("budget", "names"),
    [
        (Fastest(1.0), ["exact", "quick", "slow"]),  # as good as equally fast: the more exact one
        (Speedup(1.05), ["exact", "slow", "quick"]),  # all are fast enough
        (Speedup(1.99), ["quick", "exact", "slow"]),
        (Latency("0.001us"), ["quick", "exact", "slow"]),  # none is
    ],
)
def test_the_order_in_which_versions_are_taken(budget: Any, names: list[str]) -> None:
    assert [one.version.what for one in order([SLOW, QUICK, EXACT], budget, 1.03)] == names


def test_the_fastest_is_passed_over_where_it_loses_too_much() -> None:
    judge: Any = Knowing(Fastest(1.0), quick=0.2, exact=2.5)
    taken, learned = take([SLOW, QUICK, EXACT], judge, 1.03)
    assert taken.version.what == "quick"
    assert judge.asked == ["exact", "quick"]  # labels are read for no more than must be
    assert {one.version.what: one.drop for one in learned} == {"slow": None, "quick": 0.2, "exact": 2.5}


def test_without_labels_the_distance_of_outputs_decides() -> None:
    judge: Any = Knowing(Fastest(1.0))
    assert take([SLOW, judged("rough", 10, 0.5)], judge, 1.03)[0].version.what == "slow"
    none_is_good = [judged("rough", 10, 0.5), judged("rougher", 5, 0.7)]
    assert take(none_is_good, judge, 1.03)[0].version.what == "rough"
