"""What came of a search, in words: where it ended, whether it won, and what else it gave."""

from hwcomp.headline import Headline
from hwcomp.manifest import Manifest
from hwcomp.report_facts import format_us, is_measured
from hwcomp.search_facts import front_rows, search_budget_us, uses_multiplier, verdict


def search_headline(manifest: Manifest) -> Headline | None:
    """Return what a search ended with; None where there was none."""
    if not manifest.search:
        return None
    last, budget_us, count = manifest.search[-1], search_budget_us(manifest), len(manifest.search)
    beside = "" if budget_us is None else f", {_beside(last.expected_us / budget_us)} of {format_us(budget_us)}"
    multiplier = f"multiplier {last.multiplier:.3g}, " if uses_multiplier(manifest) else ""
    return Headline(
        label="Search",
        value=f"expected {format_us(last.expected_us)}",
        words=f"after {count} epoch{'s' if count > 1 else ''}{beside}",
        detail=f"{multiplier}entropy {last.entropy:.2f}, loss {last.loss:.3g}",
    )


def _beside(share: float) -> str:
    """Return where a latency lies by the budget's."""
    percent = f"{100 * abs(share - 1):.1f} %"
    if percent == "0.0 %":
        return "at the budget"
    return f"{percent} {'above' if share > 1 else 'below'} the budget"


def contest_headline(manifest: Manifest) -> Headline | None:
    """Return whether the search was better than its controls; None where nothing else was trained."""
    found = verdict(manifest)
    if found is None:
        return None
    return Headline(label="Contest", value=found.result, words=found.margin, detail=found.evidence)


def front_headline(manifest: Manifest) -> Headline | None:
    """Return how many networks there are to choose from, and how fast they are; None where there is one."""
    if not manifest.front:
        return None
    speedups = [row.speedup for row in front_rows(manifest)[1:]]
    return Headline(
        label="Front",
        value=f"{len(speedups)} networks",
        words=f"from {min(speedups):.2f}x to {max(speedups):.2f}x{'' if is_measured(manifest) else ', estimated'}",
        detail=f"in front/1{f' to front/{len(manifest.front)}' if len(manifest.front) > 1 else ''}, and here",
    )
