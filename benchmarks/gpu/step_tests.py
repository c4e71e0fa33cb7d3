"""The tests that a GPU changes: training runs on it, drivers are asked. What needs TVM's compiler cannot run here."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import Any

from case import Setting
from cases import ROOT

FILES = ("tests/unit/test_gpu_targets.py", "tests/unit/test_launch.py", "tests/unit/test_throttling.py",
         "tests/unit/test_train.py", "tests/unit/test_train_schedule.py", "tests/unit/test_train_guard.py",
         "tests/unit/test_train_distill.py", "tests/unit/test_pruning_methods.py")  # fmt: skip

BEHIND = "import sys; sys.path.append({!r}); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
"""pytest, found in the bundle where the machine has none."""


def run(setting: Setting) -> dict[str, Any]:
    """Return how many tests passed and the names of those that did not.

    Raises:
        AssertionError: some failed; the sentence names them.
    """
    report = setting.out / "logs" / "tests.xml"
    files = FILES[2:3] if setting.rehearse else FILES
    command = [sys.executable, "-c", BEHIND.format(str(ROOT / "python")), "-q",
               "-p", "no:cacheprovider", "-p", "no:randomly", "-m", "not slow",
               "-W", "default", f"--junitxml={report}", *files]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if not report.is_file():
        raise AssertionError(f"pytest ended with code {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
    (suite,) = ET.parse(report).getroot().iter("testsuite")  # noqa: S314 - pytest wrote it a moment ago
    counts = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    bad = [f"{one.get('classname')}::{one.get('name')}" for one in suite.iter("testcase")
           if one.find("failure") is not None or one.find("error") is not None]  # fmt: skip
    if bad:
        raise AssertionError(f"{len(bad)} of {counts['tests']} tests failed: {', '.join(bad)}")
    return counts
