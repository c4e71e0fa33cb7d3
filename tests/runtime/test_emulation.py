"""The real runtime on emulated ARM cores: outputs, instructions, and the commands that use them.

Emulation is prepared once for all of them: in a temporary folder, or where HWCOMP_CACHE says, to be kept. Without apt
or a registry there is nothing to emulate with, and the tests are skipped with that reason.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwcomp.devices import open_device
from hwcomp.devices.emulated import EmulatedDevice
from hwcomp.devices.local import LocalDevice
from hwcomp.emulation import emulator, setup
from hwcomp.emulation.counts import DOT_PRODUCT, INTEGER_MAC, VECTOR_FMA
from hwcomp.emulation.probe import MULTIPLICATIONS, probe
from hwcomp.errors import InputError
from hwcomp.target import load
from hwcomp.verification import verify

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="emulation is prepared with apt-get")
REPEATS_WITHIN = 0.01


@pytest.fixture(scope="module", autouse=True)
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the cache folder in which emulation is prepared."""
    with pytest.MonkeyPatch.context() as patch:
        if "HWCOMP_CACHE" not in os.environ:
            patch.setenv("HWCOMP_CACHE", str(tmp_path_factory.mktemp("cache")))
        try:
            yield setup.prepare(print).root.parent
        except InputError as error:
            if "check the network" in str(error):
                pytest.skip(str(error))
            raise


@pytest.fixture(scope="module")
def device(prepared: Path) -> Iterator[EmulatedDevice]:
    """An emulated Cortex-A72."""
    with open_device("emulated", load("arm_cortex_a72")) as place:
        assert isinstance(place, EmulatedDevice)
        yield place


