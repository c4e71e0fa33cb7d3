"""`hwcomp compile` from model.py to an artifact that plain ONNX Runtime runs, and every command on what it wrote."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import hwcomp
from hwcomp.manifest import Manifest

SCHEMA = Path(__file__).parents[2] / "docs" / "manifest.schema.json"
CLOSE = 0.1
"""Relative distance of outputs that rounding to 8 bits stays well below."""

RESIDUAL = '''
import torch
import torch.nn.functional as F
from torch import nn

example_inputs = (torch.zeros(1, 3, 32, 32),)


class Block(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Block(3, 32), Block(32, 64))
        self.fc = nn.Linear(64, 4)

    def forward(self, x):
        return self.fc(self.blocks(x).mean((2, 3)))


def images(count, seed):
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def model():
    """As if trained: BatchNorm knows its data, and the labels below are those that the network gives."""
    torch.manual_seed(0)
    network = Residual().train()
    with torch.no_grad():
        for seed in range(3):
            network(images(16, seed))
    return network.eval()


def batches(count, seed):
    network = model()
    for index in range(count):
        x = images(8, seed + index)
        with torch.no_grad():
            yield x, network(x).argmax(1)


def train_data():
    return batches(4, 10)


def eval_data():
    return batches(2, 20)
'''

GATED = """
import torch
from torch import Tensor, nn

example_inputs = (torch.ones(1, 3, 16, 16),)


class Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if bool(x.mean() > 0):
            return x * 2.0
        return x * 0.5 - 1.0


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.before = nn.Conv2d(3, 64, 3, padding=1)
        self.gate = Gate()
        self.after = nn.Conv2d(64, 64, 3, padding=1)

    def forward(self, x):
        return self.after(self.gate(self.before(x)))


def model():
    torch.manual_seed(0)
    network = Gated()
    network.before.weight.data.abs_()  # so that the sign of the input decides
    network.before.bias.data.zero_()
    return network


def signed(sign):
    return sign * torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))


def calibration_data():
    for sign in (1, -1):
        yield signed(sign)
"""

TIED = '''
import torch
from torch import nn

example_inputs = (torch.zeros(4, 3, 16, 16), torch.zeros(4, 8))


class Tied(nn.Module):
    """One convolution used twice, one weight in two layers; two inputs."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.fc1 = nn.Linear(8, 8)
        self.fc2 = nn.Linear(8, 8)
        self.fc2.weight = self.fc1.weight

    def forward(self, image, vector):
        x = torch.relu(self.conv(torch.relu(self.conv(self.stem(image)))))
        x = self.fc1(x.mean((2, 3))) + vector
        return self.result(x, self.fc2(torch.relu(x)))

    def result(self, first, second):
        return first, second


class Named(Tied):
    def result(self, first, second):
        return {"first": first, "rest": (second, first * 2.0)}


def model():
    torch.manual_seed(0)
    return Tied()


def named():
    torch.manual_seed(0)
    return Named()


