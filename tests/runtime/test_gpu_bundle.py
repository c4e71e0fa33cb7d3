"""The bundle for GPU machines without network: built, unpacked in an empty folder, and rehearsed on the processor."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GPU = ROOT / "benchmarks" / "gpu"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
NUMBERS = ("facts", "correct", "latency", "launch")

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a bundle is built in a checkout")
without_gpu = pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="a GPU may be here")


def execute(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    away = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HWCOMP_CIFAR10")}
    line = [sys.executable, *map(str, command)]
    return subprocess.run(line, env=away | environment, capture_output=True, text=True, cwd="/", check=False)


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, (done.stdout, done.stderr)
    (said,) = done.stderr.strip().splitlines()
    return said


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the network for rehearsals alone, unpacked."""
    folder = tmp_path_factory.mktemp("bundle")
    out = folder / "bundle.tar.xz"
    done = execute(GPU / "build.py", "--networks", "--python", PYTHON, "--level", 0, "--out", out)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["bundle.tar.xz"]  # no drafts
    with tarfile.open(out) as archive:
        archive.extractall(folder, filter="data")
    return folder / "gpu-bundle"


@pytest.fixture(scope="module")
def results(bundle: Path) -> Path:
    """What a rehearsal writes that is interrupted after its first result, and started again."""
    out = bundle.parent / "results"
    command = [bundle / "run.py", "--out", out, "--rehearse", "--only", *NUMBERS]
    process = subprocess.Popen([sys.executable, *map(str, command)], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not (out / "facts.json").is_file() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "what is done is kept" in said
    assert "Traceback" not in said
    first = (out / "facts.json").stat().st_mtime_ns
    done = execute(*command)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "1 of 4 cases are done already" in done.stdout
    assert (out / "facts.json").stat().st_mtime_ns == first
    return out


@pytest.fixture
def bare(bundle: Path, tmp_path: Path) -> Path:
    """A bundle that lost its libraries and weights."""
    for name in ("run.py", "bundle.json"):
        shutil.copy(bundle / name, tmp_path / name)
    for name in ("hwcomp/devices/agent", "benchmarks/gpu"):
        shutil.copytree(bundle / name, tmp_path / name)
    return tmp_path


def test_every_result_of_a_rehearsal_says_so_and_tells_the_machine(results: Path) -> None:
    found = {path.stem: json.loads(path.read_text()) for path in results.glob("*.json")}
    assert set(found) == {"facts", "correct-tiny", "latency-tiny-b1", "launch"}
    assert all(one["rehearsal"] is True and one["ok"] for one in found.values())
    assert all(one["machine"]["versions"]["torch"] and one["machine"]["tvm"] for one in found.values())
    assert found["correct-tiny"]["result"]["library_float32_b1"]["distance"] < 1e-5
    times = found["latency-tiny-b1"]["result"]["times"]
    assert times["eager_float16"]["speedup"]["median"] == 1.0
    assert times["library_float32"]["us"]["p10"] <= times["library_float32"]["us"]["p90"]


def test_a_rehearsal_makes_no_tables(results: Path, tmp_path: Path) -> None:
    said = sentence(execute(GPU / "gather.py", results, "--into", tmp_path / "kept"))
    assert "holds a rehearsal" in said
    assert not (tmp_path / "kept").exists()


def test_measurements_make_tables(results: Path, tmp_path: Path) -> None:
    """A rehearsal stands in for them here, with its label removed; no number comes from this."""
    for path in results.glob("*.json"):
        told = json.loads(path.read_text()) | {"rehearsal": False}
        (tmp_path / path.name).write_text(json.dumps(told))
    (tmp_path / "speed-resnet56.json").write_text(json.dumps({**told, "ok": False, "error": "no memory"}))
    done = execute(GPU / "gather.py", tmp_path, "--into", tmp_path / "kept")
    assert done.returncode == 0, done.stderr
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert kept == {"gpu_facts.json", "gpu_correct.json", "gpu_latency.json", "gpu_launch.json"}
    assert "| tiny, 1 | library_float32 |" in done.stdout
    assert "| one by one |" in done.stdout
    assert "speed-resnet56 failed: no memory" in done.stdout


def test_a_step_that_fails_says_why_and_the_rest_goes_on(bare: Path) -> None:
    command = [bare / "run.py", "--out", bare / "out", "--rehearse", "--only", "correct", "facts"]
    done = execute(*command)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert json.loads((bare / "out" / "facts.json").read_text())["ok"]
    failed = json.loads((bare / "out" / "correct-tiny.json").read_text())
    assert (failed["ok"], failed["rehearsal"]) == (False, True)
    assert "tiny" in failed["error"]


def test_without_time_nothing_begins(bare: Path) -> None:
    done = execute(bare / "run.py", "--out", bare / "out", "--rehearse", "--minutes", 0)
    assert done.returncode == 3
    assert not list((bare / "out").glob("*.json"))


@without_gpu
def test_without_a_gpu_nothing_is_measured(bare: Path) -> None:
    assert "add --rehearse" in sentence(execute(bare / "run.py", "--out", bare / "out"))
    assert not (bare / "out").exists()


def test_measurements_and_rehearsals_do_not_mix(bare: Path) -> None:
    (bare / "out").mkdir()
    (bare / "out" / "facts.json").write_text('{"rehearsal": false, "ok": true}')
    said = sentence(execute(bare / "run.py", "--out", bare / "out", "--rehearse"))
    assert "holds measurements, which do not mix with a rehearsal" in said


def test_another_python_is_refused(bare: Path) -> None:
    told = json.loads((bare / "bundle.json").read_text()) | {"python": "3.8"}
    (bare / "bundle.json").write_text(json.dumps(told))
    said = sentence(execute(bare / "run.py", "--out", bare / "out", "--rehearse"))
    assert f"for Python 3.8, and this is {PYTHON}" in said


def test_outside_of_a_bundle_it_says_how_to_build_one() -> None:
    assert "make gpu-bundle" in sentence(execute(GPU / "run.py", "--out", "out"))


def test_a_wheel_that_cannot_be_fetched_is_named(tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(GPU)!r})\n"
        "from pathlib import Path\nimport packages\n"
        f"try:\n    list(packages.package_files('pluggy', '3.99', Path({str(tmp_path)!r})))\n"
        "except packages.InputError as error:\n    sys.exit(f'{error}')\n"
    )
    done = execute("-c", script, PIP_NO_INDEX="1")
    assert "The wheel of pluggy" in done.stderr
    assert "for Python 3.99 cannot be fetched" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_nvcc_no_bundle_for_gpus_is_built(tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(GPU)!r}); sys.argv[1:] = ['--out', {str(tmp_path / 'b.tar.xz')!r}]\n"
        "import build\nfrom hwcomp.lowering import tvm_cuda_nvcc\n"
        "build.check_cuda, tvm_cuda_nvcc.FOLDERS = (lambda: None), ()\nsys.exit(build.main())\n"
    )
    said = sentence(execute("-c", script, PATH="/nowhere", CUDA_PATH="/nowhere"))
    assert "need NVIDIA's compiler nvcc" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_bundle_that_is_too_large_is_not_left_behind(tmp_path: Path) -> None:
    out = tmp_path / "bundle.tar.xz"
    command = ["--networks", "--python", PYTHON, "--level", 0, "--largest-mb", 1, "--out", out]
    assert "more than the 1 MB that travel" in sentence(execute(GPU / "build.py", *command))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_weights_are_packed_into_little_and_no_two_filters_are_equal(tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(GPU)!r})\n"
        "import lzma, networks, torch\n"
        "weights = [w.detach() for w in networks.made('mobilenet_v2').parameters() if w.ndim == 4 and w.shape[1] > 1]\n"
        "raw = b''.join(w.transpose(0, 1).contiguous().numpy().tobytes() for w in weights)\n"
        "assert all(len(torch.unique(w.flatten(1), dim=0)) == len(w) for w in weights)\n"
        "print(len(raw) / len(lzma.compress(raw)))\n"
    )
    done = execute("-c", script)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 15


@pytest.mark.slow
def test_every_step_rehearses(bundle: Path, tmp_path: Path) -> None:
    done = execute(bundle / "run.py", "--out", tmp_path, "--rehearse", "--minutes", 10, "--jobs", 1)
    assert done.returncode == 0, (done.stdout, done.stderr)
    found = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert {one["step"] for one in found} >= {"speed", "tests", "compiled", "training"}
    assert all(one["ok"] and one["rehearsal"] for one in found)