def model_of(nodes: list[onnx.NodeProto], shape: list[int], weights: dict[str, np.ndarray]) -> tuple[bytes, dict]:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, shape)], [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString(), {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}


def network() -> tuple[bytes, dict]:
    """A small convolutional network with sites named as lowering names them."""
    generator, nodes, weights, before = np.random.default_rng(1), [], {}, "x"
    for index, (inputs, outputs, size, groups) in enumerate(
        [(3, 16, 3, 1), (16, 16, 3, 16), (16, 24, 1, 1), (24, 24, 3, 1)]
    ):
        weights[f"w{index}"] = generator.standard_normal((outputs, inputs // groups, size, size)).astype(np.float32)
        names = [before, f"w{index}"], [f"s{index}/out"]
        nodes.append(
            helper.make_node(
                "Conv", *names, name=f"s{index}/conv", pads=[size // 2] * 4, group=groups, kernel_shape=[size] * 2
            )
        )
        before = f"s{index}/out"
    nodes += [
        helper.make_node("GlobalAveragePool", [before], ["p/out"], name="p/pool"),
        helper.make_node("Flatten", ["p/out"], ["y"], name="p/flatten"),
    ]
    return model_of(nodes, [1, 3, 16, 16], weights)


def test_a_matrix_product_multiplies_as_often_as_its_size_says(device: EmulatedDevice) -> None:
    assert MULTIPLICATIONS == 4_194_304
    assert device.instruction_mix(*probe()).by_class[VECTOR_FMA] == MULTIPLICATIONS


def test_outputs_are_those_of_the_host(device: EmulatedDevice) -> None:
    model, feed = network()
    (here,), (there,) = LocalDevice().run(model, feed, 1), device.run(model, feed, 1)
    assert np.max(np.abs(here - there)) <= 1e-4 * np.max(np.abs(here))


def test_kernels_sum_to_the_run_and_belong_to_their_sites(device: EmulatedDevice) -> None:
    model, feed = network()
    counted, times = device.count(model, feed), device.kernel_times(model, feed, 1, 1, 0)
    assert sum(kernel.instructions for kernel in counted.kernels) == pytest.approx(counted.inside, rel=0.02)
    assert {owner.name for owner in times} >= {"s0", "s1", "s2", "s3", "p"}
    by_site = {owner.name: us for owner, us in times.items() if owner.kind == "site"}
    assert by_site["s3"] > by_site["s2"] > by_site["p"]
    whole_us = device.time_block(model, feed, 1)[0]
    assert sum(times.values()) < whole_us < 1.3 * sum(times.values())


def test_counts_repeat(device: EmulatedDevice, prepared: Path) -> None:
    """Also in another process, in which everything lies elsewhere in memory."""
    model, feed = network()
    with open_device("emulated", load("arm_cortex_a72")) as other:
        again = other.kernel_times(model, feed, 1, 1, 0)
        whole_us = other.time_block(model, feed, 1)[0]
    first = device.kernel_times(model, feed, 1, 1, 0)
    assert device.time_block(model, feed, 1)[0] == pytest.approx(whole_us, rel=REPEATS_WITHIN)
    assert sum(first.values()) == pytest.approx(sum(again.values()), rel=REPEATS_WITHIN)
    biggest = max(first, key=lambda owner: first[owner])
    assert first[biggest] == pytest.approx(again[biggest], rel=REPEATS_WITHIN)


def test_the_mix_shows_scalar_code(device: EmulatedDevice) -> None:
    """The runtime computes float64 without vectors of eight bytes' arithmetic; a product in float32 has them."""
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.DOUBLE),
        helper.make_node("CumSum", ["a", "axis"], ["b"]),
        helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT),
    ]
    scalar = device.instruction_mix(*model_of(nodes, [1, 64, 512], {"axis": np.array(2, np.int64)}))
    vector = device.instruction_mix(*network())
    assert scalar.scalar_share > 0.5
    assert vector.scalar_share < 0.1


def test_the_device_is_the_core_and_not_this_machine(device: EmulatedDevice) -> None:
    facts = device.facts()
    assert facts.fingerprint == "simulated: arm_cortex_a72"
    assert (facts.machine, facts.cpu, facts.cores) == ("aarch64", "Cortex-A72", 1)
    assert facts.runtime == f"onnxruntime {emulator.runtime_version()}"
    assert device.provenance == "simulated"
    assert device.state().load is None


def test_more_threads_are_refused(device: EmulatedDevice) -> None:
    for use in (device.time_block, device.run):
        with pytest.raises(InputError, match="one thread; found 4 threads"):
            use(*network(), 4)


def test_a_model_with_a_branch_is_refused_in_one_sentence(device: EmulatedDevice) -> None:
    value = helper.make_tensor_value_info
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, ["x"], [name], name=name)], name, [], [value(name, TensorProto.FLOAT, None)]
        )
        for name, op in (("then", "Exp"), ("else", "Neg"))
    }
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0, name="r"),
        helper.make_node("Greater", ["sum", "zero"], ["c"], name="g"),
        helper.make_node("If", ["c"], ["y"], name="if", **branches),
    ]
    model, feed = model_of(nodes, [4, 4], {"zero": np.float32(0)})
    with pytest.raises(InputError, match=r"kernels cannot be told apart: 'if' \(If\) runs other"):
        device.kernel_times(model, feed, 1, 1, 0)


