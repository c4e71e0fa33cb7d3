"""What a person sees of a training: a bar with epoch, loss and metric, and sentences; from the main process alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from hwcomp.console import Bar, Reporter, Stage
from hwcomp.train.position import Position


class Speaker:
    """Shows bars and says sentences on a stage, each sentence once."""

    def __init__(self, stage: Stage | None) -> None:
        self._stage = stage or Reporter().stage("Train")
        self.said: list[str] = []

    def tell(self, sentence: str) -> None:
        """Print a sentence and keep it."""
        if sentence not in self.said:
            self.said.append(sentence)
            self._stage.note(sentence)

    @contextmanager
    def epoch(self, position: Position, epochs: int | None) -> Iterator[Bar]:
        """Show how far the whole training is, with the last known loss and metric, while an epoch runs."""
        of = "" if epochs is None else f"/{epochs}"
        text = f"epoch {position.epoch + 1}{of}"
        if position.history:
            last = position.history[-1]
            text += f", loss {last.loss:.4g}"
            text += "" if last.metric is None else f", metric {last.metric:.4g}"
        known = position.plan.end is not None or epochs is None
        with self._stage.bar(text, total=1.0 if known else None) as bar:
            yield bar
