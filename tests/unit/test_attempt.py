"""Of several attempts the one counts that the user asked for; easier ones are kept beside it."""

from types import SimpleNamespace
from typing import Any

from hwcomp.attempt import best_of, easier
from hwcomp.config import Budget


def attempt(name: str, asked: float, *, met: bool, speedup: float, budget: float | None = None) -> Any:
    """An attempt of a compilation with a budget, at its own budget if it has one."""
    own = None if budget is None else Budget(kind="speedup", value=budget)
    config = SimpleNamespace(budget=Budget(kind="speedup", value=asked))
    return SimpleNamespace(
        name=name, met=met, final=SimpleNamespace(speedup=speedup), shrunk=SimpleNamespace(budget=own),
        bench=SimpleNamespace(context=SimpleNamespace(config=config)),
    )  # fmt: skip


def test_of_several_attempts_the_last_that_met_the_users_budget_counts() -> None:
    whole = attempt("whole", 3.0, met=False, speedup=1.4)
    front = [
        attempt("easy, missed", 3.0, met=False, speedup=1.1, budget=1.2),
        attempt("easy", 3.0, met=True, speedup=1.25, budget=1.2),
        attempt("between, missed", 3.0, met=False, speedup=1.4, budget=1.5),
        attempt("middle", 3.0, met=True, speedup=2.1, budget=2.0),
        attempt("hard, missed", 3.0, met=False, speedup=2.9, budget=3.0),
    ]
    assert best_of([whole, *front]).name == "hard, missed"
    assert [one.name for one in easier([whole, *front])] == ["easy", "middle"]
    met = attempt("hard", 3.0, met=True, speedup=3.1, budget=3.0)
    assert best_of([whole, *front, met]).name == "hard"
    assert best_of([whole]).name == "whole"
    faster = attempt("whole", 3.0, met=False, speedup=2.95)
    assert best_of([faster, *front]).name == "whole", "an easier budget's network is none for the user's"
    assert [one.name for one in easier([whole, *front, met])] == ["easy", "middle"]
