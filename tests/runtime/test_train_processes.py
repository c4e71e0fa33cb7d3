"""Several processes train as one does: each takes its share of every batch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = """
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from hwcomp.train import Hooks, TrainConfig, TrainData, Validation, task_objective, train
from hwcomp.train.processes import Processes
from hwcomp.workload import top1

rank = Processes().rank
torch.manual_seed(rank)  # the main process's weights must count
MODELS = {
    "linear": nn.Linear(6, 3),
    "norm": nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)),
}
torch.manual_seed(0)
x = torch.randn(85, 6)
y = (x @ torch.randn(6, 3)).argmax(1)


def data():
    for index in torch.randperm(85).split(12):  # the last batch has one sample
        yield x[index] + 0.01 * torch.rand(1), y[index]


def stop(state):
    if state.step == int(sys.argv[1]):
        raise SystemExit(3)


for name, model in MODELS.items():
    config = TrainConfig(epochs=5, checkpoint_s=0, clip=0.5, ema=0.8)
    trained = train(
        model,
        TrainData(batches=data if name == "linear" else lambda: list(data())[:-1], example_inputs=(x[:1],)),
        config,
        objective=task_objective(F.cross_entropy, nn.Linear(6, 3) if name == "norm" else None, config),
        hooks=Hooks(after_step=stop),
        validation=Validation(batches=[((a,), b) for a, b in zip(x.split(25), y.split(25))], metric=top1),
        checkpoint=Path(f"{name}.checkpoint"),
    )
    save_file(trained.model.state_dict(), f"{name}-{rank}.safetensors")
    rows = [[r.epoch, r.loss, r.metric, r.rate] for r in trained.history]
    Path(f"{name}-{rank}.json").write_text(json.dumps([rows, trained.notes]))
"""


def run(folder: Path, processes: int, stop: int = 0) -> int:
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] * (processes > 1)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, "script.py", str(stop)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert stop or done.returncode == 0, done.stderr
    return done.returncode


def outcomes(folder: Path, processes: int) -> dict[str, Any]:
    names = [f"{name}-{rank}" for name in ("linear", "norm") for rank in range(processes)]
    return {
        name: (json.loads((folder / f"{name}.json").read_text()), load_file(folder / f"{name}.safetensors"))
        for name in names
    }


@pytest.mark.slow
def test_two_processes_do_as_one_also_when_they_were_interrupted(tmp_path: Path) -> None:
    run(tmp_path / "one", 1)
    assert run(tmp_path / "two", 2, stop=21) != 0
    assert (tmp_path / "two" / "linear.checkpoint").exists()
    run(tmp_path / "two", 2)
    one, two = outcomes(tmp_path / "one", 1), outcomes(tmp_path / "two", 2)
    (expected, notes), weights = one["linear-0"]
    assert notes == []
    for rank in (0, 1):
        (rows, _), found = two[f"linear-{rank}"]
        for a, b in zip(rows, expected, strict=True):
            assert a == pytest.approx(b, rel=1e-5)
        for name, x in weights.items():
            torch.testing.assert_close(found[name], x, rtol=1e-5, atol=1e-6)
    for name in ("linear", "norm"):
        (_, first), (_, second) = two[f"{name}-0"], two[f"{name}-1"]
        assert [key for key in first if not torch.equal(first[key], second[key])] == []
    assert two["norm-0"][0][0][-1][1] == pytest.approx(one["norm-0"][0][0][-1][1], rel=0.3)
