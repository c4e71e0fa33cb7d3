"""``--precision``: a whole network in halves for a GPU, and which of several runtimes gets it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from hwcomp.config import CompileConfig
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
    assert manifest["compiled"]["size_bytes"] < manifest["baseline"]["size_bytes"]
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
    file, feed = plain(network, "x"), {"x": network.inputs[0].numpy()}
    library = compile_library(program, vectors_of(target.isa), 1, job.stages)
    baseline = Version(runtime="onnxruntime", content=file, precision="float32")
    with torch.no_grad():
        expected = [network.model(*network.inputs).numpy()]

    def compared(content: bytes = library) -> Any:
        other = Version(runtime="tvm", content=content, precision="float32")
        with LocalDevice() as device:
            return measure(job, device, Versions(offered=[baseline, other], baseline=baseline), feed, expected)

    return compared


def test_the_faster_of_two_runtimes_is_taken(compared: Any) -> None:
    timed = compared()
    note = next(note for note in timed.notes if note.startswith("Measured were"))
    took = {name: float(ms) for name, ms in re.findall(r"(ONNX Runtime|TVM) ([\d.]+) ms", note)}
    assert {"onnxruntime": "ONNX Runtime", "tvm": "TVM"}[timed.version.runtime] == min(took, key=took.__getitem__)
    assert timed.distance < 1e-5
    assert np.isclose(timed.compiled.median_us / 1e3, min(took.values()), atol=1e-3)


def test_a_runtime_that_cannot_run_it_is_named_and_left_out(compared: Any) -> None:
    timed = compared(b"\x7fELF, but no library")
    assert timed.version.runtime == "onnxruntime"
    assert any(note.startswith("TVM was not compared: ") for note in timed.notes)
