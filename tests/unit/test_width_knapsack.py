"""Widths are chosen exactly: as good as trying all of them."""

import itertools
import random

import numpy as np
import pytest

from hwcomp.search.width_knapsack import solve_widths
from hwcomp.width_law import Polynomial

NAMES = ("a", "b", "c", "d")


def problem(seed: int) -> tuple[Polynomial, dict[str, list[int]], dict[str, np.ndarray]]:
    generator = random.Random(seed)
    widths = {name: [4, 8, 12, 16][: generator.randint(2, 4)] for name in NAMES}
    pairs = [tuple(sorted(generator.choices(NAMES, k=2))) for _ in range(5)]
    law = Polynomial(
        constant=10 * generator.random(),
        linear={name: 3 * generator.random() for name in NAMES},
        pairs={pair: generator.random() for pair in pairs},
    )
    values = {name: np.cumsum([generator.random() for _ in widths[name]]) for name in NAMES}
    return law, widths, values


def worth(chosen: dict[str, int], widths: dict[str, list[int]], values: dict[str, np.ndarray]) -> float:
    return sum(float(values[name][widths[name].index(width)]) for name, width in chosen.items())


@pytest.mark.parametrize("seed", range(12))
def test_as_good_as_trying_everything(seed: int) -> None:
    law, widths, values = problem(seed)
    every = [dict(zip(NAMES, choice, strict=True)) for choice in itertools.product(*widths.values())]
    limit_us = float(np.quantile([law(chosen) for chosen in every], 0.4))
    best = max(worth(chosen, widths, values) for chosen in every if law(chosen) <= limit_us)
    chosen = solve_widths(law, widths, values, limit_us)
    assert chosen is not None
    assert law(chosen) <= limit_us * (1 + 1e-6)
    assert worth(chosen, widths, values) >= best * (1 - 2e-3)


def test_nothing_is_fast_enough() -> None:
    law, widths, values = problem(0)
    smallest_us = law({name: options[0] for name, options in widths.items()})
    assert solve_widths(law, widths, values, 0.99 * smallest_us) is None


def test_without_need_nothing_is_removed() -> None:
    law, widths, values = problem(1)
    largest = {name: options[-1] for name, options in widths.items()}
    assert solve_widths(law, widths, values, 1.01 * law(largest)) == largest
