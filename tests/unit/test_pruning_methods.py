"""Methods that remove channels, on a small task that can be learned in seconds."""

import runpy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from rich.console import Console
from torch import Tensor, nn

from hwcomp.config import Shrinking
from hwcomp.console import Reporter
from hwcomp.errors import InputError
from hwcomp.groups import width_groups
from hwcomp.importance import load_importance
from hwcomp.search import zero_training, zeroing
from hwcomp.search.asymptotic_soft_filter_pruning import asymptotic_soft_filter_pruning
from hwcomp.search.filter_schedule import asymptotic_rate, pruned_count
from hwcomp.search.independent_layers import macs_saved
from hwcomp.search.latency_pruning import latency_pruning
from hwcomp.search.recovery import Recovery
from hwcomp.search.same_graph import fresh
from hwcomp.search.shrink import Shrink, best_channels, checked_groups
from hwcomp.search.shrunk import Shrunk
from hwcomp.search.soft_filter_pruning import soft_filter_pruning
from hwcomp.search.uniform_pruning import uniform_pruning
from hwcomp.tracing import trace
from hwcomp.train import TrainState
from hwcomp.width_law import Polynomial
from hwcomp.workload import Workload

BY_RATE = {
    "uniform": uniform_pruning,
    "soft": soft_filter_pruning,
    "asymptotic": asymptotic_soft_filter_pruning,
}


class Net(nn.Module):
    """A residual network for images of two kinds: those with a bright left or a bright right half."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.inner, self.inner_norm = nn.Conv2d(16, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24)
        self.outer, self.outer_norm = nn.Conv2d(24, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16 * 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.outer_norm(self.outer(F.relu(self.inner_norm(self.inner(x))))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 2), 1))


def batches(count: int = 12, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        x, y = torch.randn(32, 1, 6, 6, generator=generator), torch.randint(0, 2, (32,), generator=generator)
        x[y == 0, :, :, :3] += 1.0
        x[y == 1, :, :, 3:] += 1.0
        yield x, y


@pytest.fixture
def shrink(tmp_path: Path) -> Shrink:
    workload = Workload(name="net", model=Net().eval(), example_inputs=(torch.zeros(1, 1, 6, 6),), train_data=batches)
    options = Shrinking(rate=0.5, epochs=3, learning_rate=0.05, recovery=0.0)
    network = trace(workload.model, workload.example_inputs)
    recovery = Recovery(
        workload=workload,
        validation=[((x,), y) for x, y in batches(2, seed=1)],
        options=options,
        folder=tmp_path,
        seed=0,
        reporter=Reporter(Console(quiet=True)),
        taught=False,
    )
    return Shrink(
        network=network,
        groups=checked_groups(network),
        importance=load_importance("l2"),
        recovery=recovery,
        multiple=4,
        options=options,
    )


@pytest.mark.parametrize("name", list(BY_RATE))
def test_half_of_the_channels_suffice(shrink: Shrink, name: str) -> None:
    before = [tensor.clone() for tensor in shrink.network.module.state_dict().values()]
    shrunk = BY_RATE[name](shrink)
    assert dict(shrunk.widths) == {"stem": 8, "inner": 12}
    assert shrunk.network.module.get_submodule("inner").weight.shape == (12, 8, 3, 3)
    assert len(shrunk.history) == 3
    assert shrunk.history[-1].metric is not None
    x, y = next(batches(1, seed=2))
    assert float((shrunk.network.module(x).argmax(1) == y).float().mean()) > 0.8
    after = shrink.network.module.state_dict().values()
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_zeros_follow_the_schedule(shrink: Shrink, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[tuple[int, int]] = []

    def zeros(module: nn.Module) -> tuple[int, int]:
        layers = [module.get_submodule(name) for name in ("stem", "inner")]
        first, second = (int((layer.weight.flatten(1).abs().sum(1) == 0).sum()) for layer in layers)
        return first, second

    real = zero_training.Hooks

    def watched(*, after_epoch: object) -> object:
        def both(state: TrainState) -> None:
            after_epoch(state)  # type: ignore[operator]
            assert int((state.model.get_submodule("norm").weight == 0).sum()) == 0
            counts.append(zeros(state.model))

        return real(after_epoch=both)

    monkeypatch.setattr(zero_training, "Hooks", watched)
    asymptotic_soft_filter_pruning(shrink)
    expected = [
        (pruned_count(16, asymptotic_rate(t, 3, 0.5)), pruned_count(24, asymptotic_rate(t, 3, 0.5))) for t in (1, 2, 3)
    ]
    assert counts == expected
    assert counts[-1] == (8, 12)


def test_training_may_go_on_after_the_filters_are_gone(shrink: Shrink) -> None:
    options = shrink.options.model_copy(update={"recovery": 0.4})
    shrunk = soft_filter_pruning(replace(shrink, options=options, recovery=replace(shrink.recovery, options=options)))
    assert [record.epoch for record in shrunk.history] == [1, 2, 3]
    assert shrunk.history[-1].rate < shrunk.history[0].rate
    assert shrunk.network.module.get_submodule("inner").weight.shape == (12, 8, 3, 3)


def test_soft_pruning_begins_before_training(shrink: Shrink, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(zeroing, "zero_channels", lambda _module, _groups, removed, **_: seen.append(removed))
    soft_filter_pruning(shrink)
    assert len(seen) == 1 + 3
    assert all(len(removed["stem"]) == 8 for removed in seen)


def test_the_papers_prune_every_layer_for_itself(shrink: Shrink) -> None:
    shrink = replace(shrink, options=shrink.options.model_copy(update={"paper": True}))
    for method in (soft_filter_pruning, asymptotic_soft_filter_pruning):
        shrunk = method(shrink)
        module = shrunk.network.module
        for name in ("stem", "inner", "outer"):
            norms = module.get_submodule(name).weight.flatten(1).norm(dim=1)
            assert int((norms == 0).sum()) == len(norms) // 2
        assert int((module.get_submodule("norm").weight == 0).sum()) == 0
        assert dict(shrunk.widths) == {}
        assert "would be saved as the papers count" in shrunk.notes[0]


@pytest.mark.parametrize(
    ("layers", "rate", "published"), [(20, 0.3, 42.2), (32, 0.3, 41.5), (56, 0.4, 52.6), (110, 0.3, 40.8)]
)
def test_what_the_papers_save_is_what_they_published(
    layers: int, rate: float, published: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Savings of [He2018]_, table 1, on CIFAR-10, to the digit that is printed."""
    example = Path(__file__).parents[2] / "examples" / "cifar10" / "model.py"
    monkeypatch.syspath_prepend(example.parent)
    network = trace(runpy.run_path(str(example))["ResNet"](layers, is_padded=True).eval(), (torch.zeros(1, 3, 32, 32),))
    assert round(100 * macs_saved(network, rate), 1) == published


