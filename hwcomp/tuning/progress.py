"""What a person sees of the search: a bar of the time, the function, its trials and the best of them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich import progress as bars
from rich.console import Console

from hwcomp import interrupt
from hwcomp.tuning.database import GAIN
from hwcomp.tuning.tasks import Task


class Progress:
    """Shows a search on a console; a line for each function stays.

    Args:
        console: where.
        seconds: that the search may take.
    """

    def __init__(self, console: Console, seconds: float) -> None:
        self._console, self._seconds, self._start = console, seconds, time.monotonic()
        self._function = ""
        left = bars.TextColumn("{task.fields[left]} left")
        self._bar = bars.Progress(
            bars.TextColumn("[bold]Tune      [/bold]{task.description}"), bars.BarColumn(), left, console=console,
            transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=seconds, left="")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar while the body runs."""
        with self._bar:
            yield

    def begins(self, task: Task, number: int, total: int) -> None:
        """Tell which function comes now."""
        self._function = f"{task.name[:40]} ({number} of {total})"
        self.moves(self._function)

    def tried(self, trials: int, best: float | None) -> None:
        """Tell how many plans of it were tried, and the best time relative to that without one."""
        found = "" if best is None else f", best so far {1 / best:.2f}x"
        self.moves(f"{self._function}, trial {trials}{found}")

    def moves(self, text: str) -> None:
        """Tell what is being done, and move the bar."""
        interrupt.check()
        done = min(time.monotonic() - self._start, self._seconds)
        minutes, seconds = divmod(int(self._seconds - done), 60)
        self._bar.update(self._task, description=text, completed=done, left=f"{minutes}:{seconds:02d}")

    def decided(self, task: Task, default_us: float | None, ratio: float | None) -> None:
        """Tell what came of a function."""
        came = f"{1 / ratio:.2f}x faster" if ratio is not None and ratio <= GAIN else "stays as it is"
        calls = "called once" if task.calls == 1 else f"called {task.calls} times"
        us = f"{default_us:.1f} us, " if default_us is not None else ""
        self._console.print(f"{'':<10}{task.name}: {us}{calls}: {came}", highlight=False, soft_wrap=True, markup=False)
