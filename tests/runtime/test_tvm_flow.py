"""``hwcomp compile --runtime tvm``, and what is done with the artifact."""

import hashlib
import json
import os
import shutil

import forked
import numpy as np
import pytest
import torch

import hwcomp
from hwcomp import artifact
from hwcomp.devices.local import LocalDevice
from hwcomp.errors import InputError, LoweringError
from hwcomp.verification import verify

pytestmark = pytest.mark.slow

MODEL = """
import torch
from torch import nn

example_inputs = (torch.randn(1, 3, 20, 20, generator=torch.Generator().manual_seed(0)),)


def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    ).eval()
"""
CROSS = shutil.which("aarch64-linux-gnu-gcc")


def run(*arguments, cwd, **environment):
    return forked.hwcomp(
        arguments, cwd, os.environ | {"HWCOMP_PATIENCE": "0", "HWCOMP_CACHE": str(cwd / "cache")} | environment
    )


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A folder with model.py and the artifact ``out`` for this machine."""
    folder = tmp_path_factory.mktemp("flow")
    (folder / "model.py").write_text(MODEL)
    done = run("compile", "model.py", "--runtime", "tvm", "--threads", 1, "--out", "out", cwd=folder)
    assert done.code == 0, done.err
    assert "TVM" in done.out
    return folder


def reference(folder):
    namespace: dict = {}
    exec((folder / "model.py").read_text(), namespace)
    x = namespace["example_inputs"][0]
    with torch.no_grad():
        return x, namespace["model"]()(x)


def test_the_manifest_names_the_runtime_and_what_was_measured(compiled):
    manifest = artifact.read(compiled / "out")
    assert manifest.runtime.name == "tvm"
    assert list(manifest.files) == ["model.so"]
    assert not (compiled / "out" / "model.onnx").exists()
    assert manifest.compiled.latency_us.provenance == "measured"
    assert manifest.compiled.output_distance < 1e-4


def test_a_loaded_artifact_computes_what_the_network_does(compiled):
    session = hwcomp.load(compiled / "out")
    x, expected = reference(compiled)
    tensor = session(x)
    assert isinstance(tensor, torch.Tensor)
    torch.testing.assert_close(tensor, expected, atol=1e-4, rtol=0)
    array = session(x.numpy())
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, tensor.numpy())
    with pytest.raises(InputError, match="must have shape"):
        session(x[:, :, :10])


def test_run_bench_and_verify_take_the_library(compiled):
    x, expected = reference(compiled)
    np.save(compiled / "x.npy", x.numpy())
    done = run("run", "out", "--input", "x.npy", "--output", "y.npy", cwd=compiled)
    assert done.code == 0, done.err
    np.testing.assert_allclose(np.load(compiled / "y.npy"), expected.numpy(), atol=1e-4)
    done = run("bench", "out", "--rounds", 2, cwd=compiled)
    assert done.code == 0, done.err
    assert "measured" in done.out
    assert verify(compiled / "out", LocalDevice()).agrees


def test_a_library_that_computes_something_else_is_found_out(compiled, tmp_path):
    shutil.copytree(compiled / "out", tmp_path / "out")
    source = tmp_path / "out" / "program" / "network.py"
    source.write_text(source.read_text().replace("nn.ReLU()", "nn.Identity()"))
    found = verify(tmp_path / "out", LocalDevice())
    assert not found.agrees
    assert "beyond" in found.sentence()


def test_a_damaged_library_is_refused(compiled, tmp_path):
    shutil.copytree(compiled / "out", tmp_path / "out")
    library = tmp_path / "out" / "model.so"
    library.write_bytes(library.read_bytes()[:-3])
    with pytest.raises(InputError, match="damaged"):
        hwcomp.load(tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    manifest["files"]["model.so"] = hashlib.sha256(library.read_bytes()).hexdigest()
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(LoweringError, match="hwcomp did not write"):
        hwcomp.load(tmp_path / "out")


def test_methods_that_train_are_for_the_other_runtime(compiled):
    done = run("compile", "model.py", "--runtime", "tvm", "--method", "latency_pruning", cwd=compiled)
    assert done.code == 2
    assert "--runtime tvm" in done.err


def test_without_a_cross_linker_its_package_is_named(compiled):
    done = run("compile", "model.py", "--runtime", "tvm", "--target", "arm", cwd=compiled, PATH="/nowhere")
    assert done.code == 2
    assert "'gcc-aarch64-linux-gnu'" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.skipif(CROSS is None, reason="no gcc-aarch64-linux-gnu")
def test_a_library_for_another_machine_is_not_loaded_here(compiled):
    done = run("compile", "model.py", "--runtime", "tvm", "--target", "arm", "--out", "arm", cwd=compiled)
    assert done.code == 0, done.err
    assert artifact.read(compiled / "arm").compiled.latency_us.provenance == "analytic"
    with pytest.raises(LoweringError, match="not for"):
        hwcomp.load(compiled / "arm")
