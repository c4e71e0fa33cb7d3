"""What every bench gives and what they do alike: sensitivity, distances of outputs, accuracy."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, final

from hwcomp.config import CompileConfig
from hwcomp.console import Reporter
from hwcomp.cost import CostTable
from hwcomp.data import eval_samples
from hwcomp.entries import Profile
from hwcomp.evaluation import Runner, accuracies, output_distance, points_lost, reference_outputs
from hwcomp.lowering.onnxruntime import Array
from hwcomp.measurement import Measurement
from hwcomp.prepared import Prepared
from hwcomp.scheme import FLOAT, FLOAT16, is_sparse
from hwcomp.search.knapsack import Sensitivity, solve
from hwcomp.search.post_training import Candidate
from hwcomp.search.sensitivity import sensitivity
from hwcomp.space import Assignment
from hwcomp.stages import Stages, digest
from hwcomp.workload import Workload

if TYPE_CHECKING:
    from typing_extensions import Self

DISTANCE_INPUTS = 16
SENSITIVITY_INPUTS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """The metric on the test data.

    Attributes:
        baseline: of the original float network.
        compiled: of the chosen one.
        judge: of the one that it must not fall below by more than allowed.
    """

    baseline: float
    compiled: float
    judge: float


@dataclass(frozen=True, kw_only=True)
class Final:
    """The chosen network with its final numbers.

    Attributes:
        candidate: what was chosen.
        is_plain: whether it is the float baseline itself, because nothing was faster.
        baseline: latency of the float baseline.
        compiled: latency of the chosen network.
        ratios: speed-up in each round; empty if not measured.
        speedup: the median of the ratios, or the table's.
        predicted_us: by the table, for a machine as fast as during the final rounds.
        profile: where the chosen network's time goes; None if not measured.
        accuracy: on the test data; None without it.
        met: whether the budget holds.
    """

    candidate: Candidate
    is_plain: bool
    baseline: Measurement
    compiled: Measurement
    ratios: list[float]
    speedup: float
    predicted_us: float
    profile: Profile | None
    accuracy: Accuracy | None
    met: bool


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a bench works with.

    Attributes:
        prepared: the workload, ready for search.
        workload: as it was given.
        config: what was asked.
        stages: results of earlier runs.
        reporter: prints progress.
        threads: of the runtime.
    """

    prepared: Prepared
    workload: Workload
    config: CompileConfig
    stages: Stages
    reporter: Reporter
    threads: int


