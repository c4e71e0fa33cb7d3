"""What the user may ask of the differentiable search."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Level = Literal["bilevel", "single"]
"""Whether the choices learn from batches of their own, or from those of the weights."""


class SearchOptions(BaseModel):
    """Options of ``--method differentiable``.

    Attributes:
        estimator: name of a file of `hwcomp.estimators`, or ``path/to/file.py:Class``.
        latency_term: likewise, of `hwcomp.latency_terms`.
        search_share: share of the training that the search takes; the rest trains what it found.
        warmup: share of the search in which only the weights learn.
        choice_rate: learning rate of the logits.
        filter_share: share of a layer's filters that may compute in a more precise scheme than the rest; 0 for layers
            of one scheme each.
        fixed_widths: whether all channels stay, so that only precision (and zeros, if asked for) is searched.
        sparse: whether layers may also compute with a part of their weights, see `hwcomp.sparse_costs`.
        level: whether the choices learn from batches of their own; "single" takes half the data, and one backward pass
            where the estimator's coefficients can be differentiated.
        order: 1, or 2 to look through one step of the weights (five times the work).
        weight_noise: share of the rounded weights that get uniform noise of up to half a step in training instead of
            being rounded, drawn anew in every pass, see `hwcomp.supernet.weights.round_weight`.
        controls: also train what the search must beat, and take the best.
        seeds: trainings of each configuration, where controls are asked for.
        pareto: so many artifacts along the front of latency and accuracy; None for one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    estimator: str = "weight_mixture"
    latency_term: str = "lagrangian"
    search_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    choice_rate: Annotated[float, Field(gt=0)] = 0.05
    filter_share: Annotated[float, Field(ge=0, lt=1)] = 0.25
    fixed_widths: bool = False
    sparse: bool = False
    level: Level = "bilevel"
    order: Literal[1, 2] = 1
    weight_noise: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    controls: bool = False
    seeds: Annotated[int, Field(ge=1)] = 3
    pareto: Annotated[int, Field(ge=2)] | None = None

    @property
    def given(self) -> list[str]:
        """The options that are not as they are by default, in order."""
        return [name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default]