def test_zero_filters_grow_again(shrink: Shrink) -> None:
    module = shrink.network.module
    with torch.no_grad():
        for name in ("norm", "inner_norm"):
            module.get_submodule(name).bias.fill_(0.1)
    zeroing.zero_channels(module, shrink.groups, {"stem": [0, 1], "inner": [2]}, scales=False)
    assert float(module.get_submodule("stem").weight.detach()[:2].abs().sum()) == 0
    trained, _ = shrink.recovery(shrink.network, "as it is")
    for name, channels in {"stem": [0, 1], "inner": [2]}.items():
        assert (trained.module.get_submodule(name).weight[channels].flatten(1).norm(dim=1) > 0.01).all()


def test_a_training_that_is_done_serves_for_its_own_goal_alone(shrink: Shrink) -> None:
    def took(changed: Shrink) -> list[float]:
        return [record.seconds for record in asymptotic_soft_filter_pruning(changed).history]

    first = took(shrink)
    assert took(shrink) == first
    assert took(replace(shrink, multiple=8)) != first
    assert took(replace(shrink, recovery=replace(shrink.recovery, taught=True))) != first
    assert took(shrink) == first


def test_checkpoints_of_two_models_lie_side_by_side(shrink: Shrink) -> None:
    other = replace(shrink, network=fresh(shrink.network, 1))
    first, _ = [uniform_pruning(one).history[-1].seconds for one in (shrink, other)]
    assert uniform_pruning(shrink).history[-1].seconds == first


def test_training_may_be_in_mixed_precision(shrink: Shrink) -> None:
    options = shrink.options.model_copy(update={"precision": "bf16"})
    mixed = uniform_pruning(replace(shrink, options=options, recovery=replace(shrink.recovery, options=options)))
    whole = uniform_pruning(shrink)
    assert mixed.history[-1].loss != whole.history[-1].loss
    assert mixed.history[-1].loss == pytest.approx(whole.history[-1].loss, rel=0.5)
    assert all(weight.dtype == torch.float32 for weight in mixed.network.module.parameters())