class Bench(ABC):
    """Fills the cost table, checks candidates and gives the final numbers for one device; use it in a ``with``.

    Attributes:
        context: what it works with.
        float_us: latency of the float baseline when the table was made.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.float_us = 0.0
        self._reference: list[tuple[Array, ...]] = []

    @abstractmethod
    def cost_table(self) -> CostTable:
        """Return the latency of every choice."""

    @abstractmethod
    def check(self, assignment: Assignment, predicted_us: float) -> Candidate:
        """Lower an assignment, find its latency and see what it computes."""

    @abstractmethod
    def refine(self, candidate: Candidate) -> CostTable:
        """Return the table that also knows where a candidate's time goes."""

    @abstractmethod
    def conclude(self, tried: list[Candidate]) -> Final:
        """Return the last of the candidates, or the float baseline if that is not beaten, with its final numbers."""

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of what was held."""

    @final
    def __enter__(self) -> "Self":
        return self

    @final
    def __exit__(self, *_: object) -> None:
        self.close()

    def remarks(self) -> list[str]:
        """Return what is to be known of the measurements, one sentence each."""
        return []

    @final
    def sensitivity(self) -> Sensitivity:
        """Measure the sensitivity of every choice, or take it from an earlier run."""
        context = self.context
        prepared, stage = context.prepared, context.reporter.stage("Sense")
        key = digest(prepared.key, SENSITIVITY_INPUTS)
        found = context.stages.has("sensitivity", key)
        inputs = prepared.data.inputs[:SENSITIVITY_INPUTS]

        def compute() -> Any:
            with stage.bar("rounding one part at a time") as bar:
                result = sensitivity(
                    prepared.program,
                    inputs,
                    prepared.params,
                    prepared.seen,
                    prepared.target.weight_bits,
                    progress=bar.share,
                )
            return asdict(result)

        kept = context.stages.json("sensitivity", key, compute)
        source = ", from an earlier run" if found else ""
        stage.done(f"{len(kept['weights'])} weights and {len(kept['tensors'])} tensors rounded one at a time{source}")
        return Sensitivity(weights=kept["weights"], tensors=kept["tensors"])

    @final
    def distance(self, model: bytes) -> float:
        """Return the distance of a network's outputs from those of the float network that is quantised."""
        inputs = self.context.prepared.data.inputs[:DISTANCE_INPUTS]
        if not self._reference:
            self._reference = reference_outputs(self.context.prepared.own, inputs)
        return output_distance(self._reference, model, inputs)

    @final
    def drop(self, model: bytes, latency_us: float) -> float | None:
        """Return the points lost on held-out training samples; None without labels."""
        context = self.context
        if not context.prepared.data.validation or context.config.budget.max_drop is None:
            return None
        before, after = (Runner(one, context.threads) for one in (context.prepared.judge, model))
        return points_lost(before, after, context.prepared.data.validation, context.workload.metric, latency_us)

    @final
    def accuracy(self, model: bytes) -> Accuracy | None:
        """Return the metric on the test data, or None without it."""
        labelled = eval_samples(self.context.workload)
        if labelled is None:
            return None
        prepared, stage = self.context.prepared, self.context.reporter.stage("Evaluate")
        models = [prepared.plain, model] + ([prepared.judge] if prepared.judge is not prepared.plain else [])
        with stage.bar("test data", total=None) as bar:
            runners = [Runner(one, self.context.threads) for one in models]
            before, after, *own = accuracies(runners, labelled, self.context.workload.metric, bar.advance)
        smaller = f", smaller float network {own[0]:.2f}" if own else ""
        stage.done(f"metric on eval_data: float {before:.2f}{smaller}, compiled {after:.2f}")
        return Accuracy(baseline=before, compiled=after, judge=own[0] if own else before)

    @final
    def met(self, candidate: Candidate, accuracy: Accuracy | None) -> bool:
        """Return whether a network meets the budget, on the test data too where there is any."""
        budget = self.context.config.budget
        kept = accuracy is None or budget.max_drop is None or accuracy.judge - accuracy.compiled <= budget.max_drop
        return kept and candidate.is_fast(budget) and candidate.is_accurate(budget)

    def _usable(self, candidate: Candidate) -> bool:
        """Return whether a candidate may stand for the result: if accuracy has no limit or is within it."""
        budget = self.context.config.budget
        return budget.kind != "fastest" or candidate.is_accurate(budget)

    @final
    def best_usable(self, tried: list[Candidate]) -> Candidate:
        """Return the last of the candidates; of a smaller network of which none is usable, its float form."""
        prepared = self.context.prepared
        best = tried[-1] if tried else self.plain_candidate(self.float_us)
        if self._usable(best) or prepared.own is prepared.plain:
            return best
        return self.check(prepared.space.everywhere(), best.predicted_us)

    @final
    def plain_candidate(self, latency_us: float) -> Candidate:
        """Return the float baseline itself as a candidate."""
        assignment = self.context.prepared.space.everywhere()
        return Candidate(
            assignment=assignment,
            model=self.context.prepared.plain,
            predicted_us=latency_us,
            latency_us=latency_us,
            speedup=1.0,
            distance=0.0,
            drop=0.0,
        )

    @final
    def report_reach(self, table: CostTable) -> None:
        """Print the float latency and the fastest that the table knows."""
        fastest = solve(table, Sensitivity(weights={}, tensors={}))
        reach_us = table.predict_us(fastest) if fastest is not None else self.float_us
        label = "" if table.provenance == "measured" else f" ({table.provenance})"
        self.context.reporter.stage("Reach").done(
            f"float {self.float_us / 1e3:.3f} ms, fastest {reach_us / 1e3:.3f} ms{label}, "
            f"budget: {self.context.config.budget}"
        )


def describe(candidate: Candidate) -> str:
    """Return in one line what a candidate is and how it did."""
    chosen = candidate.assignment.values()
    sparse = sum(map(is_sparse, chosen))
    narrow = sum(choice != FLOAT for choice in chosen) - sparse
    how = "in float16" if FLOAT16.name in chosen else "quantised"
    drop = "" if candidate.drop is None else f", {candidate.drop:.2f} points lost on held-out training samples"
    return (
        f"{narrow} of {len(chosen)} operators {how}{f', {sparse} sparse' if sparse else ''}: "
        f"{candidate.latency_us / 1e3:.3f} ms, "
        f"{candidate.speedup:.2f}x, output distance {candidate.distance:.3f}{drop}"
    )
