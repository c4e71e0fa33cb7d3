"""The agent: what it needs, what it refuses, and what it tells of a machine."""

import ast
import hashlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from archives import write_archive

from hwcomp.devices import agent
from hwcomp.devices.agent import processor, verbs
from hwcomp.devices.agent.machine import state
from hwcomp.devices.agent.verbs import Agent
from hwcomp.devices.agent.wire import Refused, pack, read_message
from hwcomp.devices.connection import Connection

MODULES = sorted(Path(str(agent.__file__)).parent.glob("*.py"))
CPUINFO = {
    "x86": "processor : 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx2 fma\ncpu MHz\t\t: 2100.5\n",
    "pi": "processor : 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\nCPU part\t: 0xd08\n",
    "mixed": "CPU implementer\t: 0x41\nCPU part\t: 0xd05\nCPU part\t: 0xd0b\nCPU part\t: 0xfff\n",
}


def test_it_is_python_3_9_and_imports_only_numpy_the_runtimes_and_where_there_is_one_nvml() -> None:
    nodes = [node for path in MODULES for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 9)))]
    plain = {name.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for name in node.names}
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    assert {node.level for node in froms} == {0, 1}  # modules import each other by names that hold there, too
    absolute = {str(node.module).split(".")[0] for node in froms if node.level == 0}
    assert (plain | absolute) - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "tvm_ffi", "pynvml"}


def test_messages_are_read_as_they_are_written() -> None:
    header, blobs = {"id": 3, "verb": "put", "name": "ü"}, [b"abc", b"", bytes(range(256))]
    stream = io.BytesIO(pack(header, blobs) + b"".join(blobs))
    found = read_message(stream)
    assert found == ({**header, "blobs": [3, 0, 256]}, blobs)
    assert read_message(stream) is None


@pytest.mark.parametrize("cut", [0, 1, 3, -1])
def test_a_message_that_ends_early_is_the_end(cut: int) -> None:
    whole = pack({"id": 1}, [b"abc"]) + b"abc"
    assert read_message(io.BytesIO(whole[:cut])) is None


@pytest.mark.parametrize(
    "raw",
    [b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x01\x00\x00\x01", b"\x00\x00\x00\x02[]", b"\x00\x00\x00\x02\xff\xff"],
)
def test_frames_that_are_none_are_refused(raw: bytes) -> None:
    with pytest.raises(Refused):
        read_message(io.BytesIO(raw))


def answer(request: dict[str, Any], folder: Path, *blobs: bytes) -> dict[str, Any]:
    header, _ = Agent(str(folder)).handle({"id": 5, **request}, list(blobs))
    assert header["id"] == 5
    return header


@pytest.mark.parametrize("verb", ["exec", "eval", "__init__", "handle", "model", "", None, 3, ["run"], {"a": 1}])
def test_nothing_but_the_verbs_is_carried_out(tmp_path: Path, verb: object) -> None:
    header = answer({"verb": verb}, tmp_path)
    assert header["ok"] is False
    assert header["kind"] == "input"
    assert header["error"].startswith("no verb")


FEED = [{"name": "x", "dtype": "float32", "shape": [2]}]
TIME = {"verb": "time", "model": "m", "feed": FEED, "threads": 1, "runs": 7, "warmup": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threads": 0}, "'threads' must be a whole number"),
        ({"threads": True}, "'threads' must be a whole number"),
        ({"runs": -1}, "'runs' must be a whole number"),
        ({"runs": 10**9}, "'runs' must be a whole number"),
        ({"warmup": 0}, "'warmup' must be a whole number"),
        ({"block_s": float("nan")}, "'block_s' must be a number"),
        ({"block_s": 1e9}, "'block_s' must be a number"),
        ({"block_s": "1"}, "'block_s' must be a number"),
        ({"feed": None}, "'feed' must describe"),
        ({"feed": []}, "'feed' must describe"),
        ({"feed": [3]}, "must be of one of the types"),
        ({"feed": [{"name": "x", "dtype": "object", "shape": [1]}]}, "must be of one of the types"),
        ({"feed": [{"name": "x", "dtype": "float32", "shape": [3]}]}, "do not fit its shape"),
        ({"feed": [{"name": "x", "dtype": "float32", "shape": "2"}]}, "do not fit its shape"),
        ({"feed": [{"name": "x", "dtype": "float64", "shape": [2]}]}, "do not fit its shape"),
    ],
)
def test_requests_that_make_no_sense_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    carrier = Agent(str(tmp_path))
    carrier.models = {"m": b"no model"}
    header, _ = carrier.handle({**TIME, **change}, [bytes(8)])
    assert said in header["error"]
    assert header["kind"] == "input"


def test_a_model_is_kept_only_if_it_arrived_whole(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"model").hexdigest()
    assert answer({"verb": "put", "sha256": digest}, tmp_path, b"model")["ok"] is True
    assert [path.name for path in tmp_path.iterdir()] == [digest]
    assert "SHA-256 differs" in answer({"verb": "put", "sha256": "../../etc/passwd"}, tmp_path, b"other")["error"]
    assert [path.name for path in tmp_path.iterdir()] == [digest]


