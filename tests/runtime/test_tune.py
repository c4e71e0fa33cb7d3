"""``hwcomp tune``: real schedules, compiled and measured in processes of their own, and used by ``hwcomp compile``."""

import re
import signal
import time

import numpy as np
import pytest
import torch
import tvm
from tvm import te, topi

import hwcomp
from hwcomp import tune_command
from hwcomp.errors import InputError
from hwcomp.lowering.plan import Plan
from hwcomp.lowering.relax_plans import planned, with_schedules
from hwcomp.lowering.relax_schedule import scheduled
from hwcomp.lowering.tvm import target_of
from hwcomp.sparse_kernels.tir_build import vectors_of
from hwcomp.target import load
from hwcomp.tuning import space as spaces
from hwcomp.tuning import tuner as tuners
from hwcomp.tuning import worker
from hwcomp.tuning.database import Database
from hwcomp.tuning.lookup import Tuned, setting_here, tuned_for
from hwcomp.tuning.progress import Progress
from hwcomp.tuning.space import space_of
from hwcomp.tuning.tasks import Task, key_of
from hwcomp.tuning.timing import Timing
from hwcomp.tuning.tuner import Tuner

VECTORS = vectors_of(load("host").isa)
MODEL = """
import torch
from torch import nn

example_inputs = (torch.randn(1, 3, 20, 20, generator=torch.Generator().manual_seed(0)),)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.c = nn.Linear(16, 5)

    def forward(self, x):
        x = torch.relu(self.b(nn.functional.hardswish(self.a(x))))
        return self.c(x.mean((2, 3)))


def model():
    torch.manual_seed(0)
    return Net().eval()
"""


