"""Several processes search as one does: each takes its share of both halves of every pair."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

TESTS = Path(__file__).parents[1]
SCRIPT = """
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_search import search

from hwcomp.train.processes import Processes

rank = Processes().rank
torch.set_num_threads(1)
CASES = {"mixed": {"stored": False}, "drawn": {"estimator": "binary_gates"}, "second": {"order": 2, "stored": False}}
for name, options in CASES.items():
    path = Path(f"{name}.checkpoint")
    found = search(path, stop=int(sys.argv[1]), norms=False, epochs=3, share=0.6, **options)
    records = [[r.expected_us, r.multiplier, r.entropy] for r in found.records]
    tensors = {**found.logits, "multiplier": found.multiplier, "records": torch.tensor(records)}
    save_file({key: x.contiguous() for key, x in tensors.items()}, f"{name}-{rank}.safetensors")
"""
NAMES = ("mixed", "drawn", "second")


def run(folder: Path, processes: int, stop: int = 0) -> int:
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] * (processes > 1)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
    command = [sys.executable, *launcher, "script.py", str(stop)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert stop or done.returncode == 0, done.stderr
    return done.returncode


def outcome(folder: Path, name: str, rank: int) -> dict[str, Tensor]:
    return load_file(folder / f"{name}-{rank}.safetensors")


@pytest.mark.slow
def test_two_processes_choose_as_one_also_when_they_were_interrupted(tmp_path: Path) -> None:
    """Among themselves they agree bit for bit, and with one but for rounding.

    Adam divides by the size of a gradient, so a difference in its last digit counts where it is next to nothing; where
    activations are rounded, or paths are drawn, that digit decides about whole steps.
    """
    run(tmp_path / "one", 1)
    assert run(tmp_path / "two", 2, stop=7) != 0
    assert (tmp_path / "two" / "mixed.checkpoint").exists()
    run(tmp_path / "two", 2)
    for name in NAMES:
        expected = outcome(tmp_path / "one", name, 0)
        first, second = (outcome(tmp_path / "two", name, rank) for rank in (0, 1))
        assert [key for key in first if not torch.equal(first[key], second[key])] == [], name
        assert first["records"][-1, 0] == pytest.approx(float(expected["records"][-1, 0]), rel=0.05), name
        if name != "drawn":
            for key, x in expected.items():
                torch.testing.assert_close(first[key], x, rtol=1e-4, atol=1e-4, msg=key)
