"""Every bad input ends in exit code 2 and one sentence that says what was found and what to do."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwcomp

COMPILE = ("compile", "model.py", "--target", "arm", "--calibration", 2, "--out", "out")

# what is appended to a good model.py -> words of the sentence
MODELS = {
    "raises on import": ("raise KeyError('no such')", ["model.py", "cannot be imported", "KeyError: 'no such'"]),
    "model() raises": (
        "def model():\n    raise FileNotFoundError('weights.pt')",
        ["model() in model.py failed", "FileNotFoundError: weights.pt", "line 27 of model.py"],
    ),
    "no model": ("net = model\ndel model", ["model.py has no 'model'", "define a function model()", "nn.Module"]),
    "model() returns a dict": ("def model():\n    return {}", ["is a dict", "torch.nn.Module"]),
    "no inputs": ("del example_inputs", ["no 'example_inputs'", "tuple of tensors"]),
    "inputs that are no tensors": ("example_inputs = (1, 2)", ["example inputs", "must be a tuple of tensors"]),
    "inputs that do not fit": (
        "example_inputs = (torch.zeros(1, 4, 16, 16),)",
        ["forward does not accept the example inputs", "(1, 4, 16, 16) float32", "expected input"],
    ),
    "half precision": (
        "def model():\n    return Tiny().half()", ["'conv.weight'", "float16", "call model.float()"],
    ),
    "half-precision inputs": (
        "example_inputs = (torch.zeros(1, 3, 16, 16).half(),)", ["example input 0", "float16", "float32"],
    ),
    "another device": (
        "def model():\n    return Tiny().to('meta')", ["'conv.weight'", "'meta'", "move the model", "CPU"],
    ),
    "NaN in the weights": (
        "def model():\n    net = Tiny()\n    net.conv.weight.data[0] = float('nan')\n    return net",
        ["'conv.weight'", "NaN or infinity", "checkpoint"],
    ),
    "infinity in the data": (
        "def calibration_data():\n    yield torch.full((2, 3, 16, 16), float('inf'))",
        ["calibration_data", "NaN or infinity", "clean it"],
    ),
    "empty data": ("def calibration_data():\n    return []", ["calibration_data is empty", "give at least one batch"]),
    "data of another shape": (
        "def calibration_data():\n    yield torch.zeros(2, 3, 9, 9)", ["(3, 9, 9)", "(3, 16, 16)"],
    ),
    "data() that raises": (
        "def calibration_data():\n    return open('no_such_file')", ["calibration_data() failed", "no_such_file"],
    ),
    "nothing to quantise": ("def model():\n    return nn.Softmax(1)", ["Nothing in this model", "softmax", "arm"]),
}  # fmt: skip


@pytest.mark.parametrize("case", MODELS)
def test_model_file(cli: Any, tiny_source: str, case: str) -> None:
    """What is wrong in model.py is named; no file is written."""
    change, words = MODELS[case]
    cli.write(f"{tiny_source}\n{change}\n")
    before = cli.files()
    sentence = cli(*COMPILE).sentence()
    for word in words:
        assert word in sentence
    assert cli.files() == before


def test_missing_file_and_syntax_error(cli: Any) -> None:
    """The file is named, and the line."""
    sentence = cli(*COMPILE).sentence()
    assert "No file 'model.py'" in sentence
    assert "hwcomp init" in sentence
    cli.write("import torch\n\ndef model(:\n    pass\n")
    sentence = cli(*COMPILE).sentence()
    assert "line 3" in sentence
    assert "syntax error" in sentence
    assert not (cli.folder / "out").exists()


def test_debug_shows_the_traceback(cli: Any) -> None:
    """Wherever the option stands."""
    for arguments in (("--debug", *COMPILE), (*COMPILE, "--debug")):
        done = cli(*arguments)
        assert done.code != 0
        assert "Traceback" in done.err
        assert "InputError: No file 'model.py'" in done.err


OPTIONS = {
    "target": (["--target", "arn"], ["No target 'arn'", "did you mean", "arm"]),
    "target file": (["--target", "none.toml"], ["No target file 'none.toml'", "hwcomp targets show"]),
    "zero": (["--latency", "0ms"], ["'0ms'", "greater than zero"]),
    "negative": (["--latency=-1ms"], ["'-1ms'", "greater than zero"]),
    "no unit": (["--latency", "4"], ["'4' has no unit", "4ms"]),
    "nonsense": (["--latency", "soon"], ["'soon'", "number with a unit", "4ms"]),
    "speed-up of zero": (["--speedup", "0x"], ["'0x'", "greater than zero"]),
    "nonsense speed-up": (["--speedup", "twice"], ["'twice'", "2x"]),
    "both": (["--latency", "4ms", "--speedup", "2x"], ["--latency or --speedup, not both"]),
    "drop": (["--max-drop=-1"], ["drop", "-1"]),
    "drop that is no number": (["--max-drop", "nan"], ["drop", "nan"]),
    "ranges": (["--ranges", "best"], ["--ranges", "'best'", "mse"]),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_option(cli: Any, tiny_source: str, case: str) -> None:
    """What is wrong with an option is said before anything is loaded."""
    cli.write(tiny_source)
    options, words = OPTIONS[case]
    sentence = cli(*COMPILE, *options).sentence()
    for word in words:
        assert word in sentence
    assert not (cli.folder / "out").exists()
    assert not cli.cache.exists()


def test_usage_error(cli: Any) -> None:
    """What the command line itself refuses: exit code 2, the option is named."""
    for arguments, word in (((*COMPILE, "--calibration", "0"), "--calibration"), (("compil",), "compil")):
        done = cli(*arguments)
        assert done.code == 2
        assert word in done.err
        assert "Traceback" not in done.err


def test_target_file_with_a_wrong_field(cli: Any) -> None:
    """The file, the field and what was found are named."""
    shown = cli.succeeds("targets", "show", "arm")
    for before, after, words in (
        ("cores = 4", "cores = 0", ["board.toml", "'hardware.cores'", "0"]),
        ("clock_ghz", "clock_mhz", ["board.toml", "hardware.clock_"]),
        ('"conv2d", ', '"conv2", ', ["board.toml", "'conv2'", "did you mean", "conv2d"]),
        ("description = ", "description = = ", ["board.toml", "not valid TOML"]),
    ):
        cli.write(shown.replace(before, after, 1), "board.toml")
        sentence = cli("compile", "model.py", "--target", "board.toml").sentence()
        for word in words:
            assert word in sentence


def test_folder_that_is_not_ours(cli: Any, tiny_source: str) -> None:
    """It stays as it is, unless forced; a file in its place is never touched."""
    cli.write(tiny_source)
    folder = cli.folder / "out"
    folder.mkdir()
    for name, text in (("diary.txt", "mine"), ("manifest.json", '{"name": "of another program"}')):
        (folder / name).write_text(text)
        sentence = cli(*COMPILE).sentence()
        assert "'out' exists and was not written by hwcomp" in sentence
        assert "--force" in sentence
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "diary.txt": "mine",
        "manifest.json": '{"name": "of another program"}',
    }
    cli.succeeds(*COMPILE, "--force")
    assert (folder / "diary.txt").read_text() == "mine"
    assert {"model.onnx", "manifest.json", "report.html"} <= {path.name for path in folder.iterdir()}
    cli.write("mine", "taken")
    sentence = cli(*COMPILE[:-1], "taken").sentence()
    assert "'taken' is a file" in sentence
    assert (cli.folder / "taken").read_text() == "mine"


def test_folder_that_cannot_be_written(cli: Any, tiny_source: str) -> None:
    """It is said before any work is done."""
    cli.write(tiny_source)
    folder = cli.folder / "locked"
    if os.geteuid() == 0:
        folder = Path("/proc/hwcomp")
        if not Path("/proc").is_dir():
            pytest.skip("root may write everywhere, and there is no /proc")
    else:
        folder.mkdir(mode=0o555)
    sentence = cli(*COMPILE[:-1], folder).sentence()
    assert f"'{folder}' cannot be written to" in sentence
    assert "another --out" in sentence
    assert not cli.cache.exists()


def changed(folder: Path, **fields: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def without(folder: Path, field: str) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != field}))


def shortened(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


DAMAGE = {
    "manifest cut off": (lambda folder: shortened(folder / "manifest.json"), ["manifest.json", "is damaged"]),
    "manifest that is a list": (lambda folder: (folder / "manifest.json").write_text("[]"), ["is damaged"]),
    "manifest not text": (lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe\x00"), ["is damaged"]),
    "field missing": (lambda folder: without(folder, "sites"), ["is damaged", "'sites'", "compile again"]),
    "newer version": (lambda folder: changed(folder, schema_version=99), ["version 99", "update hwcomp"]),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), ["is not an artifact", "manifest.json"]),
    "model cut off": (lambda folder: shortened(folder / "model.onnx"), ["model.onnx", "is damaged", "compile again"]),
    "no model": (lambda folder: (folder / "model.onnx").unlink(), ["has no model.onnx", "compile again"]),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_artifact_is_not_loaded(board: Path, tmp_path: Path, case: str) -> None:
    """`hwcomp.load` says what is damaged."""
    damage, words = DAMAGE[case]
    folder = tmp_path / "artifact"
    shutil.copytree(board, folder)
    damage(folder)
    with pytest.raises(hwcomp.InputError) as caught:
        hwcomp.load(folder)
    for word in words:
        assert word in str(caught.value)


COMMANDS = {
    "bench": ("bench", "artifact", "--rounds", 2),
    "run": ("run", "artifact", "-i", "x.npy", "-o", "y.npy"),
    "report": ("report", "artifact"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("case", ["manifest cut off", "field missing", "newer version", "model cut off"])
def test_damaged_artifact(cli: Any, board: Path, case: str, command: str) -> None:
    """Every command that reads an artifact says what is damaged; the report needs only the manifest."""
    if (command, case) == ("report", "model cut off"):
        pytest.skip("the report is made of the manifest alone")
    damage, words = DAMAGE[case]
    shutil.copytree(board, cli.folder / "artifact")
    np.save(cli.folder / "x.npy", np.zeros((1, 3, 16, 16), np.float32))
    damage(cli.folder / "artifact")
    before = cli.files()
    sentence = cli(*COMMANDS[command]).sentence()
    for word in words:
        assert word in sentence
    assert cli.files() == before


@pytest.mark.parametrize("case", ["shape", "dtype", "number", "missing", "text", "output"])
def test_arrays_that_do_not_fit(cli: Any, board: Path, case: str) -> None:
    """`run` says what the model wants and what was found."""
    good = np.zeros((1, 3, 16, 16), np.float32)
    arrays, words = {
        "shape": ([np.zeros((1, 3, 8, 8), np.float32)], ["(1, 3, 16, 16)", "(1, 3, 8, 8)"]),
        "dtype": ([np.zeros((1, 3, 16, 16), np.float64)], ["must be float32", "float64"]),
        "number": ([good, good], ["takes 1 input", "found 2"]),
        "missing": ([], ["'0.npy' cannot be read"]),
        "text": ([], ["'0.npy' is not a plain .npy array"]),
        "output": ([good], ["cannot be written"]),
    }[case]
    for index, array in enumerate(arrays):
        np.save(cli.folder / f"{index}.npy", array)
    if case == "text":
        cli.write("1, 2, 3", "0.npy")
    inputs = [text for index in range(len(arrays) or 1) for text in ("-i", f"{index}.npy")]
    output = "no/such/folder/y.npy" if case == "output" else "y.npy"
    sentence = cli("run", board, *inputs, "-o", output).sentence()
    for word in words:
        assert word in sentence
    assert not (cli.folder / "y.npy").exists()


class Harm:
    """Unpickling it makes a folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def test_pickled_array_is_refused(cli: Any, board: Path) -> None:
    """Code in a file of inputs is never executed, neither inside an array nor instead of one."""
    harm = cli.folder / "harm"
    array = np.empty(1, object)
    array[0] = Harm(str(harm))
    np.save(cli.folder / "inside.npy", array, allow_pickle=True)
    (cli.folder / "instead.npy").write_bytes(pickle.dumps(Harm(str(harm))))
    for name in ("inside.npy", "instead.npy"):
        assert f"'{name}' is not a plain .npy array" in cli("run", board, "-i", name, "-o", "y.npy").sentence()
        assert not harm.exists()


def test_bench_against_what_does_not_fit(cli: Any, board: Path) -> None:
    """Another artifact must exist and be one."""
    assert "No file 'none.onnx'" in cli("bench", board, "--against", "none.onnx").sentence()
    assert "is not an artifact" in cli("bench", board, "--against", "none").sentence()
    cli.write("not a network", "text.onnx")
    done = cli("bench", board, "--against", "text.onnx")
    assert "text.onnx" in done.sentence()


def test_init_overwrites_nothing(cli: Any) -> None:
    """Neither a model.py nor a file where a folder should be."""
    cli.write("mine")
    assert "'model.py' exists already" in cli("init").sentence()
    assert "cannot be written" in cli("init", "model.py/deeper").sentence()
    assert (cli.folder / "model.py").read_text() == "mine"
