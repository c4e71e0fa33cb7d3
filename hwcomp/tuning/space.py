"""The plans that are tried for a function, in which order, and when there are no more."""

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import tvm
from tvm.s_tir import Schedule

from hwcomp.lowering.plan import Plan
from hwcomp.lowering.relax_plans import heaviest
from hwcomp.lowering.relax_schedule import MIN_ELEMENTS, SPATIAL, flat_loops

RANDOM_TRIALS, TRIALS = 24, 64
"""Plans with sums that are drawn at random, before the best is changed; and all of them."""

MAX_TILE = 256
"""Outputs of a tile: beyond this they do not stay in registers."""

MAX_STEP = 64
"""Summands of a step along an axis."""

DRAWS = 64
"""Attempts at finding a plan that was not tried."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """What may be tried for a function.

    Attributes:
        outputs: sizes of the axes of outputs of the block that does most.
        sums: sizes of its axes of sums.
        flat: its innermost loops that may become one.
        lanes: floats of a vector.
        threads: that share the work.
    """

    outputs: tuple[int, ...]
    sums: tuple[int, ...]
    flat: int
    lanes: int
    threads: int

    def next_plan(self, tried: Mapping[Plan, float | None], seed: str) -> Plan | None:
        """Return a plan to try next, None if there are no more.

        Args:
            tried: plan -> its time relative to that without a plan; None where it did not work.
            seed: of what is random: the same function is tuned alike everywhere.
        """
        if not self.sums:
            return next((plan for plan in self._maps() if plan not in tried), None)
        if len(tried) >= TRIALS:
            return None
        draw = random.Random(f"{seed} {len(tried)}")  # noqa: S311 - no secret
        good = {plan: ratio for plan, ratio in tried.items() if ratio is not None}
        best = min(good, key=good.__getitem__) if good and len(tried) >= RANDOM_TRIALS else None
        plans = (self._drawn(draw) if best is None else self._changed(best, draw) for _ in range(DRAWS))
        return next((plan for plan in plans if plan not in tried), None)

    @property
    def _shares_work(self) -> tuple[bool, ...]:
        """Whether threads may be used, likelier first."""
        if self.threads == 1:
            return (False,)
        return (True, False) if prod(self.outputs) * prod(self.sums) >= MIN_ELEMENTS else (False, True)

    def _maps(self) -> Iterator[Plan]:
        """Go through the plans without sums: every loop innermost, or several as one, with every length of vectors."""
        last = len(self.outputs) - 1
        orders: list[tuple[int | None, int]] = [(None, fused) for fused in range(1, self.flat + 1)]
        orders += [(axis, 1) for axis in range(last) if self.outputs[axis] > 1]
        vectors = (self.lanes, 2 * self.lanes, 4 * self.lanes, self.lanes // 2, 0)
        for parallel, (innermost, fused), vector in itertools.product(self._shares_work, orders, vectors):
            size = prod(self.outputs[last + 1 - fused :]) if innermost is None else self.outputs[innermost]
            has_outer = vector > 0 or fused <= last
            if (vector == 0 or (size % vector == 0 and size >= vector)) and (has_outer or not parallel):
                yield Plan(innermost=innermost, fused=fused, vector=vector, parallel=parallel)

    def _drawn(self, draw: random.Random) -> Plan:
        """Return any plan with sums."""
        wide = [axis for axis, size in enumerate(self.outputs) if size > 1] or [len(self.outputs) - 1]
        innermost = draw.choice([wide[-1], *wide])  # the last one goes through memory in order: twice as likely
        tiles = [1] * len(self.outputs)
        tiles[innermost] = self._length(self.outputs[innermost], draw)
        for axis in draw.sample(wide, len(wide)):
            if axis != innermost:
                room = MAX_TILE // prod(tiles)
                tiles[axis] = draw.choice([size for size in divisors(self.outputs[axis]) if size <= max(1, room)])
        steps = [draw.choice([size for size in divisors(total) if size <= MAX_STEP]) for total in self.sums]
        return Plan(
            innermost=innermost,
            tiles=(*tiles, *steps),
            keeps_inputs=draw.random() < 0.5,
            parallel=draw.choice(self._shares_work),
        )

    def _length(self, size: int, draw: random.Random) -> int:
        """Return a length of vectors that divides a size, whole ones if there are such."""
        fitting = [one for one in divisors(size) if one <= 4 * self.lanes]
        whole = [one for one in fitting if one % self.lanes == 0]
        return draw.choice(whole or [one for one in fitting if 4 * one >= self.lanes] or fitting)

    def _changed(self, plan: Plan, draw: random.Random) -> Plan:
        """Return a plan that takes one decision, or two, from another one."""
        other = self._drawn(draw)
        if draw.random() < 0.3:
            return replace(plan, keeps_inputs=not plan.keeps_inputs)
        if plan.innermost != other.innermost:
            return other
        tiles = list(plan.tiles)
        for axis in draw.sample(range(len(tiles)), min(2, len(tiles))):
            tiles[axis] = other.tiles[axis]
        return replace(plan, tiles=tuple(tiles))


def divisors(number: int) -> list[int]:
    """Return the divisors of a number, the smallest first."""
    return [one for one in range(1, number + 1) if number % one == 0]


def space_of(function: Any, lanes: int, threads: int) -> Space:
    """Return what may be tried for a function that TVM generated.

    Args:
        function: without a schedule.
        lanes: floats of a vector.
        threads: that share the work.
    """
    schedule = Schedule(tvm.IRModule({"main": function}))
    block = schedule.get(heaviest(schedule, keeps_inputs=False))
    outputs = tuple(int(axis.dom.extent) for axis in block.iter_vars if int(axis.iter_type) == SPATIAL)
    sums = tuple(int(axis.dom.extent) for axis in block.iter_vars if int(axis.iter_type) != SPATIAL)
    flat = 1 if sums else flat_loops(block)
    return Space(outputs=outputs, sums=sums, flat=flat, lanes=lanes, threads=threads)
