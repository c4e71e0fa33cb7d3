"""Kept results: whole or not there, never wrong, never in the way."""

import os
from pathlib import Path

import pytest

from hwcomp.stages import Stages, cache_root, digest, write_atomically


class Counted:
    """A computation that knows how often it ran."""

    def __init__(self, value: object) -> None:
        self.value, self.calls = value, 0

    def __call__(self):
        self.calls += 1
        return self.value


def test_the_root_is_what_the_environment_says(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_root() == cache
    monkeypatch.delenv("HWCOMP_CACHE")
    assert "hwcomp" in str(cache_root())


def test_results_are_computed_once(cache: Path) -> None:
    stages, number, text = Stages(cache_root()), Counted({"a": [1, 2.5, None]}), Counted(b"\0bytes")
    for _ in range(2):
        assert stages.json("one", "k", number) == {"a": [1, 2.5, None]}
        assert stages.blob("two", "k", text) == b"\0bytes"
    assert (number.calls, text.calls) == (1, 1)
    assert stages.has("one", "k")
    assert not stages.has("one", "other")
    assert stages.json("one", "other", Counted(3)) == 3
    assert Stages(cache).json("one", "k", Counted("never")) == {"a": [1, 2.5, None]}


@pytest.mark.parametrize("damage", [b"", b'{"a": 1', b"\xff\xfe\x00", b"short"])
def test_damaged_entries_are_computed_again_and_repaired(cache: Path, damage: bytes) -> None:
    stages = Stages(cache)
    stages.json("s", "k", Counted({"a": 1}))
    stages.blob("s", "b", Counted(b"value"))
    for path in (cache / "s").iterdir():
        path.write_bytes(damage)
    again, more = Counted({"a": 1}), Counted(b"value")
    for _ in range(2):
        assert stages.json("s", "k", again) == {"a": 1}
        assert stages.blob("s", "b", more) == b"value"
    assert (again.calls, more.calls) == (1, 1)


def test_one_flipped_bit_is_noticed(cache: Path) -> None:
    stages = Stages(cache)
    stages.blob("s", "k", Counted(b"value" * 100))
    path = cache / "s" / "k.bin"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    again = Counted(b"value" * 100)
    assert stages.blob("s", "k", again) == b"value" * 100
    assert again.calls == 1


def test_a_failed_computation_leaves_nothing(cache: Path) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stages(cache).json("s", "k", fail)
    assert not Stages(cache).has("s", "k")
    assert list(cache.rglob("*")) == []


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def interrupted(source: str, target: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_a_place_that_cannot_be_written_is_no_error_for_a_cache(tmp_path: Path) -> None:
    """A file where the folder should be cannot be written into by anyone, not even by an administrator."""
    (tmp_path / "blocked").write_text("")
    stages = Stages(tmp_path / "blocked")
    number, text = Counted(4), Counted(b"5")
    for _ in range(2):
        assert stages.json("s", "k", number) == 4
        assert stages.blob("s", "k", text) == b"5"
    assert (number.calls, text.calls) == (2, 2)
    with pytest.raises(OSError, match="blocked"):
        write_atomically(tmp_path / "blocked" / "file", b"")


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    """Others may read an artifact as they may read any new file."""
    (tmp_path / "plain").write_text("")
    write_atomically(tmp_path / "kept", b"")
    assert (tmp_path / "kept").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_digests_tell_parts_apart() -> None:
    assert digest(1, {"a": 2, "b": 3}) == digest(1, {"b": 3, "a": 2})
    parts = [(), ("",), ("a", "b"), ("ab",), (b"a", b"b"), (b"ab",), (1,), (1.5,)]
    assert len({digest(*part) for part in parts}) == len(parts)
