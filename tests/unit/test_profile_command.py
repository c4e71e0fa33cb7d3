"""Profiling a model that does not fit in a GPU's memory: a smaller batch is tried, and that is said."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from hwcomp import profile_command
from hwcomp.console import Reporter
from hwcomp.errors import DeviceMemoryError
from hwcomp.target import load

SOURCE = """
import torch
from torch import nn

example_inputs = (torch.zeros({batch}, 4),)


def model():
    return nn.Linear(4, 4)
"""
FULL = "the model and its data do not fit in the GPU's memory."


def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, room: int) -> tuple[list[int], str]:
    """Profile on a device with room for some samples; return the batches that were tried and what was said."""
    path, tried, out = tmp_path / "model.py", list[int](), StringIO()
    path.write_text(SOURCE.format(batch=batch))

    def on_small_gpu(workload, *_others: object) -> dict[str, object]:
        tried.append(workload.example_inputs[0].shape[0])
        if tried[-1] > room:
            raise DeviceMemoryError(FULL)
        return {}

    monkeypatch.setattr(profile_command, "_of_workload", on_small_gpu)
    reporter = Reporter(Console(file=out, width=200))
    profile_command._of_model(str(path), load("gpu"), [], None, 1, reporter)  # type: ignore[arg-type]
    return tried, out.getvalue()


def test_the_batch_is_halved_until_it_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, said = profile(tmp_path, monkeypatch, batch=64, room=20)
    assert tried == [64, 32, 16]
    assert f"{FULL} A batch of 32 is measured instead." in said
    assert "A batch of 16 is measured instead." in said


def test_one_sample_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceMemoryError, match="do not fit"):
        profile(tmp_path, monkeypatch, batch=2, room=0)
