"""A training that is killed or interrupted as a real process ends as one in a single piece does."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

SCRIPT = """
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from hwcomp.train import Hooks, TrainConfig, TrainData, Validation, task_objective, train
from hwcomp.workload import top1

torch.manual_seed(0)
x = torch.randn(90, 6)
y = (x @ torch.randn(6, 3)).argmax(1)
model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def data():
    for index in torch.randperm(90).split(12):
        yield x[index] + 0.01 * np.random.rand(), y[index]


def after_step(state):
    print(state.step, flush=True)
    time.sleep(float(sys.argv[1]))


config = TrainConfig(epochs=6, checkpoint_s=0.02, ema=0.9)
trained = train(
    model,
    TrainData(batches=data, example_inputs=(x[:1],)),
    config,
    objective=task_objective(F.cross_entropy, None, config),
    hooks=Hooks(after_step=after_step),
    validation=Validation(batches=[((x,), y)], metric=top1),
    checkpoint=Path("checkpoint"),
)
save_file(trained.model.state_dict(), "model.safetensors")
rows = [[r.epoch, r.loss, r.metric, r.rate] for r in trained.history]
Path("history.json").write_text(json.dumps([rows, trained.notes]))
"""


def start(folder: Path, pause: float) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", str(pause)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(folder: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    process = start(folder, 0)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return json.loads((folder / "history.json").read_text()), load_file(folder / "model.safetensors")


def stop_at(folder: Path, step: int, number: signal.Signals) -> tuple[int, str]:
    """Send a signal to a training at a step, once there is a checkpoint."""
    process = start(folder, 0.01)
    for line in process.stdout:
        if int(line) >= step and (folder / "checkpoint").exists():
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_killed_and_interrupted_and_finished_is_as_in_one_piece(tmp_path: Path) -> None:
    expected_history, expected = finish(tmp_path / "whole")
    folder = tmp_path / "stopped"
    assert stop_at(folder, 11, signal.SIGKILL)[0] == -signal.SIGKILL
    began = time.time()
    code, errors = stop_at(folder, 20, signal.SIGINT)
    assert code == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert (folder / "checkpoint").stat().st_mtime >= began - 1
    assert not (folder / "history.json").exists()
    history, model = finish(folder)
    assert history == expected_history
    assert [name for name in model if not torch.equal(model[name], expected[name])] == []
