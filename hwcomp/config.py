"""What the user may ask for."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hwcomp.errors import InputError
from hwcomp.search_options import SearchOptions
from hwcomp.sparse_options import DEFAULT_PATTERN, asked_sparse

UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6}
"""Units that a latency may be written in, in microseconds."""

DEFAULT_MAX_DROP = 1.0
"""Points of the metric that may be lost if nothing else limits the search."""


class Budget(BaseModel):
    """A limit that the compiled network must meet.

    Attributes:
        kind: "latency" (at most value microseconds), "speedup" (at least value times the float network) or
            "fastest" (no limit: as fast as the accuracy allows).
        value: see kind; 0 for "fastest".
        max_drop: points of the metric that may be lost; None for no limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["latency", "speedup", "fastest"]
    value: float = 0.0
    max_drop: float | None = None

    @model_validator(mode="after")
    def _has_a_limit(self) -> "Budget":
        if (self.kind == "fastest") != (self.value == 0) or self.value < 0:
            raise ValueError("a latency or speed-up must be greater than zero, and 'fastest' takes no value")
        return self

    def __str__(self) -> str:
        allowed = "" if self.max_drop is None else f" within {self.max_drop:g} points"
        if self.kind == "latency":
            return f"{self.value / 1e3:g} ms{allowed}"
        return f"{self.value:g}x{allowed}" if self.kind == "speedup" else f"as fast as possible{allowed}"


def Latency(text: str, max_drop: float | None = None) -> Budget:  # noqa: N802 - reads as a type where it is used
    """Return the budget of a latency written with its unit: "4ms", "350us", "0.2 s".

    Raises:
        InputError: no unit, or not a positive number.
    """
    match = re.fullmatch(r"\s*([-+0-9.eE]+)\s*(us|µs|ms|s)?\s*", text)
    if match is None:
        raise InputError(f"Latency '{text}' is not a number with a unit; write for example 4ms, 350us or 0.2s.")
    if match.group(2) is None:
        raise InputError(f"Latency '{text}' has no unit; write {text.strip()}ms or {text.strip()}us.")
    value = _positive(match.group(1), f"Latency '{text}'") * UNITS_US[match.group(2).replace("µ", "u")]
    return Budget(kind="latency", value=value, max_drop=_checked_drop(max_drop))


def Speedup(text: str | float, max_drop: float | None = None) -> Budget:  # noqa: N802
    """Return the budget of a speed-up over the float network: "2x", "1.5", 2.

    Raises:
        InputError: not a positive number.
    """
    value = _positive(str(text).strip().removesuffix("x"), f"Speed-up '{text}'")
    return Budget(kind="speedup", value=value, max_drop=_checked_drop(max_drop))


def Fastest(max_drop: float = DEFAULT_MAX_DROP) -> Budget:  # noqa: N802
    """Return the budget that asks for the fastest network that loses at most ``max_drop`` points."""
    return Budget(kind="fastest", max_drop=_checked_drop(max_drop))