def test_a_model_that_is_not_there_is_asked_for(tmp_path: Path) -> None:
    for key in ("m", "../../etc/passwd", None):
        assert answer({**TIME, "model": key}, tmp_path, bytes(8))["kind"] == "missing"


def test_the_oldest_models_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "KEPT_BYTES", 25)
    carrier = Agent(str(tmp_path))
    digests = [hashlib.sha256(content).hexdigest() for content in (b"a" * 10, b"b" * 10, b"c" * 10)]
    for content, digest in zip((b"a", b"b"), digests, strict=False):
        carrier.handle({"verb": "put", "sha256": digest}, [content * 10])
    carrier.handle({**TIME, "model": digests[0]}, [bytes(8)])  # now the second is the longest unused
    carrier.handle({"verb": "put", "sha256": digests[2]}, [b"c" * 10])
    assert {path.name for path in tmp_path.iterdir()} == {digests[0], digests[2]} == set(carrier.models)


@pytest.mark.parametrize(
    ("machine", "name"),
    [("x86", "Some CPU @ 2 GHz"), ("pi", "Cortex-A72"), ("mixed", "Cortex-A55 + Cortex-A76 + Arm 0xfff")],
)
def test_what_a_machine_is(monkeypatch: pytest.MonkeyPatch, machine: str, name: str) -> None:
    monkeypatch.setattr(processor, "read", lambda path: CPUINFO[machine] if str(path) == "/proc/cpuinfo" else "")
    assert processor.cpu_name() == name
    assert processor.isa() == {"x86": ["avx2", "fma", "fpu"], "pi": ["asimd", "fp"], "mixed": []}[machine]
    assert processor.clock_mhz() == (2100.5 if machine == "x86" else None)
    assert processor.governor() is None
    assert state()["load"] is None


def test_the_governors_and_the_clock_of_a_board(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {"scaling_governor": "performance", "scaling_cur_freq": "1500000"}
    monkeypatch.setattr(processor, "read", lambda path: shown.get(Path(path).name, ""))
    assert processor.governor() == "performance"
    assert processor.clock_mhz() == 1500.0


def test_the_zone_that_is_nearest_to_its_limit_counts(tmp_path: Path) -> None:
    assert processor.temperature_c(str(tmp_path)) == (None, None)
    zones = {"0": ("45000", "95000"), "1": ("70000", "85000"), "2": ("90000", None), "3": ("", "50000")}
    for number, (shown, limit) in zones.items():
        zone = tmp_path / f"thermal_zone{number}"
        zone.mkdir()
        (zone / "temp").write_text(shown)
        if limit is not None:
            (zone / "trip_point_0_type").write_text("passive\n")
            (zone / "trip_point_0_temp").write_text(f"{limit}\n")
    assert processor.temperature_c(str(tmp_path)) == (70.0, 85.0)


def test_this_machine_tells_its_load() -> None:
    load = state()["load"]
    assert load is None or load >= 0.0


def test_what_else_prints_does_not_get_between_the_messages(tmp_path: Path) -> None:
    """Not even what prints below Python, as native libraries do."""
    lines = (
        "import os\nfrom hwcomp_agent.verbs import VERBS\n"
        "VERBS['state'] = lambda *_: (os.write(1, b'noise'), print('more'), ({'fine': 1}, []))[-1]\n"
    )
    noisy = write_archive(tmp_path / "noisy.zip", first=lines)
    connection = Connection([sys.executable, str(noisy)])
    for number in (1, 2):
        assert connection.ask("state", {}, []) == ({"ok": True, "fine": 1, "id": number, "blobs": []}, [])
    connection.close()
    assert connection.ended()[1].split() == ["noisemore", "noisemore"]


def test_it_ends_with_its_host_even_in_the_middle_of_a_request(tmp_path: Path) -> None:
    lines = (
        "import sys, time\nfrom hwcomp_agent.verbs import VERBS\n"
        "VERBS['state'] = lambda *_: (print('begun', file=sys.stderr, flush=True), time.sleep(3600))\n"
    )
    slow = write_archive(tmp_path / "slow.zip", first=lines)
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, slow],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"TMPDIR": str(tmp_path / "tmp")},
    )  # fmt: skip
    try:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(pack({"id": 1, "verb": "state"}, []))
        process.stdin.flush()
        assert process.stderr.readline() == b"begun\n"
        assert len(list((tmp_path / "tmp").iterdir())) == 1
        process.communicate(timeout=60)
        assert process.returncode == 1
        assert list((tmp_path / "tmp").iterdir()) == []
    finally:
        process.kill()
        process.communicate()


def test_a_frame_that_is_none_ends_it_with_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, write_archive(tmp_path / "agent.zip")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\xff\xff\xff\xff")
    process.stdin.flush()
    header, _ = read_message(process.stdout) or ({}, [])
    assert process.wait(60) == 0
    process.communicate()
    assert header["ok"] is False
    assert "a header of 4294967295 bytes" in header["error"]
