"""What a person sees while hwcomp works: stage lines, and progress bars on everything that takes long."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hwcomp import interrupt


class Bar:
    """A running progress bar."""

    def __init__(self, progress: Progress, total: float | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def advance(self) -> None:
        """One more step is done."""
        interrupt.check()
        self._progress.advance(self._task)

    def share(self, done: float) -> None:
        """Set the share of the total that is done, for bars of total 1."""
        interrupt.check()
        self._progress.update(self._task, completed=done)


class Stage:
    """One line of the flow; its text is printed when the stage is done, with the time it took if that was long."""

    def __init__(self, console: Console, name: str) -> None:
        self._console, self._name = console, name
        self._start = time.monotonic()

    def done(self, text: str) -> None:
        """Print what came of it."""
        seconds = time.monotonic() - self._start
        took = f" [dim]({seconds:.0f} s)[/dim]" if seconds >= 2 else ""
        self._console.print(f"[bold]{self._name:<10}[/bold]{text}{took}", soft_wrap=True, highlight=False)

    def note(self, text: str) -> None:
        """Print, while the stage goes on, what a person should know of."""
        self._console.print(f"{'':<10}[yellow]{text}[/yellow]", soft_wrap=True, highlight=False)

    @contextmanager
    def bar(self, what: str, total: float | None = 1.0) -> Iterator[Bar]:
        """Show a bar with the time left while the body runs, or a pulsing one if there is no total; it vanishes."""
        left = TimeElapsedColumn() if total is None else TimeRemainingColumn()
        share = () if total is None else (TaskProgressColumn(),)
        columns = (TextColumn(f"[bold]{self._name:<10}[/bold]{what}"), BarColumn(), *share, left)
        shown = self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=not shown) as progress:
            yield Bar(progress, total)


class Reporter:
    """Prints stages; a silent one for library use."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(quiet=True)

    def stage(self, name: str) -> Stage:
        """Begin a stage."""
        interrupt.check()
        return Stage(self.console, name)