def _positive(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{what} is not a number; write for example 4ms or 2x.") from None
    if not 0 < value < float("inf"):
        raise InputError(f"{what} must be greater than zero.")
    return value


def _checked_drop(max_drop: float | None) -> float | None:
    if max_drop is not None and not 0 <= max_drop < float("inf"):
        raise InputError(f"The largest drop must be zero or more points; found {max_drop:g}.")
    return max_drop


Precision = Literal["float32", "float16", "bfloat16", "int8", "weight8", "weight4"]
"""Of a whole network on a GPU, whose inputs and outputs stay float32: number format of products, or for the last two
that of the weights of linear layers, whose products are float16."""

Provider = Literal["cpu", "cuda", "tensorrt"]
"""What computes a model in ONNX Runtime: the processor, or a GPU by one of two execution providers."""

Method = Literal[
    "post_training",
    "uniform_pruning",
    "latency_pruning",
    "soft_filter_pruning",
    "asymptotic_soft_filter_pruning",
    "magnitude_pruning",
    "score_pruning",
    "differentiable",
]
"""How a network is made faster: by precision, by fewer channels or weights, or by both; one file each in
`hwcomp.search`."""

BY_CHANNELS: frozenset[Method] = frozenset({"uniform_pruning", "soft_filter_pruning", "asymptotic_soft_filter_pruning"})
"""Methods that remove the share of channels that the user gives."""

BY_DENSITY: frozenset[Method] = frozenset({"magnitude_pruning", "score_pruning"})
"""Methods that leave the share of weights that the user gives."""

BY_RATE: frozenset[Method] = BY_CHANNELS | BY_DENSITY
"""Methods that are told how much to remove: accuracy is then compared with that of what they leave."""

BY_LATENCY: frozenset[Method] = frozenset({"latency_pruning", "differentiable"})
"""Methods that find the widths by the latency that the user gives."""

SOFT: frozenset[Method] = frozenset({"soft_filter_pruning", "asymptotic_soft_filter_pruning"})
"""Methods whose filters are zero for a while before they are removed."""

OWN_OPTIONS: dict[str, frozenset[Method]] = {
    "rate": BY_CHANNELS,
    "density": BY_DENSITY,
    "pattern": BY_DENSITY,
    "importance": BY_CHANNELS | BY_LATENCY,
    "steps": frozenset({"latency_pruning"}),
    "from_scratch": SOFT,
    "recovery": SOFT,
    "paper": SOFT,
}
"""Fields of `Shrinking` that only some methods take."""

OPTIONS = {"rate": "prune_rate", "precision": "mixed_precision", "order": "search_order", "level": "search_level"}
"""Fields of `Shrinking` and `SearchOptions` that have another name on the command line."""


class Shrinking(BaseModel):
    """Options of the methods that train.

    Attributes:
        rate: share of the channels of every group that is removed; None for methods that a latency decides for.
        density: share of the weights that stay in the layers that are made sparse; None where the pattern tells it.
        pattern: how the weights that stay lie: blocks of output x input channels, "4x1" say, or "2of4".
        epochs: of training; with ``minutes``, the most of them.
        minutes: of training.
        learning_rate: the highest; None for the method's own.
        clip: largest norm of all gradients together; None for the method's own.
        precision: "bf16" for mixed precision of the training: faster where the processor multiplies in it.
        importance: name of a function of `hwcomp.importance`, or ``path/to/file.py:function``; None for the method's.
        steps: how many times channels are removed, with training after each.
        from_scratch: start from fresh weights instead of the given ones.
        recovery: share of the training that soft pruning leaves for after the zero filters were removed; the papers
            have none, but long schedules.
        tensorboard: folder for event files of TensorBoard; None for none.
        paper: soft pruning of every layer for itself, as the papers do to count; nothing gets faster.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: Annotated[float, Field(ge=0, lt=1)] | None = None
    density: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    pattern: str = DEFAULT_PATTERN
    epochs: Annotated[int, Field(ge=1)] | None = None
    minutes: Annotated[float, Field(gt=0)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    clip: Annotated[float, Field(gt=0)] | None = None
    precision: Literal["no", "bf16"] = "no"
    importance: str | None = None
    steps: Annotated[int, Field(ge=1)] = 1
    from_scratch: bool = False
    recovery: Annotated[float, Field(ge=0, lt=1)] = 0.3
    tensorboard: Path | None = None
    paper: bool = False

    @property
    def given(self) -> list[str]:
        """The options that are not as they are by default, in order."""
        return [name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default]


class CompileConfig(BaseModel):
    """Options of one compilation.

    Attributes:
        target: name, alias or path of a target.
        budget: what must be met.
        calibration: number of calibration inputs.
        threads: of the runtime; None for all cores of the target.
        seed: of everything random; the same seed gives the same assignment from the same table.
        out: folder of the artifact; None for build/NAME-TARGET.
        force: overwrite a folder that hwcomp did not write.
        ranges: how activation ranges are chosen.
        dry_run: stop before anything is measured or written.
        store: the latency store; None for ``HWCOMP_STORE``, or the one in the user's data folder.
        method: what makes the network faster.
        shrinking: options of the methods that train.
        searching: options of the differentiable search.
        device: "local" or "ssh://user@host" to measure on; None for this machine if it is the target, else none.
        runtime: what runs the artifact; auto for the target's own. TVM runs float networks only, with zeros left out.
        precision: of the whole network on a GPU; None for the fastest that is accurate enough, by measurement where
            there is a device. Processors get one for each operator.
        database: of schedules that `hwcomp tune` found; None for the one of this machine, if there is one.

    Raises:
        ValidationError: a value is out of its range.
        InputError: the method does not take an option that was given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str = "host"
    budget: Budget = Budget(kind="fastest", max_drop=DEFAULT_MAX_DROP)
    calibration: Annotated[int, Field(gt=0)] = 64
    threads: Annotated[int, Field(gt=0)] | None = None
    seed: int = 0
    out: Path | None = None
    force: bool = False
    ranges: Literal["minmax", "percentile", "mse"] = "mse"
    dry_run: bool = False
    store: Path | None = None
    method: Method = "post_training"
    shrinking: Shrinking = Shrinking()
    searching: SearchOptions = SearchOptions()
    device: str | None = None
    runtime: Literal["auto", "onnxruntime", "tvm"] = "auto"
    precision: Precision | None = None
    database: Path | None = None

    @model_validator(mode="after")
    def _suits_its_runtime(self) -> "CompileConfig":
        """Refuse options that the runtime would pass over in silence."""
        option = "--runtime tvm" if self.runtime == "tvm" else f"--precision {self.precision}"
        if (self.runtime == "tvm" or self.precision is not None) and self.method != "post_training":
            raise InputError(
                f"{option} compiles a network as it is, and --method {self.method} trains it: train first, and "
                "compile the artifact's program."
            )
        if self.database is not None and self.runtime != "tvm":
            raise InputError("--database holds schedules for --runtime tvm; give that too.")
        return self

    @model_validator(mode="after")
    def _takes_its_options(self) -> "CompileConfig":
        """Refuse options that the method would pass over in silence; options are named as on the command line."""
        given = self.shrinking.given
        if self.method == "post_training" and given:
            raise InputError(
                f"{_option(given[0])} is for methods that train the network; give --method too, for example "
                "--method latency_pruning."
            )
        if self.method in BY_LATENCY and "rate" in given:
            raise InputError(f"{self.method} finds the widths itself; give --latency or --speedup, not --prune-rate.")
        if self.method != "differentiable" and self.searching.given:
            raise InputError(f"{_option(self.searching.given[0])} is for --method differentiable.")
        if self.searching.order == 2 and self.searching.level == "single":
            raise InputError(
                "--search-order 2 looks through a step of the weights at batches of the choices' own, which "
                "--search-level single has none of; give one of the two."
            )
        if "seeds" in self.searching.given and not self.searching.controls:
            raise InputError("--seeds is for --controls, which trains each configuration several times; give it too.")
        for name, methods in OWN_OPTIONS.items():
            if name in given and self.method not in methods:
                raise InputError(f"{_option(name)} is for {_listed(methods)}.")
        if self.method in BY_DENSITY:
            asked_sparse(self.method, self.shrinking.pattern, self.shrinking.density)
        return self


def _listed(methods: frozenset[Method]) -> str:
    *others, last = sorted(methods, reverse=True)
    return f"{', '.join(others)} and {last}" if others else last


def _option(name: str) -> str:
    return f"--{OPTIONS.get(name, name).replace('_', '-')}"