def calibration_data():
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        yield [(torch.randn(4, 3, 16, 16, generator=generator), torch.randn(4, 8, generator=generator)), None]
'''


def imported(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"written_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def distance(found: Any, expected: Any) -> float:
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def read(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / "manifest.json").read_text())


def check_schema(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str = "manifest") -> None:
    """Check a value against as much of JSON Schema as the manifest's schema uses."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in schema:
        kinds = {option.get("type") for option in schema["anyOf"]}
        assert (value is None) <= ("null" in kinds), where
        return
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    assert isinstance(value, kinds[schema["type"]]), where
    assert value in schema.get("enum", [value]), where
    if "properties" in schema:
        assert set(schema.get("required", ())) <= set(value) <= set(schema["properties"]), where
    for key, item in value.items() if isinstance(value, dict) else ():
        inner = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
        check_schema(item, inner, root, f"{where}.{key}")
    for index, item in enumerate(value if isinstance(value, list) else ()):
        check_schema(item, schema["items"], root, f"{where}[{index}]")


@pytest.fixture(scope="module")
def measured(cli_in: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return (command, stdout, stderr) of a compilation for this machine; the artifact is in `first`."""
    cli = cli_in(tmp_path_factory.mktemp("measured"))
    cli.write(RESIDUAL)
    done = cli("compile", "model.py", "--calibration", 8, "--threads", 1, "--out", "first", "--json")
    assert done.code == 0, done.err
    return cli, done.out, done.err


@pytest.fixture(scope="module")
def estimated(cli_in: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return (command, stdout) of a compilation for a board that is not here; the artifact is in `first`."""
    cli = cli_in(tmp_path_factory.mktemp("estimated"))
    cli.write(RESIDUAL)
    out = cli.succeeds("compile", "model.py", "--calibration", 4, "--target", "arm", "--out", "first")
    return cli, out


def test_json_is_the_manifest_and_nothing_else(measured: Any) -> None:
    """What is on stdout is what is in the folder; progress goes to stderr."""
    cli, out, err = measured
    manifest = Manifest.model_validate_json(out)
    assert manifest == read(cli.folder / "first")
    schema = json.loads(SCHEMA.read_text())
    assert schema == Manifest.model_json_schema()
    check_schema(json.loads(out), schema, schema)
    assert "Table" in err
    assert {"model.onnx", "manifest.json", "report.html"} <= {path.name for path in (cli.folder / "first").iterdir()}
    provenances = {manifest.baseline.latency_us.provenance, manifest.compiled.latency_us.provenance}
    assert provenances == {"measured"}
    assert manifest.compiled.latency_us.runs > 0
    assert manifest.baseline.accuracy == 100.0
    assert "8 inputs of train_data" in manifest.calibration


PLAIN = """
import sys
sys.modules["torch"] = sys.modules["hwcomp"] = None  # importing them fails
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
(item,) = session.get_inputs()
np.save(sys.argv[3], session.run(None, {item.name: np.load(sys.argv[2])})[0])
for name in ("torch", "hwcomp"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(f"{name} can be imported")
"""


def test_plain_onnxruntime_runs_it(measured: Any) -> None:
    """Where neither hwcomp nor torch exists, and with the same outputs as `hwcomp run` and, nearly, as PyTorch."""
    cli, _, _ = measured
    module = imported(cli.folder / "model.py")
    x = module.images(1, 99)
    np.save(cli.folder / "x.npy", x.numpy())
    command = [sys.executable, "-c", PLAIN, "first/model.onnx", "x.npy", "plain.npy"]
    subprocess.run(command, cwd=cli.folder, check=True, timeout=120)
    cli.succeeds("run", "first", "-i", "x.npy", "-o", "y.npy", "--threads", 1)
    plain, y = np.load(cli.folder / "plain.npy"), np.load(cli.folder / "y.npy")
    np.testing.assert_allclose(plain, y, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        assert distance(y, module.model()(x)) < CLOSE


def test_same_seed_gives_the_same_choice_from_a_warm_table(measured: Any) -> None:
    """Finished stages are taken from the earlier run and kernels from the store, and the terminal says so."""
    cli, _, err = measured
    assert "kernels measured now" in err
    command = ("compile", "model.py", "--calibration", 8, "--threads", 1, "--out")
    out = cli.succeeds(*command, "second")
    lines = {line.split()[0]: line for line in out.splitlines() if line[:1].isalpha()}
    assert "from an earlier run" in lines["Sense"]
    assert "all in the store" in lines["Table"]
    assert "held-out assignments" in lines["Table"]
    assert "Speed-up" in out
    assert "measured" in out
    first, second = read(cli.folder / "first"), read(cli.folder / "second")
    assert first.assignment == second.assignment
    assert first.reach.provenance == second.reach.provenance == "measured"


def test_bench(measured: Any) -> None:
    """Alone, and against another artifact or ONNX file."""
    cli, _, _ = measured
    alone = cli.succeeds("bench", "first", "--rounds", 2, "--threads", 1)
    assert "first:" in alone
    assert "ms measured" in alone
    paired = cli.succeeds("bench", "first", "--against", "first/model.onnx", "--rounds", 2, "--threads", 1)
    assert "x faster than first/model.onnx" in paired


def test_report_is_shown_again(measured: Any) -> None:
    """And report.html is written anew."""
    cli, _, _ = measured
    page = cli.folder / "first" / "report.html"
    before = page.read_text()
    page.unlink()
    out = cli.succeeds("report", "first", "--all")
    assert "Speed-up" in out
    assert all(site.name in out for site in read(cli.folder / "first").sites)
    assert page.read_text() == before


def test_estimate_is_labelled_everywhere(estimated: Any) -> None:
    """In the manifest, in the terminal and in the page: nothing counts as measured."""
    cli, out = estimated
    manifest = read(cli.folder / "first")
    for version in (manifest.baseline, manifest.compiled):
        assert version.latency_us.provenance == "simulated"
        assert version.latency_us.runs == 0
    assert manifest.reach.provenance == "simulated"
    assert manifest.speedup_rounds == []
    lines = [line for line in out.splitlines() if line.startswith(("Table", "Reach", "Try", "Speed-up", "Latency"))]
    assert len(lines) >= 6
    assert all("simulated" in line for line in lines)
    assert "ms measured" not in out
    page = (cli.folder / "first" / "report.html").read_text()
    assert "simulated" in page


def test_threads_that_nothing_was_counted_for_are_estimated_on_paper(estimated: Any) -> None:
    """The shipped tables are for one thread; more are left to the roofline, and labelled so."""
    cli, _ = estimated
    out = cli.succeeds(
        "compile", "model.py", "--calibration", 4, "--target", "arm", "--threads", 4, "--out", "four", "--json"
    )
    assert '"analytic"' in out
    assert "simulated" not in out


def test_board_gets_its_integers(estimated: Any) -> None:
    """Activations of the ONNX file are signed where the target says so."""
    cli, _ = estimated
    manifest = read(cli.folder / "first")
    assert manifest.target.activation == "int8"
    assert "int8" in manifest.assignment.values()
    graph = onnx.load(cli.folder / "first" / "model.onnx").graph
    kinds = {item.name: item.data_type for item in graph.initializer}
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert quantizers
    assert {kinds[node.input[2]] for node in quantizers} == {onnx.TensorProto.INT8}


def test_budget_out_of_reach(estimated: Any) -> None:
    """Exit code 3, the best point is printed and left in the folder."""
    cli, _ = estimated
    done = cli("compile", "model.py", "--calibration", 4, "--target", "arm", "--speedup", "1000x", "--out", "far")
    assert done.code == 3
    (sentence,) = [line for line in done.err.splitlines() if line.strip()]
    manifest = read(cli.folder / "far")
    assert "cannot be met" in sentence
    assert f"{manifest.speedup:.2f}x" in sentence
    assert "far" in sentence
    assert not manifest.budget.met
    assert manifest.budget.value == 1000.0
    assert manifest.speedup > 1.0
    assert {"model.onnx", "manifest.json", "report.html"} <= {path.name for path in (cli.folder / "far").iterdir()}


@pytest.mark.parametrize("target", ["host", "arm"])
def test_dry_run_leaves_nothing(cli: Any, tiny_source: str, target: str) -> None:
    """No folder, no cache, no measurement."""
    cli.write(tiny_source)
    before = cli.files()
    out = cli.succeeds("compile", "model.py", "--target", target, "--dry-run")
    assert "nothing was measured or written" in out
    assert "analytic" in out
    assert cli.files() == before
    assert not (cli.folder / "build").exists()
    assert not cli.cache.exists()


def test_part_that_depends_on_data(cli: Any) -> None:
    """It is named with the reason, and both of its branches compute what they did."""
    cli.write(GATED)
    out = cli.succeeds("compile", "model.py", "--target", "arm", "--out", "out")
    assert "opaque: gate" in out
    manifest = read(cli.folder / "out")
    assert any(note.startswith("gate: left opaque: ") and len(note) > 30 for note in manifest.notes)
    assert manifest.assignment
    module = imported(cli.folder / "model.py")
    session, network = hwcomp.load(cli.folder / "out"), module.model()
    for sign in (1, -1):
        x = module.signed(sign)
        with torch.no_grad():
            assert distance(session(x), network(x)) < CLOSE


@pytest.mark.parametrize("factory", ["model", "named"])
def test_tied_weights_two_inputs_batch_of_four(cli: Any, factory: str) -> None:
    """Outputs come in the order of the tuple, or of the dict's values."""
    cli.write(TIED)
    cli.succeeds("compile", f"model.py:{factory}", "--target", "arm", "--calibration", 2, "--out", "out")
    module = imported(cli.folder / "model.py")
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(4, 3, 16, 16, generator=generator), torch.randn(4, 8, generator=generator)
    with torch.no_grad():
        result = getattr(module, factory)()(*inputs)
    expected = result if factory == "model" else (result["first"], *result["rest"])
    found = hwcomp.load(cli.folder / "out")(*inputs)
    assert len(found) == len(expected)
    assert all(distance(after, before) < CLOSE for after, before in zip(found, expected, strict=True))
    for index, x in enumerate(inputs):
        np.save(cli.folder / f"{index}.npy", x.numpy())
    cli.succeeds("run", "out", "-i", "0.npy", "-i", "1.npy", "-o", "y.npy")
    for index, output in enumerate(found):
        np.testing.assert_allclose(np.load(cli.folder / f"y_{index}.npy"), output, rtol=1e-4, atol=1e-4)


def test_init_writes_what_compiles(cli: Any) -> None:
    """Without data: calibration inputs are generated, and the report says so."""
    assert "hwcomp compile" in cli.succeeds("init", "new")
    out = cli.succeeds("compile", "new/model.py", "--target", "arm", "--calibration", 2)
    assert "no data was given" in out
    manifest = read(cli.folder / "build" / "new-arm_cortex_a72")
    assert manifest.name == "new"
    assert "generated from BatchNorm statistics" in manifest.calibration
    assert manifest.compiled.accuracy is None


def test_doctor(cli: Any, tiny_source: str) -> None:
    """Tells what is here, and of a model what can be quantised and reached."""
    cli.write(tiny_source)
    out = cli.succeeds("doctor", "model.py", "--target", "arm")
    for word in ("onnxruntime", "usable", "conv2d", "linear", "smallest", "simulated"):
        assert word in out
    assert "smallest" not in cli.succeeds("doctor")
    assert "No target 'arn'" in cli("doctor", "model.py", "--target", "arn").sentence()


def test_targets_help_and_version(cli: Any) -> None:
    """Every command explains itself; a shown target can be used as a file."""
    listed = cli.succeeds("targets")
    assert "arm -> arm_cortex_a72" in listed
    assert "host" in listed
    shown = cli.succeeds("targets", "show", "arm")
    cli.write(shown, "board.toml")
    assert cli.succeeds("targets", "show", "board.toml") == shown
    assert json.loads(cli.succeeds("targets", "show", "host"))["local"] is True
    assert "targets show NAME" in cli("targets", "hide").sentence()
    assert "did you mean" in cli("targets", "show", "arn").sentence()
    assert cli.succeeds("--version").strip() == hwcomp.__version__
    top = cli.succeeds("--help")
    for name in ("compile", "bench", "run", "doctor", "targets", "init", "report"):
        assert name in top
        assert "Usage: " in cli.succeeds(name, "--help")
    shown = cli.succeeds("compile", "-h")
    assert "--max-drop" in shown
    assert "ssh://[user@]host[:port]" in shown, "brackets are text, not markup"
    headings = ("Budget", "Methods that train", "The differentiable search")
    assert [shown.index(f" {heading} ") for heading in headings] == sorted(shown.index(f" {h} ") for h in headings)


def test_python_interface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The same from Python, silently; arrays give arrays and tensors give tensors."""
    monkeypatch.setenv("HWCOMP_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.randn(1, 3, 8, 8)
    result = hwcomp.compile(
        network, (x,), target="arm", budget=hwcomp.Fastest(max_drop=1.0), calibration=[x, -x], out=tmp_path / "out"
    )
    assert result.artifact == tmp_path / "out"
    assert result.speedup == result.report.speedup
    assert result.report == read(tmp_path / "out")
    assert capfd.readouterr().out == ""
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    session = hwcomp.load(result.artifact)
    assert session.manifest == result.report
    tensor, array = session(x), session(x.numpy())
    assert isinstance(tensor, torch.Tensor)
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(tensor.numpy(), array)
    with torch.no_grad():
        assert distance(array, network(x)) < CLOSE
    with pytest.raises(hwcomp.InputError, match="takes 1 input"):
        session(x, x)
    with pytest.raises(hwcomp.BudgetError, match="cannot be met"):
        hwcomp.compile(
            network, (x,), target="arm", budget=hwcomp.Speedup("1000x"), calibration=[x], out=tmp_path / "far"
        )
    assert not read(tmp_path / "far").budget.met
