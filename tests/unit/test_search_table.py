"""A budget becomes the table's microseconds by networks that were measured as wholes."""

import pytest

from hwcomp.config import Budget
from hwcomp.errors import InputError
from hwcomp.groups import Groups
from hwcomp.search_table import SearchTable
from tests.joint_tables import random_joint

GROUPS = Groups(groups=(), frozen=(), values={}, axes={}, units=[])


def table(shares: tuple[float, ...], table_us: tuple[float, ...]) -> SearchTable:
    return SearchTable(
        key="", groups=GROUPS, joint=random_joint(0), widths={}, float_us=400.0, shares=shares, table_us=table_us
    )


def test_the_level_is_read_off_the_measured_networks() -> None:
    """The table takes a network that was measured at half the float latency for one of 60 %."""
    one = table((0.25, 0.5, 1.0), (200.0, 300.0, 500.0))
    assert one.limit_us(Budget(kind="speedup", value=2.0)) == pytest.approx(300)
    assert one.limit_us(Budget(kind="speedup", value=4.0)) == pytest.approx(200)
    assert one.limit_us(Budget(kind="latency", value=300.0)) == pytest.approx(400)  # three quarters of float
    assert one.limit_us(Budget(kind="latency", value=400.0)) == pytest.approx(500)


def test_what_the_smallest_network_misses_is_refused_with_what_can_be_reached() -> None:
    one = table((0.25, 1.0), (200.0, 500.0))
    one.check(Budget(kind="speedup", value=4.0))
    for budget in (Budget(kind="speedup", value=4.1), Budget(kind="latency", value=99.0)):
        with pytest.raises(InputError, match=r"out of reach: the smallest network of the space takes 0.1 ms, 4.00x"):
            one.check(budget)
