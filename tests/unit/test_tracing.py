"""Tracing whole, in parts, and the words for what nodes compute."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.ops import op_of
from hwcomp.program import outputs
from hwcomp.tracing import trace

X = (1, 3, 6, 6)


class DependsOnData(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if x.sum() > 0 else -x


class Nested(nn.Module):
    """A list of blocks, one of which cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()), DependsOnData()])

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x)


class Simple(nn.Module):
    """One function of one tensor, which the tracer can look into."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)


def test_the_whole_network_is_traced_and_computes_the_same(network) -> None:
    before = copy.deepcopy(network.model.state_dict())
    program = trace(network.model, network.inputs)
    assert program.notes == ()
    with torch.no_grad():
        torch.testing.assert_close(outputs(program)[0], network.model(*network.inputs))
    assert all("tensor_meta" in node.meta for node in program.nodes if node.op != "output")
    assert all(torch.equal(value, before[key]) for key, value in network.model.state_dict().items())


def test_the_model_is_copied_and_put_into_eval_mode() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    program = trace(model, (torch.randn(X),))
    assert model.training
    assert not program.module.training
    assert torch.equal(outputs(program)[0], outputs(program)[0])
    with torch.no_grad():
        next(program.module.parameters()).zero_()
    assert bool(next(model.parameters()).abs().sum() > 0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_module_that_depends_on_data_stays_opaque_and_is_named(sign: float) -> None:
    model, x = Nested(), torch.randn(X)
    program = trace(model, (x,))
    (note,) = program.notes
    assert note.site == "blocks.1"
    assert "opaque" in note.reason
    assert "control flow" in note.reason
    kinds = [op_of(node) for node in program.nodes]
    assert kinds == ["placeholder", "conv2d", "conv2d", "relu", "dependsondata", "conv2d", "output"]
    y = torch.randn(X) * 3 * sign
    with torch.no_grad():
        torch.testing.assert_close(program.module(y), model(y))


def test_a_network_whose_own_forward_depends_on_data_is_called_whole() -> None:
    model, x = DependsOnData(), torch.randn(1, 4, 6, 6)
    program = trace(model, (x,))
    (note,) = program.notes
    assert "opaque" in note.reason
    assert "control flow" in note.reason
    assert [node.op for node in program.nodes] == ["placeholder", "call_module", "output"]
    with torch.no_grad():
        for y in (x, -x, x + 10, x - 10):
            torch.testing.assert_close(program.module(y), model(y))


@pytest.mark.parametrize("result", [3, None, "text", (), [1, 2]])
def test_a_forward_without_tensors_is_refused(result: object) -> None:
    with pytest.raises(InputError, match="returns no tensor"):
        trace(Simple(lambda _: result), (torch.randn(X),))


def test_inputs_that_do_not_fit_are_refused_with_their_shapes() -> None:
    with pytest.raises(InputError, match=r"\(1, 3, 6, 6\) float32"):
        trace(nn.Conv2d(5, 2, 1), (torch.randn(X),))
    with pytest.raises(InputError, match="does not accept"):
        trace(nn.Conv2d(3, 2, 1), (torch.randn(X), torch.randn(X)))


def test_random_numbers_in_the_forward_are_refused() -> None:
    with pytest.raises(InputError, match="function of its inputs alone"):
        trace(Simple(lambda x: x + torch.rand(1)), (torch.randn(X),))


def test_several_inputs_and_nested_outputs_are_kept() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> dict[str, object]:
            return {"sum": x + y, "rest": [x.relu(), (y,)]}

    program = trace(Two(), (torch.randn(X), torch.randn(X)))
    assert len(outputs(program)) == 3


def kinds(function: Callable[[Tensor], object] | nn.Module) -> list[str]:
    model = function if isinstance(function, nn.Module) else Simple(function)
    program = trace(nn.Sequential(model), (torch.randn(X),))
    return [op_of(node) for node in program.nodes if node.op.startswith("call_")]


@pytest.mark.parametrize(
    "form",
    [nn.ReLU(), nn.ReLU(inplace=True), F.relu, torch.relu, lambda x: x.relu(), lambda x: x.clone().relu_(),
     lambda x: F.relu(x, inplace=False)],
)  # fmt: skip
def test_relu_is_relu_however_it_is_written(form: Callable[[Tensor], object]) -> None:
    assert kinds(form)[-1] == "relu"


@pytest.mark.parametrize(
    "form",
    [lambda x: x + x.sigmoid(), lambda x: torch.add(x, x.sigmoid()), lambda x: x.add(x.sigmoid()),
     lambda x: x.clone().add_(x.sigmoid())],
)  # fmt: skip
def test_add_is_add_however_it_is_written(form: Callable[[Tensor], object]) -> None:
    assert kinds(form)[-1] == "add"


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("sigmoid", [nn.Sigmoid(), torch.sigmoid, F.sigmoid, lambda x: x.sigmoid()]),
        ("softmax", [nn.Softmax(1), lambda x: torch.softmax(x, 1), lambda x: F.softmax(x, 1), lambda x: x.softmax(1)]),
        ("max_pool2d", [nn.MaxPool2d(2), lambda x: F.max_pool2d(x, 2)]),
        ("adaptive_avg_pool2d", [nn.AdaptiveAvgPool2d(1), lambda x: F.adaptive_avg_pool2d(x, 1)]),
        ("mean", [lambda x: x.mean((2, 3)), lambda x: torch.mean(x, (2, 3))]),
        ("flatten", [nn.Flatten(), lambda x: torch.flatten(x, 1), lambda x: x.flatten(1)]),
        ("reshape", [lambda x: x.view(1, -1), lambda x: x.reshape(1, -1), lambda x: torch.reshape(x, (1, -1))]),
        ("transpose", [lambda x: x.permute(0, 2, 3, 1), lambda x: torch.permute(x, (0, 2, 3, 1)),
                       lambda x: x.transpose(1, 2)]),
        ("hardswish", [nn.Hardswish(), F.hardswish]),
        ("silu", [nn.SiLU(), F.silu]),
        ("gelu", [nn.GELU(), F.gelu]),
    ],
)  # fmt: skip
def test_other_words_do_not_depend_on_the_form_either(word: str, forms: list[Callable[[Tensor], object]]) -> None:
    assert [kinds(form) for form in forms] == [[word]] * len(forms)
