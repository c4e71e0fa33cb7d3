"""What every estimator must keep; a new file in the folder is tested without editing this one."""

import copy
import dataclasses
import inspect

import pytest
import torch
from torch import Tensor, nn

from hwcomp.estimators import Coefficients, Draw, Estimator, load_estimator
from hwcomp.plugins import load, names

ESTIMATORS = names("hwcomp.estimators")


def at(progress: float, seed: int = 0) -> Draw:
    return Draw(progress=progress, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def logits() -> dict[str, Tensor]:
    """Sites of one, two and five candidates."""
    generator = torch.Generator().manual_seed(2)
    return {name: torch.randn(size, generator=generator) for name, size in (("a", 5), ("width:b", 2), ("alone", 1))}


class Supernet(nn.Module):
    """Weights that the loss also depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("slopes", torch.arange(1.0, 6.0))

    def forward(self, coefficients: Coefficients) -> Tensor:
        return self.scale * torch.stack([c @ self.slopes[: len(c)] for c in coefficients.values()]).prod()


def test_there_are_estimators() -> None:
    assert len(ESTIMATORS) >= 6


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_file_holds_a_documented_frozen_estimator(name: str) -> None:
    made = load("hwcomp.estimators", name, "ESTIMATOR")
    assert issubclass(made, Estimator)
    assert made.__name__ == "".join(word.capitalize() for word in name.split("_"))
    assert inspect.getdoc(made)
    assert dataclasses.is_dataclass(made)
    assert made.__dataclass_params__.frozen
    assert load_estimator(name).mixing in {"outputs", "weights"}


@pytest.mark.parametrize("progress", [0.0, 1.0])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_coefficients_of_a_site_add_up_to_one(name: str, progress: float, logits) -> None:
    coefficients = load_estimator(name).coefficients(logits, at(progress))
    assert list(coefficients) == list(logits)
    for site, tensor in coefficients.items():
        assert tensor.shape == logits[site].shape
        assert tensor.dtype == logits[site].dtype
        assert bool((tensor >= 0).all())
        assert float(tensor.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize("progress", [0.0, 1.0])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_gradients_favour_nothing_but_the_candidates_of_a_site(name: str, progress: float, logits) -> None:
    """Probabilities do not change when a number is added to all logits, so the gradient adds up to 0."""
    supernet = Supernet()
    gradients, mean = load_estimator(name).gradients(supernet, logits, at(progress))
    assert isinstance(mean, float)
    assert 0 < mean <= 1.5 * 5 * 2
    assert list(gradients) == list(logits)
    for site, tensor in gradients.items():
        assert tensor.shape == logits[site].shape
        assert bool(torch.isfinite(tensor).all())
        assert float(tensor.sum()) == pytest.approx(0.0, abs=1e-4)
        assert not tensor.requires_grad
    assert bool(gradients["a"].any())


@pytest.mark.parametrize("name", ESTIMATORS)
def test_logits_weights_and_their_gradients_are_left_alone(name: str, logits) -> None:
    supernet, before = Supernet(), copy.deepcopy(logits)
    parameters = {site: nn.Parameter(tensor) for site, tensor in logits.items()}
    state = torch.random.get_rng_state()
    load_estimator(name).gradients(supernet, parameters, at(0.5))
    assert supernet.scale.grad is None
    assert supernet.scale.item() == 1.5
    assert all(parameter.grad is None for parameter in parameters.values())
    assert all(torch.equal(parameters[site], before[site]) for site in logits)
    assert torch.equal(torch.random.get_rng_state(), state), "random numbers come from the draw's generator alone"


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_same_generator_gives_the_same_numbers(name: str, logits) -> None:
    estimator, supernet = load_estimator(name), Supernet()
    first, second = (estimator.gradients(supernet, logits, at(0.5, seed=9)) for _ in range(2))
    assert first[1] == second[1]
    assert all(torch.equal(first[0][site], second[0][site]) for site in logits)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_weights_train_with_the_coefficients(name: str, logits) -> None:
    supernet = Supernet()
    supernet(load_estimator(name).coefficients(logits, at(0.5))).backward()
    assert float(supernet.scale.grad) > 0


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_site_that_the_loss_does_not_see_has_no_gradient(name: str, logits) -> None:
    estimator = load_estimator(name)
    unseen = [estimator.gradients(lambda c: c["a"].sum(), logits, at(0.5, seed))[0]["width:b"] for seed in range(300)]
    assert float(torch.stack(unseen).mean(0).abs().max()) < 0.1


@pytest.mark.parametrize("name", ESTIMATORS)
def test_no_sites_is_no_gradient(name: str) -> None:
    assert load_estimator(name).gradients(lambda _: torch.tensor(2.0), {}, at(0.5)) == ({}, 2.0)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_descent_finds_the_better_candidate(name: str) -> None:
    """One site of two candidates whose losses are 1 and 2."""
    estimator, draw = load_estimator(name), at(0.5)
    logits = {"a": torch.zeros(2)}
    losses = torch.tensor([1.0, 2.0])
    for _ in range(200):
        gradients, _ = estimator.gradients(lambda c: c["a"] @ losses, logits, draw)
        logits = estimator.stepped(logits, {"a": logits["a"] - 0.3 * gradients["a"]}, gradients)
    assert float(logits["a"].softmax(0)[0]) > 0.8
