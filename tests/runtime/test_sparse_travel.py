"""The library of sparse kernels travels inside a model, to every device, and is loaded from nowhere else."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from archives import write_archive
from sparse_models import Case, library

from hwcomp.devices.agent import carried, sessions
from hwcomp.devices.agent.machine import facts
from hwcomp.devices.agent.wire import Refused
from hwcomp.devices.base import Device
from hwcomp.devices.connection import Connection
from hwcomp.devices.local import LocalDevice
from hwcomp.devices.pipe import PipeDevice
from hwcomp.errors import LoweringError
from hwcomp.lowering import embedded
from hwcomp.lowering.embedded import embed, extract, installed
from hwcomp.lowering.onnxruntime import Owner, open_session
from hwcomp.sparse_kernels import compilers
from hwcomp.sparse_kernels.library import build
from hwcomp.sparse_kernels.tir_build import INSTRUCTION_SETS, vectors_of

CASE = Case(size=(28, 28), channels=32, out_channels=48, low=0.0)
FOREIGN = {"x86_64": 183}.get(facts()["machine"], 62)


class Child(PipeDevice):
    """An agent that is a child of this process, where nothing of hwcomp can be imported."""

    def __init__(self, archive: Path) -> None:
        super().__init__("child")
        self.archive = write_archive(archive)

    def connect(self) -> Connection:
        return Connection([sys.executable, "-I", str(self.archive)])


@pytest.mark.parametrize("make", [lambda _: LocalDevice(), Child], ids=["local", "child"])
def test_devices_run_and_time_models_that_carry_kernels(make: Callable[[Path], Device], tmp_path: Path) -> None:
    (expected,) = open_session(CASE.plain(), 1).run(None, CASE.feed)
    with make(tmp_path / "agent.zip") as device:
        (found,) = device.run(CASE.own(), CASE.feed, 2)
        assert np.allclose(found, expected, atol=1e-4)
        assert len(device.time_block(CASE.own(), CASE.feed, 1, runs=5)) == 5
        assert set(device.kernel_times(CASE.own(), CASE.feed, 2, runs=20, warmup=3)) == {
            Owner(kind="site", name="site")
        }


def test_a_model_is_the_same_with_its_kernels_and_keeps_them_when_it_is_saved_again() -> None:
    plain, carrying = CASE.plain(), embed(CASE.plain(), library())
    model = onnx.load_model_from_string(carrying)
    onnx.checker.check_model(model)
    assert [entry.key for entry in model.metadata_props] == ["hwcomp.kernels"]
    assert extract(model.SerializeToString()) == library()
    del model.metadata_props[:]
    assert model.SerializeToString() == plain


def test_host_and_agent_find_the_same_in_bytes_and_in_files(tmp_path: Path) -> None:
    for index, model in enumerate((CASE.own(), CASE.plain(), b"", b"x")):
        path = tmp_path / str(index)
        path.write_bytes(model)
        expected = library() if index == 0 else None
        assert extract(model) == extract(path) == carried.kernels(model) == carried.kernels(str(path)) == expected


def damaged() -> dict[str, bytes]:
    good = CASE.own()
    digits = len(good) - len(embedded.MARK) - embedded.LENGTH_DIGITS
    rest = good[digits + embedded.LENGTH_DIGITS :]
    return {
        "a byte": good[: digits - 99] + b"!" + good[digits - 98 :],
        "other bytes": good[: digits - 99] + b"AAAAAAAA" + good[digits - 91 :],
        "a length that is none": good[:digits] + b"-00000000001" + rest,
        "a short length": good[:digits] + b"000000000010" + rest,
        "a huge length": good[:digits] + b"ffffffffffff" + rest,
        "only the end": good[digits:],
    }


@pytest.mark.parametrize("name", damaged())
def test_damaged_kernels_are_refused(name: str) -> None:
    with pytest.raises(LoweringError, match="kernels inside the model are damaged"):
        open_session(damaged()[name], 1)
    with pytest.raises(Refused, match="kernels inside the model are damaged"):
        sessions.open_session(damaged()[name], 1)


def changed(**parts: object) -> bytes:
    content = bytearray(library())
    if "machine" in parts:
        content[18:20] = int(str(parts["machine"])).to_bytes(2, "little")
    if "needs" in parts:
        at = content.index(b"hwcomp-isa:") + len(b"hwcomp-isa:")
        content[at : at + 6] = b"sse9a,"
    return bytes(content) if parts else b"no ELF file at all, but a few bytes more"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (changed(), "kernels inside the model are not for"),
        (changed(machine=FOREIGN), "kernels inside the model are not for"),
        (changed(needs=True), "kernels inside the model need .*sse9a"),
    ],
    ids=["no library", "another machine", "other instructions"],
)
def test_kernels_for_another_processor_are_refused_and_never_loaded(content: bytes, said: str) -> None:
    model = embed(CASE.plain(), content)
    with pytest.raises(LoweringError, match=said):
        open_session(model, 1)
    with pytest.raises(Refused, match=said) as caught:
        sessions.open_session(model, 1)
    assert caught.value.kind == "runtime"
    with LocalDevice() as device, pytest.raises(LoweringError, match=said):
        device.run(model, CASE.feed, 1)


LEAVES_NOTHING = """
import sys
from pathlib import Path
from {module} import {name} as open_session
open_session(Path(sys.argv[1]).read_bytes(), 1)
(folder,) = Path(sys.argv[2]).glob("hwcomp-kernels-*")
(library,) = folder.iterdir()
print(oct(folder.stat().st_mode)[-3:], library.name)
"""


@pytest.mark.parametrize("module", ["hwcomp.lowering.onnxruntime", "hwcomp.devices.agent.sessions"])
def test_the_library_lies_in_a_private_folder_that_goes_with_the_process(module: str, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(CASE.own())
    (tmp_path / "tmp").mkdir()
    script = LEAVES_NOTHING.format(module=module, name="open_session")
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "model", tmp_path / "tmp"], capture_output=True, text=True,
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")}, check=True,
    )  # fmt: skip
    assert done.stdout == f"700 {installed(library()).name}\n"
    assert list((tmp_path / "tmp").glob("hwcomp-*")) == []
    assert stat.S_IMODE(installed(library()).parent.stat().st_mode) == 0o700


def test_a_model_carries_one_library() -> None:
    with pytest.raises(ValueError, match="already"):
        embed(CASE.own(), library())


@pytest.mark.slow
def test_the_library_is_built_once_and_again_when_its_inner_loops_change(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = vectors_of(facts()["isa"])
    first = build(vectors)
    assert first.is_relative_to(cache)
    before = first.stat().st_mtime_ns
    assert build(vectors) == first
    assert first.stat().st_mtime_ns == before
    assert list(first.parent.iterdir()) == [first]
    with pytest.raises(LoweringError, match="cannot build the sparse kernels"):
        build(vectors, [b"no object file"])
    assert list(first.parent.iterdir()) == [first]


def test_without_a_compiler_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilers.shutil, "which", lambda _: None)
    for vectors in INSTRUCTION_SETS:
        with pytest.raises(LoweringError, match=r"install the Debian package 'gcc[a-z0-9-]*'\.$"):
            build(vectors)
