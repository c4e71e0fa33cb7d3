"""A configuration becomes a network: what training learns of it is what is lowered."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
from tiny_search import TARGET, samples, setting

from hwcomp.program import Program
from hwcomp.search.configurations import Realiser
from hwcomp.search.joint_projection import Configuration
from hwcomp.search.same_graph import replaced
from hwcomp.supernet.stores import StoredTensor
from hwcomp.train import EpochRecord

RECORD = EpochRecord(epoch=1, loss=0.5, metric=70.0, rate=0.1, seconds=0.0)


@dataclass(frozen=True, kw_only=True)
class Doubling:
    """A training in whose end every tensor that is stored as integers has steps of another size."""

    factor: float
    seed: int = 0

    def recalibrated(self, network: Program) -> Program:
        return network

    def __call__(self, network: Program, *_: Any, **__: Any) -> tuple[Program, tuple[EpochRecord, ...]]:
        module = deepcopy(network.module)
        roundings = {one.rounding for one in module.modules() if isinstance(one, StoredTensor)}
        assert roundings
        for rounding in roundings:
            rounding.step.data.mul_(self.factor)
        return replaced(network, module), (RECORD,)


def realised(factor: float) -> Any:
    where = setting()
    recovery: Any = Doubling(factor=factor)
    realiser = Realiser(
        network=where.traced, groups=where.groups, scores=where.scores, target=TARGET, inputs=((samples()[0][:8],),),
        ranges="minmax", recovery=recovery,
    )  # fmt: skip
    assignment = where.joint.table.space.everywhere("int8")
    widths = {group: few[0] for group, few in where.widths.items()}
    one = Configuration(assignment=assignment, widths=widths, predicted_us=1.0)
    return realiser.trained(one, "tiny", share=0.5, seed=1)


def test_the_steps_that_training_learned_are_those_of_the_network() -> None:
    before, after = realised(1.0), realised(2.0)
    assert after.params.keys() == before.params.keys()
    ratios = {name: params.scale / before.params[name].scale for name, params in after.params.items()}
    assert max(ratios.values()) == pytest.approx(2.0, rel=1e-5)
    learned = [name for name, ratio in ratios.items() if ratio == pytest.approx(2.0, rel=1e-5)]
    assert {"one", "two"} <= {name.split("_")[0] for name in learned} | {*learned}, ratios
    assert all(ratio == 1 for name, ratio in ratios.items() if name not in learned), "what is not stored stays"
    assert after.metric == 70
    assert after.history == (RECORD,)
