"""Statistics of BatchNorm, taken anew: what they are, what stays as it was, and what is refused."""

import copy

import pytest
import torch
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.passes.recalibrate_batchnorm import RecalibrateBatchnorm
from hwcomp.program import Program, outputs
from hwcomp.tracing import trace

EXAMPLE = (torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)),)


class Net(nn.Module):
    """Two BatchNorms, dropout between them, and one BatchNorm without statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, momentum=0.3)
        self.dropout = nn.Dropout(0.5)
        self.conv2, self.norm2 = nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4)
        self.stateless = nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(torch.relu(self.norm1(self.conv1(x))))
        return self.stateless(self.norm2(self.conv2(x)))


class Opaque(nn.Module):
    """Cannot be traced: its forward looks at its values."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) if x.sum() > -1e9 else x


def batches(count: int = 5) -> tuple[tuple[Tensor, ...], ...]:
    generator = torch.Generator().manual_seed(2)
    return tuple((3 * torch.randn(4, 3, 8, 8, generator=generator) + 1,) for _ in range(count))


def recalibrated(program: Program, some: tuple[tuple[Tensor, ...], ...]) -> nn.Module:
    return RecalibrateBatchnorm(batches=some)(program).program.module


def test_statistics_are_the_mean_over_batches_as_in_training() -> None:
    """The inputs of the second BatchNorm are what the first makes by the statistics of the batch, without dropout."""
    network, given = Net(), batches()
    network(torch.randn(4, 3, 8, 8))
    network.eval()
    renewed = recalibrated(trace(network, EXAMPLE), given)
    first = [network.conv1(x) for (x,) in given]
    second = [network.conv2(torch.relu(nn.functional.batch_norm(x, None, None, training=True))) for x in first]
    for norm, seen in ((renewed.norm1, first), (renewed.norm2, second)):
        mean = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
        variance = torch.stack([x.var((0, 2, 3), unbiased=True) for x in seen]).mean(0)
        torch.testing.assert_close(norm.running_mean, mean)
        torch.testing.assert_close(norm.running_var, variance)
        assert int(norm.num_batches_tracked) == len(given)


def test_everything_else_is_as_it_was() -> None:
    network = Net().eval()
    program = trace(network, EXAMPLE)
    before, expected = copy.deepcopy(program.module.state_dict()), outputs(program)
    renewed = recalibrated(program, batches())
    assert all(torch.equal(value, before[key]) for key, value in program.module.state_dict().items())
    assert torch.equal(expected[0], outputs(program)[0])
    assert not any(module.training for module in renewed.modules() if not isinstance(module, torch.fx.GraphModule))
    assert renewed.norm1.momentum == 0.3
    assert renewed.norm1.weight is program.module.norm1.weight


def test_a_program_in_training_stays_in_training_but_is_not_observed_so() -> None:
    network = Net()
    program, calm = trace(network, EXAMPLE), trace(network, EXAMPLE)
    program.module.train()
    renewed = recalibrated(program, batches())
    assert renewed.norm1.training
    assert program.module.dropout.training
    assert torch.equal(renewed.norm2.running_mean, recalibrated(calm, batches()).norm2.running_mean)


def test_a_batchnorm_without_statistics_is_named() -> None:
    notes = RecalibrateBatchnorm(batches=batches())(trace(Net(), EXAMPLE)).notes
    assert [note.site for note in notes] == ["stateless"]
    assert "keeps no running statistics" in notes[0].reason


def test_one_inside_an_opaque_module_is_renewed_too() -> None:
    program = trace(nn.Sequential(Opaque(), nn.Conv2d(3, 2, 1)), EXAMPLE)
    assert program.notes
    (given,) = batches(1)
    renewed = recalibrated(program, (given,))
    torch.testing.assert_close(renewed.get_submodule("0.norm").running_mean, given[0].mean((0, 2, 3)))
    assert not bool(program.module.get_submodule("0.norm").running_mean.any())


def test_a_batchnorm_under_two_names_stays_one() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.BatchNorm2d(3)
            self.b, self.conv = self.a, nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.conv(self.a(x)))

    renewed = recalibrated(trace(Twice(), EXAMPLE), batches(2))
    norms = [module for module in renewed.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 1
    assert int(norms[0].num_batches_tracked) == 4


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "no batches"),
        (((torch.randn(4, 5, 8, 8),),), "Batch 0 cannot be used"),
        (((torch.randn(4, 3, 8, 8),), (torch.full((4, 3, 8, 8), float("nan")),)), "'norm1' NaN or infinite"),
    ],
    ids=["none", "wrong-shape", "nan"],
)
def test_batches_that_cannot_be_used(given, said: str) -> None:
    with pytest.raises(InputError, match=said):
        RecalibrateBatchnorm(batches=given)(trace(Net(), EXAMPLE))


def test_one_value_per_channel_has_no_variance() -> None:
    program = trace(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), (torch.randn(8, 3),))
    with pytest.raises(InputError, match="several in a batch"):
        RecalibrateBatchnorm(batches=((torch.randn(1, 3),),))(program)
