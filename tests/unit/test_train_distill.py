"""Learning from a teacher: what is measured, and that it helps."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hwcomp.train import TrainConfig, TrainData, task_objective, train
from hwcomp.train.objective import divergence, is_class_logits, relative_error

GENERATOR = torch.Generator().manual_seed(2)
X = torch.randn(160, 12, generator=GENERATOR)


def make_net(outputs: int, width: int) -> nn.Module:
    torch.manual_seed(width)
    return nn.Sequential(nn.Linear(12, width), nn.ReLU(), nn.Linear(width, outputs))


def batches(*parts: Tensor) -> list[Any]:
    return list(zip(*(part.split(20) for part in parts), strict=True)) if len(parts) > 1 else list(parts[0].split(20))


def learn(student: nn.Module, data: list[Any], loss: Any, teacher: nn.Module | None, **options: Any) -> nn.Module:
    config = TrainConfig(**({"epochs": 30} | options))
    objective = task_objective(loss, teacher, config)
    return train(student, TrainData(batches=data, example_inputs=(X[:1],)), config, objective=objective).model


def agreement(student: nn.Module, teacher: nn.Module) -> float:
    with torch.no_grad():
        return float(
            F.kl_div(student(X).log_softmax(1), teacher(X).log_softmax(1), log_target=True, reduction="batchmean")
        )


def test_a_student_that_learns_from_the_teacher_agrees_more_with_it() -> None:
    teacher = make_net(4, 32)
    noisy = (teacher(X) + torch.randn(160, 4, generator=GENERATOR)).argmax(1)
    before = {name: x.clone() for name, x in teacher.state_dict().items()}
    data = batches(X, noisy)
    alone = learn(make_net(4, 16), data, F.cross_entropy, None)
    taught = learn(make_net(4, 16), data, F.cross_entropy, teacher)
    assert agreement(taught, teacher) < 0.5 * agreement(alone, teacher)
    assert all(torch.equal(x, before[name]) for name, x in teacher.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in teacher.parameters())


def test_without_targets_the_teacher_is_enough() -> None:
    teacher = make_net(4, 8)
    student = learn(make_net(4, 16), batches(X), None, teacher, epochs=60)
    with torch.no_grad():
        assert float((student(X) - teacher(X)).square().mean() / teacher(X).var()) < 0.2


def test_a_regression_learns_from_both() -> None:
    teacher = make_net(3, 8)
    targets = teacher(X).detach() + 0.1
    student = learn(make_net(3, 16), batches(X, targets), F.mse_loss, teacher, epochs=60)
    with torch.no_grad():
        assert float((student(X) - teacher(X)).square().mean() / teacher(X).var()) < 0.3


def test_the_objective_is_the_documented_mixture() -> None:
    student, teacher = make_net(4, 8).requires_grad_(requires_grad=False), make_net(4, 32)
    student[2].bias.requires_grad_()
    y = torch.randint(0, 4, (160,), generator=GENERATOR)
    config = TrainConfig(epochs=1, distill=0.3, temperature=4.0)
    found = task_objective(F.cross_entropy, teacher, config)(student, (X,), y)
    p, log_q = (teacher(X) / 4).softmax(1), (student(X) / 4).log_softmax(1)
    expected = 0.7 * F.cross_entropy(student(X), y) + 0.3 * 16 * (p * (p.log() - log_q)).sum(1).mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    nothing = task_objective(F.cross_entropy, teacher, TrainConfig(epochs=1, distill=0.0))
    assert nothing(student, (X,), y).item() == pytest.approx(F.cross_entropy(student(X), y).item())


def test_outputs_of_several_tensors_are_compared_each_by_its_own_scale() -> None:
    a, b = torch.randn(50, 3, generator=GENERATOR), 1000 * torch.randn(50, 2, generator=GENERATOR)
    error = relative_error((a + a.std(correction=0), b), (a, b))
    assert float(error) == pytest.approx(0.5, rel=1e-4)
    assert float(relative_error((a, b + b.std(correction=0)), (a, b))) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("outputs", "targets", "expected"),
    [
        (torch.zeros(5, 3), torch.zeros(5, dtype=torch.int64), True),
        (torch.zeros(5, 3, 4, 4), torch.zeros(5, 4, 4, dtype=torch.int64), True),
        (torch.zeros(5, 3), torch.zeros(5, 3), False),
        (torch.zeros(5, 1), torch.zeros(5, dtype=torch.int64), False),
        (torch.zeros(5, 3), None, False),
        ((torch.zeros(5, 3),), torch.zeros(5, dtype=torch.int64), False),
    ],
    ids=["classes", "pixels", "regression", "one output", "no targets", "a tuple"],
)
def test_class_logits_are_known_by_their_targets(outputs: Any, targets: Any, expected: bool) -> None:
    assert is_class_logits(outputs, targets) is expected


def test_divergence_of_pixels_is_a_mean_over_pixels() -> None:
    a, b = torch.randn(2, 6, 3, 3, generator=GENERATOR), torch.randn(2, 6, 3, 3, generator=GENERATOR)
    rows = [x.flatten(2).transpose(1, 2).reshape(-1, 6) for x in (a, b)]
    assert float(divergence(a, b, 2.0)) == pytest.approx(float(divergence(*rows, 2.0)), rel=1e-5)
    assert float(divergence(a, a, 2.0)) == pytest.approx(0, abs=1e-6)
