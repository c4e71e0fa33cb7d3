"""The schema of ``manifest.json``: what was compiled, for what, and how fast it is."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from hwcomp.config import Provider
from hwcomp.measurement import Measurement
from hwcomp.provenance import Provenance

SCHEMA_VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class LatencyUs(_Part):
    """Latency in microseconds: median, 10th and 90th percentile of ``runs`` runs (0 runs: estimated)."""

    median: float
    p10: float
    p90: float
    runs: int
    provenance: Provenance

    @classmethod
    def of(cls, measurement: Measurement) -> "LatencyUs":
        """Return the manifest's form of a measurement."""
        return cls(
            median=measurement.median_us,
            p10=measurement.p10_us,
            p90=measurement.p90_us,
            runs=measurement.runs,
            provenance=measurement.provenance,
        )


class BudgetReport(_Part):
    """What was asked, and whether it was met; latency in microseconds, speed-up as a ratio, drop in points."""

    kind: Literal["latency", "speedup", "fastest"]
    value: float
    max_drop: float | None
    met: bool


class Version(_Part):
    """One network: float or compiled. Accuracy is the workload's metric on ``eval_data``; None without it."""

    latency_us: LatencyUs
    accuracy: float | None
    size_bytes: int


class Compiled(Version):
    """The compiled network; the prediction is for the machine as fast as it was when the float one was measured.

    ``output_distance`` is relative to the outputs of the float network; None where it was not run.
    """

    predicted_latency_us: float
    output_distance: float | None


class SiteReport(_Part):
    """One operator: its choice and why; its own kernels in the compiled and in the float network, in microseconds."""

    name: str
    op: str
    choice: str
    reason: str
    latency_us: float
    baseline_latency_us: float
    predicted_latency_us: float
    sensitivity: float


class ConversionReport(_Part):
    """Where a tensor changes between integers and float, or its layout, in microseconds."""

    tensor: str
    latency_us: float


class WidthReport(_Part):
    """Channels that can only be removed together, named by the operator that makes them first."""

    group: str
    kept: int
    channels: int


class TrainingReport(_Part):
    """One epoch of training: mean loss, and the metric on validation samples."""

    epoch: int
    loss: float
    metric: float | None
    rate: float
    seconds: float


class SearchReport(_Part):
    """One epoch of a differentiable search; the entropy is relative to that of equal probabilities."""

    epoch: int
    expected_us: float
    budget_us: float
    multiplier: float
    entropy: float
    loss: float


class EntryReport(_Part):
    """One configuration that was trained within the budget; a metric on validation samples for each seed."""

    name: str
    latency_us: float
    speedup: float
    metrics: list[float]
    chosen: bool


class VersionReport(_Part):
    """The whole network in one precision for one runtime, in microseconds; why it could not be compared, if so.

    ``distance`` is that of its outputs from the float network's, relative to these, ``drop`` the points that it loses
    on held-out training samples; either is None where it was not looked at.
    """

    name: str
    latency_us: float | None = None
    speedup: float | None = None
    distance: float | None = None
    drop: float | None = None
    taken: bool = False
    refused: str = ""


class PointReport(_Part):
    """One network of a front; it is in the folder ``front/NUMBER`` of the artifact."""

    number: int
    latency_us: LatencyUs
    speedup: float
    accuracy: float | None


class TargetReport(_Part):
    """The device that was compiled for, and this very one where it was measured; what computes there."""

    name: str
    description: str
    activation: str
    threads: int
    provider: Provider = "cpu"


class RuntimeReport(_Part):
    """The runtime that the artifact is for; the precision of all products, where it is one for all.

    ``provider_options`` are what ONNX Runtime's provider wants to be given besides the file.
    """

    name: str
    version: str
    precision: str | None = None
    provider_options: dict[str, str] = {}


class ReachReport(_Part):
    """What could be reached, by the table: in microseconds; its relative error on held-out whole runs."""

    float_us: float
    fastest_us: float
    table_error: float
    held_out: int = 0
    provenance: Provenance


class Manifest(_Part):
    """Everything about one artifact."""

    schema_version: int = SCHEMA_VERSION
    name: str
    target: TargetReport
    runtime: RuntimeReport
    method: str
    seed: int
    budget: BudgetReport
    baseline: Version
    compiled: Compiled
    speedup: float
    speedup_rounds: list[float]
    reach: ReachReport
    sites: list[SiteReport]
    conversions: list[ConversionReport]
    widths: list[WidthReport] = []
    training: list[TrainingReport] = []
    search: list[SearchReport] = []
    contest: list[EntryReport] = []
    versions: list[VersionReport] = []
    front: list[PointReport] = []
    notes: list[str]
    calibration: str
    assignment: dict[str, str]
    environment: dict[str, str]
    files: dict[str, str]
