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
from hwcomp.supernet.rounding import WeightRounding
from hwcomp.supernet.stores import StoredTensor
from hwcomp.train import EpochRecord

RECORD = EpochRecord(epoch=1, loss=0.5, metric=70.0, rate=0.1, seconds=0.0)


@dataclass(frozen=True, kw_only=True)
class Doubling:
    """A training in whose end every tensor that is stored as integers has steps of another size."""

    factor: float
    noise: float = 0.0
    seed: int = 0

    def recalibrated(self, network: Program) -> Program:
        return network

    def __call__(self, network: Program, *_: Any, **__: Any) -> tuple[Program, tuple[EpochRecord, ...]]:
        module = deepcopy(network.module)
        roundings = {one.rounding for one in module.modules() if isinstance(one, StoredTensor)}
        assert roundings
        assert {one.noise for one in module.modules() if isinstance(one, WeightRounding)} == {self.noise}
        for rounding in roundings:
            rounding.step.data.mul_(self.factor)
        return replaced(network, module), (RECORD,)


def realised(factor: float, noise: float = 0.0) -> Any:
    where = setting()
    recovery: Any = Doubling(factor=factor, noise=noise)
    realiser = Realiser(
        network=where.traced, groups=where.groups, scores=where.scores, target=TARGET, inputs=((samples()[0][:8],),),
        ranges="minmax", recovery=recovery, weight_noise=noise,
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


def test_weights_get_the_noise_that_was_asked_for() -> None:
    """Looked at where the training begins; what is lowered afterwards is rounded as ever."""
    assert realised(1.0, noise=0.3).params == realised(1.0).params
