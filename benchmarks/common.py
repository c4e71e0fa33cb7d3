"""What the benchmarks share: the machine's description, and results as JSON with date and machine."""

import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

from hwcomp.fingerprint import environment

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("results")


def save(name: str, content: dict[str, Any]) -> Path:
    """Write results with the machine and the date, and return the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    today = dt.datetime.now(tz=dt.timezone.utc).date().isoformat()
    path.write_text(json.dumps({"date": today, "machine": environment(), **content}, indent=2) + "\n")
    return path


def read(name: str) -> dict[str, Any] | None:
    """Return saved results, or None."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def hwcomp_command() -> str:
    """Return the installed command beside this Python."""
    import sys

    return os.fspath(Path(sys.executable).with_name("hwcomp"))
