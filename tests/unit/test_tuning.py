"""What is kept of trials of schedules, and what is tried next."""

from dataclasses import replace
from pathlib import Path

import pytest

from hwcomp.errors import InputError
from hwcomp.lowering.plan import Plan
from hwcomp.tuning import space as spaces
from hwcomp.tuning.database import Database
from hwcomp.tuning.records import Setting, Trial
from hwcomp.tuning.space import Space

SETTING = Setting(tvm="0.27.0", device="cpu: a | cores: 2", vectors="x86-64-v4", threads=2, schedules="abc")
FAST = Plan(vector=16, parallel=True)
SUM = Plan(innermost=1, tiles=(4, 16, 3), keeps_inputs=True)


def kept(path: Path, *trials: Trial) -> Database:
    database = Database(path, SETTING)
    for trial in trials:
        database.add(trial)
    return Database(path, SETTING)


def trial(plan: Plan | None, ratio: float | None, *, final: bool = False) -> Trial:
    return Trial(function="f", plan=plan, us=None if ratio is None else 10 * ratio, ratio=ratio, final=final)


def test_what_is_added_is_there_in_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "new" / "tuning.jsonl"
    database = kept(path, trial(None, 1.0), trial(FAST, 0.5), trial(SUM, None))
    assert database.default_us("f") == 10.0
    assert database.tried("f") == {FAST: 0.5, SUM: None}
    assert database.final("f") is None
    assert database.plan("f") is None, "nothing was measured at length yet"
    assert kept(path, trial(FAST, 0.6, final=True)).plan("f") == FAST
    assert database.default_us("g") is None
    assert not database.tried("g")


def test_a_plan_that_is_not_faster_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "tuning.jsonl"
    assert kept(path, trial(FAST, 0.5), trial(FAST, 1.02, final=True)).plan("f") is None
    assert kept(path, trial(SUM, 0.7, final=True)).plan("f") == SUM, "the last word counts"


def test_an_unfinished_line_is_passed_over_and_then_removed(tmp_path: Path) -> None:
    path = tmp_path / "tuning.jsonl"
    kept(path, trial(FAST, 0.5), trial(SUM, 0.4))
    path.write_bytes(path.read_bytes()[:-7])
    database = Database(path, SETTING)
    assert database.tried("f") == {FAST: 0.5}
    database.add(trial(SUM, 0.3))
    assert Database(path, SETTING).tried("f") == {FAST: 0.5, SUM: 0.3}


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (replace(SETTING, tvm="0.26.0"), "TVM 0.27.0, and this is for TVM 0.26.0"),
        (replace(SETTING, device="cpu: b"), "the machine 'cpu: a | cores: 2', and this is for the machine 'cpu: b'"),
        (replace(SETTING, vectors="x86-64-v3"), "x86-64-v3"),
        (replace(SETTING, threads=1), "--threads 2, and this is for --threads 1"),
        (replace(SETTING, schedules="def"), "schedules 'abc' of hwcomp"),
    ],
)
def test_a_database_of_another_setting_is_refused_and_left_alone(tmp_path: Path, other: Setting, named: str) -> None:
    path = tmp_path / "tuning.jsonl"
    kept(path, trial(FAST, 0.5))
    before = path.read_bytes()
    with pytest.raises(InputError, match="is for") as refused:
        Database(path, other)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"SQLite format 3\0\n", b"00000000 {}\n", b"\xff\xfe\n"])
def test_a_damaged_database_is_refused(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "tuning.jsonl"
    path.write_bytes(damage)
    with pytest.raises(InputError, match=r"tuning\.jsonl' is damaged"):
        Database(path, SETTING)


def test_a_changed_number_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "tuning.jsonl"
    kept(path, trial(FAST, 0.5), trial(SUM, 0.4))
    path.write_bytes(path.read_bytes().replace(b'"ratio": 0.5', b'"ratio": 0.1'))
    with pytest.raises(InputError, match="not as it was written"):
        Database(path, SETTING)


def exhausted(space: Space) -> list[Plan]:
    tried: dict[Plan, float | None] = {}
    while (plan := space.next_plan(tried, "seed")) is not None:
        assert plan not in tried
        tried[plan] = 1.0 / (1 + len(tried))
    return list(tried)


def test_what_sums_nothing_is_tried_in_every_way_that_divides() -> None:
    plans = exhausted(Space(outputs=(6, 48), sums=(), flat=2, lanes=16, threads=2))
    assert {plan.parallel for plan in plans} == {True, False}
    assert {plan.innermost for plan in plans} == {None, 0}
    assert all(48 % plan.vector == 0 for plan in plans if plan.vector and plan.innermost is None and plan.fused == 1)
    assert {plan.vector for plan in plans if plan.fused == 2} == {0, 8, 16, 32}
    assert not any(plan.parallel for plan in exhausted(Space(outputs=(6, 48), sums=(), flat=1, lanes=16, threads=1)))


def test_sums_are_tried_so_many_times_with_tiles_that_divide_them() -> None:
    plans = exhausted(Space(outputs=(1, 64, 28, 28), sums=(8, 3, 3), flat=1, lanes=16, threads=1))
    assert len(plans) == spaces.TRIALS
    for plan in plans:
        assert all(size % tile == 0 for size, tile in zip((1, 64, 28, 28, 8, 3, 3), plan.tiles, strict=True))


def test_an_interrupted_search_goes_on_as_it_would_have() -> None:
    space = Space(outputs=(64, 28), sums=(9,), flat=1, lanes=16, threads=1)
    whole = exhausted(space)
    tried: dict[Plan, float | None] = {plan: 1.0 / (1 + number) for number, plan in enumerate(whole[:30])}
    assert space.next_plan(tried, "seed") == whole[30]


def test_one_output_is_no_trouble() -> None:
    assert exhausted(Space(outputs=(1,), sums=(7,), flat=1, lanes=16, threads=1))
    assert exhausted(Space(outputs=(1,), sums=(), flat=1, lanes=16, threads=1))
