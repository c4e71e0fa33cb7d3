"""Methods that make weights sparse, on handwritten digits."""

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from rich.console import Console
from sklearn.datasets import load_digits
from torch import Tensor, nn

from hwcomp.config import Shrinking
from hwcomp.console import Reporter
from hwcomp.errors import InputError
from hwcomp.program import Program
from hwcomp.scheme import sparse_of
from hwcomp.search import magnitude_pruning as gradual
from hwcomp.search.magnitude_pruning import magnitude_pruning
from hwcomp.search.recovery import Recovery
from hwcomp.search.score_pruning import score_pruning
from hwcomp.search.sparsify import Sparsified, Sparsify
from hwcomp.sparsity import SparseOperator, density_at
from hwcomp.tracing import trace
from hwcomp.train import TrainState
from hwcomp.workload import Workload

GAINS = {"sparse:0.05": 0.1, "sparse4x1:0.05": 0.3, "sparse2of4": -0.01}
"""By how much training is better than masks and new statistics alone; half of the weights need no training here."""

METHODS = {"magnitude": magnitude_pruning, "scores": score_pruning}
TRAINED_ON = 1280


class Net(nn.Module):
    """Three convolutions; the first is small and stays dense."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.second, self.second_norm = nn.Conv2d(16, 32, 3, 2, padding=1, bias=False), nn.BatchNorm2d(32)
        self.third, self.third_norm = nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.fc = nn.Linear(32 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first_norm(self.first(x)))
        x = F.relu(self.second_norm(self.second(x)))
        x = F.relu(self.third_norm(self.third(x)))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 2), 1))


def digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    return torch.tensor(data.images, dtype=torch.float32)[order, None] / 16, torch.tensor(data.target)[order]


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    x, y = digits()
    for chosen in torch.randperm(TRAINED_ON).split(64):
        yield x[chosen], y[chosen]


def accuracy(network: Program) -> float:
    x, y = (part[TRAINED_ON:] for part in digits())
    with torch.no_grad():
        return float((network.module.eval()(x).argmax(1) == y).float().mean())


@pytest.fixture(scope="module")
def dense() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net()
        optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for _ in range(5):
            for x, y in batches():
                optimiser.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimiser.step()
    return model.eval()


@pytest.fixture
def sparsify(dense: nn.Module, tmp_path: Path) -> Sparsify:
    example = (torch.zeros(1, 1, 8, 8),)
    recovery = Recovery(
        workload=Workload(name="digits", model=dense, example_inputs=example, train_data=batches),
        validation=[((x[None],), y[None]) for x, y in zip(*(part[:32] for part in digits()), strict=True)],
        options=Shrinking(epochs=3),
        folder=tmp_path,
        seed=0,
        reporter=Reporter(Console(quiet=True)),
        taught=False,
    )
    return Sparsify(
        network=trace(dense, example), sites=("second", "third"), sparse=sparse_of("sparse:0.05"), recovery=recovery
    )


def weight_of(network: Program, site: str) -> Tensor:
    weight = network.module.get_submodule(site).weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def kept_blocks(weight: Tensor, rows: int) -> Tensor:
    """Return how many weights of each block of output channels are not zero."""
    return (weight.view(-1, rows, *weight.shape[1:]) != 0).sum(1)


def check_density(done: Sparsified, name: str) -> None:
    for site in ("second", "third"):
        weight = weight_of(done.network, site)
        if name == "sparse2of4":
            assert bool(((weight.view(len(weight), -1, 4, 9) != 0).sum(2) == 2).all())
        elif name == "sparse4x1:0.05":
            found = kept_blocks(weight, 4)
            assert set(found.unique().tolist()) == {0, 4}
            assert int((found == 0).sum()) == int(0.95 * found.numel())
        else:
            assert int((weight == 0).sum()) == int(0.95 * weight.numel())


@pytest.mark.parametrize("name", GAINS)
@pytest.mark.parametrize("method", METHODS)
def test_training_reaches_the_pattern_and_is_worth_it(sparsify: Sparsify, method: str, name: str) -> None:
    sparsify = replace(sparsify, sparse=sparse_of(name))
    before = {key: value.clone() for key, value in sparsify.network.module.state_dict().items()}
    flags = [p.requires_grad for p in sparsify.network.module.parameters()]
    done = METHODS[method](sparsify)
    assert dict(done.choices) == {"second": name, "third": name}
    assert done.notes == ()
    check_density(done, name)
    assert all(bool((weight_of(done.network, site) != 0).all()) for site in ("first", "fc"))
    untrained = sparsify.recovery.recalibrated(sparsify.masked().program)
    assert accuracy(done.network) > 0.85
    assert accuracy(done.network) > accuracy(untrained) + GAINS[name]
    assert [record.epoch for record in done.history] == [1, 2, 3]
    assert [type(part) for part in done.network.module.modules() if isinstance(part, SparseOperator)] == []
    assert all(torch.equal(before[key], value) for key, value in sparsify.network.module.state_dict().items())
    assert flags == [p.requires_grad for p in sparsify.network.module.parameters()]
    assert [node.name for node in done.network.nodes] == [node.name for node in sparsify.network.nodes]


def test_zeros_compute_what_the_masks_did(sparsify: Sparsify) -> None:
    masked = sparsify.masked()
    for number, (_, operator) in enumerate(masked.operators(masked.program.module)):
        operator.renew_by_magnitude(0.3 + 0.1 * number)
    done, x = masked.sparsified(masked.program, ()), digits()[0][:8]
    torch.testing.assert_close(done.network.module(x), masked.program.module(x))
    assert float((weight_of(done.network, "second") != 0).float().mean()) == pytest.approx(0.3, abs=1e-3)


def test_masks_are_put_on_a_copy(sparsify: Sparsify) -> None:
    masked, before = sparsify.masked(), weight_of(sparsify.network, "third").clone()
    with torch.no_grad():
        for _, operator in masked.operators(masked.program.module):
            operator.weight.zero_()
    assert torch.equal(weight_of(sparsify.network, "third"), before)


def test_the_density_falls_and_then_the_masks_stay(sparsify: Sparsify, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, Tensor]] = []
    real = gradual.Hooks

    def watched(*, after_step, **others):
        def both(state: TrainState) -> None:
            after_step(state)
            operator = next(part for part in state.model.modules() if isinstance(part, SparseOperator))
            seen.append((state.progress, operator.mask.clone()))

        return real(after_step=both, **others)

    monkeypatch.setattr(gradual, "Hooks", watched)
    magnitude_pruning(sparsify)
    shares = [float(mask.mean()) for _, mask in seen]
    assert shares == sorted(shares, reverse=True)
    for progress, mask in seen:
        wanted = density_at(min(progress / gradual.RAMP, 1.0), 0.05)
        assert float(mask.mean()) == pytest.approx(wanted, abs=3 / gradual.RENEWALS)
    fixed = [mask for progress, mask in seen if progress >= gradual.RAMP]
    assert 5 < len(fixed) < len(seen) / 2
    assert all(torch.equal(mask, fixed[0]) for mask in fixed)
    assert shares[0] > 0.8
    assert shares[-1] == pytest.approx(0.05, abs=1e-3)


def test_first_only_scores_learn_then_all_but_scores(sparsify: Sparsify, monkeypatch: pytest.MonkeyPatch) -> None:
    programs: list[Program] = []
    run = Recovery.run

    def watched(self, network, method, config, **others):
        trained, history = run(self, network, method, config, **others)
        programs.extend([network, trained])
        return trained, history

    monkeypatch.setattr(Recovery, "run", watched)
    done = score_pruning(sparsify)
    start, scored, second, last = ({**dict(p.module.named_parameters())} for p in programs)
    changed = {name for name in start if not torch.equal(start[name], scored[name])}
    assert changed == {"second_sparse.scores", "third_sparse.scores"}
    assert changed == {name for name in start if torch.equal(second[name], last[name])} & changed
    assert {name for name in second if not torch.equal(second[name], last[name])} == set(second) - changed
    masks = [[part.mask for part in p.module.modules() if isinstance(part, SparseOperator)] for p in programs]
    assert not torch.equal(masks[0][0], masks[2][0])
    assert torch.equal(masks[2][0], masks[3][0])
    assert torch.equal(weight_of(done.network, "second") != 0, masks[2][0] == 1)


def test_a_guarded_layer_is_noted(sparsify: Sparsify) -> None:
    done = magnitude_pruning(replace(sparsify, sparse=sparse_of("sparse:0.001"), sites=("third",)))
    assert int((weight_of(done.network, "third") != 0).sum()) == 32
    (note,) = done.notes
    assert "'third' keeps 32 of 9216 weights" in note


def test_the_same_seed_gives_the_same_network(sparsify: Sparsify, tmp_path: Path) -> None:
    networks = []
    for number in range(2):
        recovery = replace(sparsify.recovery, folder=tmp_path / str(number))
        networks.append(score_pruning(replace(sparsify, recovery=recovery, initial="kaiming")).network)
    assert torch.equal(weight_of(networks[0], "third"), weight_of(networks[1], "third"))


@pytest.mark.parametrize("at", [9, 50])
def test_an_interrupted_training_goes_on_with_its_masks(
    sparsify: Sparsify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """While the density falls, and where the masks stay."""
    elsewhere = replace(sparsify, recovery=replace(sparsify.recovery, folder=tmp_path / "elsewhere"))
    whole, real = magnitude_pruning(elsewhere), gradual.Hooks

    def interrupted(*, after_step, **others):
        def both(state: TrainState) -> None:
            after_step(state)
            if state.step == at:
                signal.raise_signal(signal.SIGINT)

        return real(after_step=both, **others)

    monkeypatch.setattr(gradual, "Hooks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        magnitude_pruning(sparsify)
    steps: list[int] = []

    def counted(*, after_step, **others):
        def both(state: TrainState) -> None:
            after_step(state)
            steps.append(state.step)

        return real(after_step=both, **others)

    monkeypatch.setattr(gradual, "Hooks", counted)
    done = magnitude_pruning(sparsify)
    assert steps[0] == at + 1
    assert all(torch.equal(weight_of(done.network, site), weight_of(whole.network, site)) for site in whole.choices)


@pytest.mark.parametrize(
    ("sites", "found"),
    [((), "No layer"), (("third", "third"), "twice"), (("relu",), "'relu' is no"), (("nothing",), "'nothing' is no")],
)
def test_sites_that_cannot_be_are_refused(sparsify: Sparsify, sites: tuple[str, ...], found: str) -> None:
    with pytest.raises(InputError, match=found):
        replace(sparsify, sites=sites).masked()


def test_a_norm_and_a_shared_weight_are_refused(sparsify: Sparsify) -> None:
    with pytest.raises(InputError, match="cannot be sparse"):
        replace(sparsify, sites=("first_norm",)).masked()

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(F.relu(self.conv(x)))

    with pytest.raises(InputError, match="used at 2 places"):
        replace(sparsify, network=trace(Twice().eval(), (torch.zeros(1, 4, 8, 8),)), sites=("conv",)).masked()


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan")])
def test_bad_shares_of_the_training_are_refused(sparsify: Sparsify, share: float) -> None:
    with pytest.raises(InputError, match="share of the training"):
        magnitude_pruning(sparsify, ramp=share)
    with pytest.raises(InputError, match="share of the training"):
        score_pruning(sparsify, share=share)
