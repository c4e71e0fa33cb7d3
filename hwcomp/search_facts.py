"""What a report says of a search: how near its budget it ended, what came of the contest, and the front."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev

from hwcomp.manifest import EntryReport, LatencyUs, Manifest
from hwcomp.report_facts import format_metric, metric_decimals, printable
from hwcomp.search.records import SEARCHED

HERE = "this artifact"
FLOAT_ROW = "float network"


def search_budget_us(manifest: Manifest) -> float | None:
    """Return the latency that a search was to end at, in its table's microseconds; None where nothing was searched."""
    return manifest.search[-1].budget_us if manifest.search else None


def uses_multiplier(manifest: Manifest) -> bool:
    """Return whether the latency term has a multiplier: that of the others is always 0."""
    return any(record.multiplier for record in manifest.search)


def spread(metrics: Sequence[float]) -> float | None:
    """Return the standard deviation of a sample of seeds; None for a single one."""
    return stdev(metrics) if len(metrics) > 1 else None


def score_text(entry: EntryReport, decimals: int) -> str:
    """Return mean and standard deviation of an entry's metric over its seeds."""
    if not entry.metrics:
        return "n/a"
    deviation = spread(entry.metrics)
    more = "" if deviation is None else f" +- {format_metric(deviation, decimals)}"
    return f"{format_metric(mean(entry.metrics), decimals)}{more}"


def contest_decimals(manifest: Manifest) -> int | None:
    """Return how many decimals the metrics of a contest need; None if there are none."""
    metrics = [metric for entry in manifest.contest for metric in entry.metrics]
    return metric_decimals(*metrics) if metrics else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What came of a contest.

    Attributes:
        result: in a few words.
        margin: by how much, and over whom.
        evidence: what that is worth.
    """

    result: str
    margin: str = ""
    evidence: str = ""

    def __str__(self) -> str:
        """Return all of it in one sentence."""
        line = " ".join(part for part in (self.result, self.margin) if part)
        sentence = f"{line}: {self.evidence}" if self.evidence else line
        return f"{sentence[0].upper()}{sentence[1:]}."


def verdict(manifest: Manifest) -> Verdict | None:
    """Return whether the search was better than its controls; None where nothing else was trained.

    The difference of the mean metrics is compared with the larger standard deviation over seeds of the two.
    """
    searched = next((entry for entry in manifest.contest if entry.name == SEARCHED), None)
    others = [entry for entry in manifest.contest if entry is not searched]
    if searched is None:
        nothing = Verdict(result="the search has nothing within the budget", evidence=_taken(manifest))
        return nothing if others else None
    if not others:
        alone = Verdict(result="no control was measured within the budget")
        return alone if len(searched.metrics) > 1 else None  # several seeds are trained for a contest only
    rivals = [entry for entry in others if entry.metrics]
    if not searched.metrics or not rivals:
        evidence = "without labels there is no metric to compare by; what the search found is taken"
        return Verdict(result="not decided", evidence=evidence)
    found = _compared(searched, max(rivals, key=lambda entry: mean(entry.metrics)), manifest)
    first = max(mean(entry.metrics) for entry in (searched, *rivals))
    faster = [entry for entry in manifest.contest if entry.chosen and entry.metrics and mean(entry.metrics) < first]
    if not faster:
        return found
    taken = f"{_quoted(faster[0])} is taken, as good within the spread and faster"
    return replace(found, evidence=taken if found.evidence == _taken(manifest) else f"{found.evidence}; {taken}")


def _compared(searched: EntryReport, rival: EntryReport, manifest: Manifest) -> Verdict:
    decimals = contest_decimals(manifest) or 0
    lead = mean(searched.metrics) - mean(rival.metrics)
    if round(lead, decimals) == 0:
        return Verdict(result=f"the search and {_quoted(rival)} are equal", evidence=_taken(manifest))
    ahead, behind = ("the search", _quoted(rival)) if lead > 0 else (_quoted(rival), "the search")
    known = [found for entry in (searched, rival) if (found := spread(entry.metrics)) is not None]
    seeds = max(len(searched.metrics), len(rival.metrics))
    margin = f"by {format_metric(abs(lead), decimals)} points over {behind}"
    if not known:
        evidence = "one seed: the spread over seeds is not known"
        return Verdict(result=f"{ahead} came first", margin=margin, evidence=evidence)
    deviation = f"the standard deviation over {seeds} seeds, {format_metric(max(known), decimals)}"
    if abs(lead) <= max(known):
        return Verdict(result=f"{ahead} came first", margin=margin, evidence=f"not more than {deviation}")
    times = f"{abs(lead) / max(known):.1f} times " if round(max(known), decimals) else "more than "
    if lead > 0:
        return Verdict(result="the search won", margin=margin, evidence=f"{times}{deviation}")
    margin = f"by {format_metric(abs(lead), decimals)} points"
    return Verdict(result=f"the search lost to {ahead}", margin=margin, evidence=f"{times}{deviation}")


def _taken(manifest: Manifest) -> str:
    return "; ".join(f"{_quoted(entry)} is taken" for entry in manifest.contest if entry.chosen)


def _quoted(entry: EntryReport) -> str:
    return f"'{printable(entry.name)}'"


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontRow:
    """One network of a front, or what it is compared with.

    Attributes:
        number: of its folder; None for the float network and for the artifact that the report is of.
        folder: where it is.
        speedup: over the float network.
        latency_us: its latency.
        accuracy: on ``eval_data``; None without it.
    """

    number: int | None
    folder: str
    speedup: float
    latency_us: LatencyUs
    accuracy: float | None


def front_rows(manifest: Manifest) -> list[FrontRow]:
    """Return the float network, the networks of the front, and the artifact itself, which is the fastest of them."""
    ends = (
        (FLOAT_ROW, 1.0, manifest.baseline.latency_us, manifest.baseline.accuracy),
        (HERE, manifest.speedup, manifest.compiled.latency_us, manifest.compiled.accuracy),
    )
    baseline, here = (
        FrontRow(number=None, folder=folder, speedup=speedup, latency_us=latency, accuracy=accuracy)
        for folder, speedup, latency, accuracy in ends
    )
    points = (
        FrontRow(
            number=point.number, folder=f"front/{point.number}", speedup=point.speedup, latency_us=point.latency_us,
            accuracy=point.accuracy,
        )
        for point in manifest.front
    )  # fmt: skip
    return [baseline, *points, here]


def front_decimals(rows: Sequence[FrontRow]) -> int | None:
    """Return how many decimals the accuracies of a front need; None if there are none."""
    known = [row.accuracy for row in rows if row.accuracy is not None]
    return metric_decimals(*known) if known else None


def dominated(rows: Sequence[FrontRow]) -> list[FrontRow]:
    """Return the networks that another one of the front is better than, in speed-up and in accuracy."""
    known = [(row, row.accuracy) for row in rows if row.accuracy is not None and row.folder != FLOAT_ROW]
    return [
        row
        for row, accuracy in known
        if any(other.speedup > row.speedup and better > accuracy for other, better in known)
    ]
