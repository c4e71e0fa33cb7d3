"""Results of finished stages, kept by the content they were made from, so that an interrupted run goes on."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

ROOT_VARIABLE = "HWCOMP_CACHE"

LINKED = ("passes", "targets", "cost_models")
"""Packages that lie elsewhere in the repository."""

MAX_BYTES = 4 * 2**30
"""Kept results beyond this are dropped, the longest unused first."""


def cache_root() -> Path:
    """Return the folder of kept results: ``HWCOMP_CACHE``, or hwcomp's in the user's cache folder."""
    chosen = os.environ.get(ROOT_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("hwcomp"))


@cache
def code_digest() -> bytes:
    """Return a hash of hwcomp's own code, so that results of other code are never taken for its own."""
    state, root = hashlib.sha256(), Path(__file__).parent
    linked = [path for name in LINKED for path in (root / name).glob("*.py")]  # `rglob` does not follow links
    for path in sorted({*root.rglob("*.py"), *linked}):
        state.update(path.read_bytes())
    return state.digest()


def digest(*parts: object) -> str:
    """Return a short hash of values and of hwcomp's code: bytes as they are, everything else by its JSON."""
    state = hashlib.sha256(code_digest())
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, default=str).encode()
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Stages:
    """Results kept under one root; a damaged or half-written one counts as missing."""

    root: Path

    def json(self, stage: str, key: str, compute: Callable[[], Any]) -> Any:
        """Return the kept value of a stage, or compute and keep it; it must be JSON."""
        return json.loads(self.blob(stage, key, lambda: json.dumps(compute()).encode()))

    def blob(self, stage: str, key: str, compute: Callable[[], bytes]) -> bytes:
        """Return the kept bytes of a stage, or compute and keep them."""
        kept = self._read(stage, key)
        if kept is not None:
            return kept
        value = compute()
        self._keep(self._path(stage, key), hashlib.sha256(value).digest() + value)
        return value

    def has(self, stage: str, key: str) -> bool:
        """Return whether a whole value is kept."""
        return self._read(stage, key) is not None

    def _path(self, stage: str, key: str) -> Path:
        return self.root / stage / f"{key}.bin"

    def _read(self, stage: str, key: str) -> bytes | None:
        """Return what is kept if it is whole: values stand behind their own hash."""
        try:
            content = self._path(stage, key).read_bytes()
        except OSError:
            return None
        return content[32:] if hashlib.sha256(content[32:]).digest() == content[:32] else None

    def _keep(self, path: Path, content: bytes) -> None:
        """Keep a result if the disk allows, and drop the oldest ones if there are too many."""
        write_atomically(path, content, required=False)
        with contextlib.suppress(OSError):  # another process may be dropping the same files
            entries = sorted((entry.stat().st_mtime, entry.stat().st_size, entry) for entry in self.root.glob("*/*"))
            total = sum(size for _, size, _ in entries)
            for _, size, entry in entries:
                if total <= MAX_BYTES:
                    break
                entry.unlink()
                total -= size


def _umask() -> int:
    """Return the process's mask of permissions, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_atomically(path: Path, content: bytes, *, required: bool = True) -> None:
    """Write a file whole or not at all; if it is not required, a full or read-only disk is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(temporary).chmod(0o666 & ~_umask())  # mkstemp lets only its owner read
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError:
        if required:
            raise