def grouped(channels=8, size=8):
    x, w = te.placeholder((1, channels, size, size)), te.placeholder((channels, 4, 3, 3))
    return te.create_prim_func([x, w, topi.nn.relu(topi.nn.group_conv2d_nchw(x, w, 1, 1, 1, channels // 4))])


def turned(rows=40, columns=48):
    x = te.placeholder((rows, columns))
    return te.create_prim_func([x, topi.transpose(topi.nn.relu(x))])


def largest(rows=6, columns=50):
    x = te.placeholder((rows, columns))
    return te.create_prim_func([x, topi.max(x, axis=1)])


def outputs(function):
    library = tvm.compile(tvm.IRModule({"main": function}), target=tvm.target.Target(target_of(VECTORS, 1)))
    arguments = [tvm.runtime.tensor(array) for array in worker._arrays(function)]
    library.mod["main"](*arguments)
    return arguments[-1].numpy()


@pytest.mark.parametrize("make", [grouped, turned, largest])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_plan_computes_what_none_does(make, threads):
    function = make()
    expected, space, tried = (
        outputs(scheduled(function, VECTORS.lanes, threads)),
        space_of(function, VECTORS.lanes, threads),
        {},
    )
    for number in range(5):
        plan = space.next_plan(tried, "seed")
        if plan is None:
            break
        tried[plan] = 1.0 / (number + 1)
        np.testing.assert_allclose(
            outputs(planned(function, plan, VECTORS.lanes, threads)), expected, rtol=1e-4, atol=1e-5
        )
    assert len(tried) > 2


def test_a_function_is_known_by_what_it_computes():
    assert key_of(grouped()) == key_of(grouped().with_attr("global_symbol", "other_name"))
    assert len({key_of(function) for function in (grouped(), grouped(size=10), turned(), turned(rows=24))}) == 4


@pytest.fixture(scope="module")
def timing():
    timing = Timing(target_of(VECTORS, 1), VECTORS.lanes, 1)
    yield timing
    timing.close()


def test_tuning_stops_goes_on_ends_and_is_used(timing, tmp_path, monkeypatch):
    monkeypatch.setattr(spaces, "TRIALS", 5)
    monkeypatch.setattr(tuners, "FINAL_ROUNDS", 3)
    function, path = grouped(), tmp_path / "tuning.jsonl"
    setting = setting_here(VECTORS, 1)
    task = Task(key=key_of(function), name="grouped", function=function, calls=2)

    def run(seconds):
        database = Database(path, setting)
        progress = Progress(hwcomp.console.Reporter().console, seconds)
        tuner = Tuner(
            tasks=[task], database=database, timing=timing, progress=progress, lanes=VECTORS.lanes, threads=1,
            deadline=time.monotonic() + seconds,
        )  # fmt: skip
        tuner.run()
        return tuner, len(database)

    tuner, measured = run(0)
    assert measured == 0
    assert "run the same command again" in tuner.told
    tuner, measured = run(120)
    assert measured == 1 + 5 + 1, "without a plan, by five, and the best at length"
    assert "1 of 1 functions faster" in tuner.told
    assert "nothing is left to try" in tuner.told
    again, same = run(120)
    assert (again.told, same) == (tuner.told, measured)

    tuned = tuned_for(VECTORS, 1, path, is_here=True)
    module = with_schedules(tvm.IRModule({"main": function}), VECTORS.lanes, 1, tuned.plan_of)
    assert tuned.told == ", 1 of 1 functions tuned"
    without = with_schedules(tvm.IRModule({"main": function}), VECTORS.lanes, 1, Tuned(None).plan_of)
    assert key_of(module["main"]) != key_of(without["main"])
    np.testing.assert_allclose(outputs(module["main"]), outputs(without["main"]), rtol=1e-4, atol=1e-5)


def test_a_lost_process_costs_one_trial(timing):
    text = tvm.ir.save_json(turned())
    assert timing.default_us(text) > 0
    timing._process.kill()
    assert timing.compare(text, Plan(), 2) == (None, None)
    us, ratio = timing.compare(text, Plan(), 2)
    assert us > 0
    assert 0.1 < ratio < 10


def test_a_schedule_that_computes_something_else_is_no_candidate(monkeypatch):
    subject = worker.Subject(turned(), tvm.target.Target(target_of(VECTORS, 1)), VECTORS.lanes, 1)
    assert "ratio" in subject.compare(Plan(), 1)
    x = te.placeholder((40, 48))
    other = te.create_prim_func([x, topi.transpose(x * 2.0)])
    monkeypatch.setattr(worker, "planned", lambda *_: scheduled(other, VECTORS.lanes, 1))
    assert subject.compare(Plan(), 1) == {"error": "it computes something else"}


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), float("inf")])
def test_minutes_must_be_some(minutes):
    with pytest.raises(InputError, match="--minutes must be more than 0"):
        tune_command.tune("model.py", target="host", threads=1, minutes=minutes, device="local", database=None)


@pytest.mark.parametrize(
    ("target", "device", "said"),
    [
        ("arm", "local", "it is no 'arm_cortex_a72'"),
        ("gpu", "local", "is a GPU"),
        ("host", "ssh://pi@192.0.2.7", "on this machine only"),
    ],
)
def test_only_this_machine_is_tuned(target, device, said):
    with pytest.raises(InputError, match=said):
        tune_command.tune("model.py", target=target, threads=1, minutes=1, device=device, database=None)


def test_a_database_for_compile_must_be_there_and_fit(tmp_path):
    with pytest.raises(InputError, match="There is no tuning database"):
        tuned_for(VECTORS, 1, tmp_path / "none.jsonl", is_here=True)
    with pytest.raises(InputError, match="the target is another one"):
        tuned_for(VECTORS, 1, tmp_path / "none.jsonl", is_here=False)
    assert tuned_for(VECTORS, 1, None, is_here=False).plan_of(turned()) is None


@pytest.mark.slow
def test_interrupted_resumed_and_compiled(cli):
    """Ctrl-C in the middle, then the rest by the same command, then a library with what was found."""
    cli.write(MODEL)
    command = ("tune", "model.py", "--threads", 1, "--database", "tuning.jsonl")
    process, path = cli.start(*command), cli.folder / "tuning.jsonl"
    while process.poll() is None and not (path.exists() and path.read_bytes().count(b"\n") > 12):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    before = path.read_bytes()

    out = cli.succeeds(*command)
    assert "nothing is left to try" in out
    after = path.read_bytes()
    assert after.startswith(before[: before.rfind(b"\n") + 1])
    assert len(after) > len(before)

    compile_ = ("compile", "model.py", "--runtime", "tvm", "--threads", 1, "--out", "out", "--force")
    out = cli.succeeds(*compile_, "--database", "tuning.jsonl")
    assert int(re.search(r"(\d+) of \d+ functions tuned", out)[1]) >= 1
    namespace = {}
    exec(MODEL, namespace)
    x = namespace["example_inputs"][0]
    with torch.no_grad():
        expected = namespace["model"]()(x)
    torch.testing.assert_close(hwcomp.load(cli.folder / "out")(x), expected, atol=1e-4, rtol=0)
    assert "tuned" not in cli.succeeds(*compile_), "the database lies elsewhere"

    done = cli("compile", "model.py", "--runtime", "tvm", "--threads", 2, "--database", "tuning.jsonl")
    assert done.code == 2
    assert "--threads 1" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.slow
def test_a_model_with_nothing_to_tune_is_no_error(cli):
    cli.write(
        "import torch\nfrom torch import nn\n\nexample_inputs = (torch.zeros(1, 8),)\n\n\n"
        "def model():\n    return nn.Sequential(nn.Linear(8, 8))\n"
    )
    assert "nothing to tune" in cli.succeeds("tune", "model.py", "--threads", 1, "--minutes", 1)
