"""Which layers may have sparse weights, and why others may not."""

import pytest
import torch
from torch import Tensor, nn

from hwcomp import target
from hwcomp.choice import Choice
from hwcomp.default_passes import default_passes
from hwcomp.errors import InputError
from hwcomp.ops import module_of
from hwcomp.passes.insert_sparse_choices import InsertSparseChoices
from hwcomp.program import PassResult, run_passes
from hwcomp.tracing import trace


class Net(nn.Module):
    """Layers of all kinds that a weight may be in."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.wise, self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1, groups=2)
        self.narrow, self.reflect = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 3, padding=1, padding_mode="reflect")
        self.empty, self.twice, self.fc = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Linear(8, 6)
        nn.init.zeros_(self.empty.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reflect(self.narrow(self.grouped(self.wise(torch.relu(self.norm(self.conv(x)))))))
        return self.fc(self.twice(self.twice(x + self.empty(x))).mean((2, 3)))


def after(transform: InsertSparseChoices, *, quantised: bool) -> PassResult:
    program = trace(Net().eval(), (torch.randn(2, 3, 6, 6),))
    return transform(run_passes(program, default_passes(target.load("x86_64")) if quantised else []))


def candidates(result: PassResult) -> dict[str, tuple[str, ...]]:
    modules = {node.name: module_of(node) for node in result.program.nodes}
    return {name: module.candidates for name, module in modules.items() if isinstance(module, Choice)}


@pytest.mark.parametrize("quantised", [False, True])
def test_layers_are_offered_sparse_schemes_behind_what_they_have(quantised: bool) -> None:
    transform = InsertSparseChoices(densities=(0.3, 0.1), blocks=((4, 1), (1, 1)), groups=((2, 4),))
    result = after(transform, quantised=quantised)
    sparse = ("sparse4x1:0.3", "sparse4x1:0.1", "sparse:0.3", "sparse:0.1", "sparse2of4")
    found = {name: tuple(c for c in have if "sparse" in c) for name, have in candidates(result).items()}
    assert found["fc"] == sparse
    assert found["conv"] == sparse[:4]  # three input channels
    assert found["narrow"] == sparse[2:]  # two output channels
    assert result.changed == 3
    assert candidates(result)["conv"][0] == "float"
    assert ("int8" in candidates(result)["conv"]) == quantised


def test_the_reason_is_given_where_a_layer_stays_dense() -> None:
    result = after(InsertSparseChoices(), quantised=False)
    assert {note.site: note.reason.removeprefix("stays dense: ") for note in result.notes} == {
        "wise": "its channels are in 8 groups",
        "grouped": "its channels are in 2 groups",
        "narrow": "no pattern fits its weight of 2x8 channels",
        "reflect": "padding 'reflect' has no sparse kernel",
        "empty": "all its weights are zero",
        "twice": "its weight is used at several places",
        "twice_1": "its weight is used at several places",
    }
    assert set(candidates(result)) == {"conv", "fc"}


def test_depthwise_layers_leave_out_single_weights_if_asked() -> None:
    result = after(InsertSparseChoices(densities=(0.3,), depthwise=True), quantised=True)
    assert candidates(result)["wise"][-1] == "sparse:0.3"
    assert "sparse4x1:0.3" not in candidates(result)["wise"]
    assert "grouped" in {note.site for note in result.notes}


def test_logits_of_a_choice_stay() -> None:
    program = run_passes(trace(Net().eval(), (torch.randn(2, 3, 6, 6),)), default_passes(target.load("x86_64")))
    choice = next(module for node in program.nodes if isinstance(module := module_of(node), Choice))
    with torch.no_grad():
        choice.logits.copy_(torch.arange(1.0, len(choice.logits) + 1))
    result = InsertSparseChoices()(program).program
    same = next(module for node in result.nodes if isinstance(module := module_of(node), Choice))
    assert same.op is choice.op
    assert same.logits.tolist() == [*choice.logits.tolist(), 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "options",
    [
        {"densities": (0.0,)},
        {"densities": (1.2,)},
        {"densities": (float("nan"),)},
        {"blocks": ((0, 1),)},
        {"groups": ((5, 4),)},
        {"groups": ((2, 0),)},
        {"densities": ()},
    ],
)
def test_patterns_that_cannot_be_are_refused(options: dict) -> None:
    with pytest.raises(InputError):
        InsertSparseChoices(**options)