def test_the_core_decides_which_kernels_run(device: EmulatedDevice) -> None:
    """Only the newest core has dot products of bytes; the older ones multiply them one by one."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="q"),
        helper.make_node("MatMulInteger", ["q", "w", "zero"], ["i"], name="product"),
        helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT, name="cast"),
    ]
    weights = {"w": np.ones((128, 64), np.int8), "scale": np.float32(0.1), "zero": np.int8(0)}
    model, feed = model_of(nodes, [32, 128], weights)
    with open_device("emulated", load("arm_cortex_a76")) as newer:
        assert isinstance(newer, EmulatedDevice)
        counted = {"a76": newer.instruction_mix(model, feed), "a72": device.instruction_mix(model, feed)}
        assert np.array_equal(newer.run(model, feed, 1)[0], device.run(model, feed, 1)[0])
    assert counted["a76"].by_class[DOT_PRODUCT] * 16 >= 32 * 128 * 64
    assert counted["a72"].by_class[DOT_PRODUCT] == 0
    assert counted["a72"].by_class[INTEGER_MAC] * 8 >= 32 * 128 * 64


def test_nothing_is_left_behind(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_device("emulated", load("arm_cortex_a72")) as place:
        place.facts()
        assert list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


def test_preparing_again_changes_nothing(prepared: Path) -> None:
    root, said = prepared / "emulation", []
    before = {path: path.stat().st_mtime_ns for path in (root / "guest", *root.glob("site-*"), *root.glob("*.so"))}
    setup.prepare(said.append)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not any("fetching" in line for line in said)
    assert not list(root.glob("*.part"))


@pytest.mark.slow
def test_an_interrupted_preparation_goes_on(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was complete is kept, a part that was half made is made again."""
    monkeypatch.setenv("HWCOMP_CACHE", str(tmp_path))
    root = tmp_path / "emulation"
    for kept in ("guest", "qemu"):
        if (prepared / "emulation" / kept).is_dir():
            shutil.copytree(prepared / "emulation" / kept, root / kept, symlinks=True)
    half = root / f"{next((prepared / 'emulation').glob('site-*')).name}.part"
    (half / "numpy").mkdir(parents=True)
    (half / "numpy" / "broken.py").write_text("")
    said: list[str] = []
    found = setup.prepare(said.append)
    fetched = [line for line in said if "fetching" in line]
    assert [line.partition(":")[0] for line in fetched] == ["runtime"]
    assert (found.site / "onnxruntime").is_dir()
    assert not (found.site / "numpy" / "broken.py").exists()
    assert not half.exists()


def test_another_version_of_the_runtime_is_not_taken_for_this_one(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulator, "runtime_version", lambda: "1.0.0")
    with pytest.raises(InputError, match=r"ONNX Runtime 1\.0\.0 on ARM is not prepared"):
        open_device("emulated", load("arm_cortex_a72"))


def test_the_environment_of_the_host_does_not_reach_the_guest(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size would move the guest's stack, and with it the counts."""
    monkeypatch.setenv("SOMEBODYS_VARIABLE", "x")
    assert set(emulator.find().environment()) == {"PATH", "LD_LIBRARY_PATH"}


@pytest.fixture(scope="module")
def artifact(cli_in: Callable[[Path], Any], tiny_source: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact for the Cortex-A72, in integers where that is estimated to be faster."""
    command = cli_in(tmp_path_factory.mktemp("verify"))
    command.succeeds("compile", command.write(tiny_source), "--target", "arm", "--calibration", 2, "--out", "artifact")
    return command.folder / "artifact"


def hwcomp(prepared: Path, *arguments: object) -> forked.Done:
    environment = os.environ | {"HWCOMP_CACHE": str(prepared), "NO_COLOR": "1", "COLUMNS": "200", "TERM": "dumb"}
    return forked.hwcomp(arguments, Path.cwd(), environment)


def test_verify_compares_an_artifact_with_the_host(prepared: Path, artifact: Path) -> None:
    done = hwcomp(prepared, "verify", artifact, "--device", "emulated")
    assert (done.code, done.err) == (0, "")
    assert "simulated: arm_cortex_a72, onnxruntime" in done.out
    assert "outputs" in done.out
    assert "million instructions in a run" in done.out
    assert "warning" not in done.out


def test_verify_works_without_an_emulator(prepared: Path, artifact: Path) -> None:
    done = hwcomp(prepared, "verify", artifact, "--device", "local")
    assert (done.code, done.err) == (0, "")
    assert "the same as here, bit by bit" in done.out


def test_verify_notices_a_device_that_computes_something_else(artifact: Path) -> None:
    class Wrong(LocalDevice):
        """This machine, with a defect."""

        def run(self, *arguments: Any) -> list[Any]:
            return [array * 1.5 for array in super().run(*arguments)]

    assert not verify(artifact, Wrong()).agrees
    assert verify(artifact, LocalDevice()).agrees


def test_setup_says_what_it_does(prepared: Path) -> None:
    done = hwcomp(prepared, "setup", "emulation")
    assert (done.code, done.err) == (0, "")
    assert "starts on an emulated cortex-a53, " in done.out
    assert "ready: " in done.out
    done = hwcomp(prepared, "setup", "simulation")
    assert done.code == 2
    assert "There is nothing called 'simulation' to set up" in done.err