@pytest.mark.parametrize("rate", [None, 0.02])
@pytest.mark.parametrize("method", [soft_filter_pruning, asymptotic_soft_filter_pruning], ids=["soft", "asymptotic"])
@pytest.mark.parametrize("paper", [False, True], ids=["by groups", "by layers"])
def test_a_fresh_start_takes_a_higher_rate(
    shrink: Shrink, method: Callable[[Shrink], Shrunk], rate: float | None, *, paper: bool
) -> None:
    rates = []
    for from_scratch in (False, True):
        changed = {"from_scratch": from_scratch, "paper": paper, "learning_rate": rate, "epochs": 1}
        options = shrink.options.model_copy(update=changed)
        one = replace(shrink, options=options, recovery=replace(shrink.recovery, options=options))
        rates.append(method(one).history[0].rate)
    assert rates[1] == pytest.approx(rates[0] * (10 if rate is None else 1))


def test_the_best_channels_stay() -> None:
    scores = {"g": torch.tensor([3.0, 1.0, 2.0, 2.0, 5.0])}
    assert best_channels(scores, {"g": 3}) == {"g": [0, 2, 4]}


@pytest.mark.parametrize("steps", [1, 2])
def test_latency_decides_the_widths(shrink: Shrink, steps: int) -> None:
    shrink = replace(shrink, options=shrink.options.model_copy(update={"rate": None, "steps": steps}))
    law = Polynomial(constant=10.0, linear={"stem": 1.0}, pairs={("inner", "stem"): 0.5})
    now = {"stem": 16, "inner": 24}
    shrunk = latency_pruning(shrink, law, now, 0.5 * law(now))
    assert 0.35 * law(now) < law(shrunk.widths) <= 0.5 * law(now)
    groups = width_groups(shrunk.network)
    assert {group.name: group.channels for group in groups.groups} == dict(shrunk.widths)
    assert all(width % 4 == 0 for width in shrunk.widths.values())


def test_a_latency_that_is_out_of_reach_is_said(shrink: Shrink) -> None:
    law = Polynomial(constant=1000.0, linear={"stem": 1.0})
    with pytest.raises(InputError, match=r"0.5 ms are wanted of its layers, and 1 ms is what the smallest widths take"):
        latency_pruning(shrink, law, {"stem": 16, "inner": 24}, 500.0)


def test_expensive_channels_go_first(shrink: Shrink) -> None:
    shrink = replace(shrink, importance=load_importance("random_control"))
    law = Polynomial(linear={"stem": 10.0, "inner": 0.01})
    now = {"stem": 16, "inner": 24}
    widths = latency_pruning(shrink, law, now, 0.55 * law(now)).widths
    assert widths["inner"] == 24
    assert widths["stem"] < 16


def test_without_a_rate_or_data_it_is_said(shrink: Shrink) -> None:
    without = replace(shrink, options=Shrinking(epochs=1))
    for method in BY_RATE.values():
        with pytest.raises(InputError, match="give --prune-rate, from 0 to below 1"):
            method(without)
    workload = replace(shrink.recovery.workload, train_data=None)
    with pytest.raises(InputError, match=r"define train_data\(\)"):
        replace(shrink.recovery, workload=workload).check()


def test_a_network_without_removable_channels_is_refused() -> None:
    network = trace(nn.Sequential(nn.Linear(4, 3)), (torch.zeros(1, 4),))
    with pytest.raises(InputError, match=r"No channel of this network can be removed \(_0: .*use another --method"):
        checked_groups(network)


def test_fresh_weights_are_other_weights(shrink: Shrink) -> None:
    one, same, other = (fresh(shrink.network, seed).module.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["stem.weight"], other["stem.weight"])
    assert not torch.equal(one["stem.weight"], shrink.network.module.state_dict()["stem.weight"])


def test_scores_of_a_softly_pruned_channel_are_the_smallest(shrink: Shrink) -> None:
    module = shrink.network.module
    zeroing.zero_channels(module, shrink.groups, {"stem": [3, 5]})
    scores = shrink.scores()["stem"]
    assert set(np.argsort(scores.numpy(), kind="stable")[:2].tolist()) == {3, 5}


@pytest.mark.parametrize(
    ("method", "given", "clip"),
    [(soft_filter_pruning, None, 5.0), (soft_filter_pruning, 0.5, 0.5), (uniform_pruning, None, None)],
)
def test_gradients_are_limited_while_filters_are_zero(
    shrink: Shrink,
    monkeypatch: pytest.MonkeyPatch,
    method: Callable[[Shrink], Shrunk],
    given: float | None,
    clip: float,
) -> None:
    """BatchNorm makes the gradient of a zero filter hundreds of times larger: it would outgrow the others at once."""
    found: list[float | None] = []
    real = Recovery.run
    monkeypatch.setattr(Recovery, "run", lambda *args, **kw: (found.append(args[3].clip), real(*args, **kw))[1])
    options = shrink.options.model_copy(update={"clip": given})
    method(replace(shrink, options=options, recovery=replace(shrink.recovery, options=options)))
    assert found[0] == clip
