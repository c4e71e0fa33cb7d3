"""What may be decided about a schedule; kept as JSON, and free of TVM, so that reading it is fast."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How the block of a function that does most is scheduled; see `hwcomp.lowering.relax_plans`.

    Attributes:
        innermost: number of the axis of outputs whose loop runs innermost; None for the last one.
        fused: innermost loops that become one, for blocks that sum nothing.
        vector: outputs that are computed side by side; 0 leaves that to LLVM. With sums, the innermost tile says it.
        tiles: outputs of a tile along each axis, then summands of a step along each axis of sums; empty without sums.
        keeps_inputs: what the sums read is computed once and kept, and not where it is read.
        parallel: whether the outer loops are divided between threads.
    """

    innermost: int | None = None
    fused: int = 1
    vector: int = 0
    tiles: tuple[int, ...] = ()
    keeps_inputs: bool = False
    parallel: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        return {**asdict(self), "tiles": list(self.tiles)}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Plan":
        """Return the plan that was kept as JSON."""
        return cls(**{**kept, "tiles": tuple(kept["tiles"])})


PlanOf = Callable[[Any], Plan | None]
"""Function of TVM -> its plan, or None for the schedule that it gets without one."""


def no_plan(function: Any) -> None:
    """Return that a function has no plan."""
