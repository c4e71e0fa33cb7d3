"""What is missing for emulation is said in one sentence, and what is prepared describes the right core."""

import importlib.util
import os
import stat
from pathlib import Path

import pytest

from hwcomp.devices import open_device
from hwcomp.emulation import debian, plugin, setup, wheels
from hwcomp.emulation.cores import CORES, core, write_view
from hwcomp.errors import InputError
from hwcomp.target import load


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all there is to find programs in."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def packages(root: Path) -> debian.Packages:
    return debian.Packages(root=root, architecture="arm64", installed=False)


def test_without_apt_the_sentence_says_so(tools: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'apt-get' is not here: use a Debian or Ubuntu system"):
        packages(tmp_path / "apt").unpack(["python3"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_packages_the_sentence_quotes_apt(tools: Path, tmp_path: Path) -> None:
    program(tools, "apt-get", 'echo "E: Unable to locate package python3" >&2; exit 100')
    for name in ("dpkg", "dpkg-deb"):
        program(tools, name, "exit 0")
    with pytest.raises(
        InputError, match=r"gave no python3 for arm64 \(apt-get: Unable to locate package python3\).*--sources"
    ):
        packages(tmp_path / "apt").unpack(["python3"], tmp_path / "out")


def test_a_package_that_cannot_be_unpacked_is_said(tools: Path, tmp_path: Path) -> None:
    root = tmp_path / "apt"
    program(tools, "apt-get", f": > {root}/cache/archives/some.deb")
    program(tools, "dpkg", "exit 0")
    program(tools, "dpkg-deb", 'echo "no space left" >&2; exit 2')
    with pytest.raises(InputError, match=r"'dpkg-deb' failed \(no space left\)"):
        packages(root).unpack(["python3"], tmp_path / "out")


def test_apt_is_kept_away_from_the_system(tools: Path, tmp_path: Path) -> None:
    """All folders of apt are the cache's own, and the system's hooks are off."""
    root = tmp_path / "apt"
    program(tools, "apt-get", f"cp {root}/apt.conf {tmp_path}/seen.conf")
    for name in ("dpkg", "dpkg-deb"):
        program(tools, name, "exit 0")
    os.environ["PATH"] += ":/bin:/usr/bin"
    packages(root).unpack(["python3"], tmp_path / "out")
    seen = (tmp_path / "seen.conf").read_text()
    assert f'Dir::State "{root}"' in seen
    assert f'Dir::Cache "{root}/cache"' in seen
    assert "#clear APT::Update::Post-Invoke;" in seen
    assert not root.exists()


def test_without_a_compiler_the_sentence_says_so(tools: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a C compiler"):
        plugin.build(tmp_path / "built")


def test_a_compiler_that_fails_is_quoted(tools: Path, tmp_path: Path) -> None:
    program(tools, "cc", 'echo "no such header" >&2; exit 1')
    with pytest.raises(InputError, match=r"cannot be built by .*cc: no such header"):
        plugin.build(tmp_path / "built")
    assert list((tmp_path / "built").iterdir()) == []


def test_the_plugin_is_built_once(tmp_path: Path) -> None:
    path = plugin.build(tmp_path)
    built = path.stat().st_mtime_ns
    assert plugin.build(tmp_path) == path
    assert path.stat().st_mtime_ns == built
    assert path.read_bytes()[:4] == b"\x7fELF"


def test_without_pip_the_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "guest" / "usr" / "bin" / "python3.11"
    python.parent.mkdir(parents=True)
    python.write_text("")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match="has no pip"):
        wheels.fetch_wheels(tmp_path, tmp_path / "site", ["numpy"])


@pytest.mark.parametrize("name", ["missing.list", "sources.txt"])
def test_sources_must_be_a_file_that_apt_reads(cache: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "sources.txt").write_text("")
    with pytest.raises(InputError, match=r"no file of package sources that ends in \.list or \.sources"):
        setup.prepare(print, tmp_path / name)
    assert not cache.exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HWCOMP_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot be prepared in .*HWCOMP_CACHE"):
        setup.prepare(print)


def test_a_device_that_is_not_prepared_says_what_to_run(cache: Path) -> None:
    with pytest.raises(InputError, match="run `hwcomp setup emulation` once"):
        open_device("emulated", load("arm"))
    assert not (cache / "emulation" / "cores").exists()


def test_only_targets_with_a_known_core_can_be_emulated(cache: Path) -> None:
    with pytest.raises(InputError, match=r"cortex-a72.* can be emulated; found a target without a core"):
        open_device("emulated", load("x86_64"))
    with pytest.raises(InputError, match="found core 'cortex-m4'"):
        core("cortex-m4")


def test_every_arm_target_says_how_long_instructions_take() -> None:
    for name in ("arm_cortex_a53", "arm_cortex_a72", "arm_cortex_a76"):
        hardware = load(name).hardware
        assert hardware.core in CORES
        assert hardware.cycles_per_instruction
        assert hardware.integer_cycles_per_instruction
        assert hardware.cpi_error


def test_the_guest_sees_the_core_and_its_caches(tmp_path: Path) -> None:
    (tmp_path / "guest" / "usr").mkdir(parents=True)
    (tmp_path / "guest" / "usr" / "file").write_text("here")
    for kind in CORES.values():
        view = tmp_path / "cores" / kind.name
        for _ in range(2):
            write_view(kind, tmp_path / "guest", view)
        assert (view / "usr" / "file").read_text() == "here"
        assert f"CPU part\t: {kind.part}\n" in (view / "proc" / "cpuinfo").read_text()
        cache = view / "sys" / "devices" / "system" / "cpu" / "cpu0" / "cache"
        assert (cache / "index1" / "size").read_text() == f"{kind.l2_bytes // 1024}K\n"
