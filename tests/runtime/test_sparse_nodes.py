"""Sparse convolutions in the graphs of whole networks."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from sparse_models import library
from torch import nn

from hwcomp.devices.local import LocalDevice
from hwcomp.errors import LoweringError
from hwcomp.lowering.embedded import embed
from hwcomp.lowering.onnx_export import export_float
from hwcomp.lowering.onnxruntime import open_session
from hwcomp.lowering.sparse_nodes import insert_sparse
from hwcomp.lowering.sparse_refusals import why_not
from hwcomp.subject import to_bytes
from hwcomp.tracing import trace


def thinned(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.mul_(torch.rand_like(module.weight) < 0.3)
    return model


def operators(model: ir.Model) -> list[str]:
    return [str(node.name) for node in model.graph]


def outputs(model: ir.Model, feed: dict[str, np.ndarray]) -> np.ndarray:
    return open_session(embed(to_bytes(model), library()), 2).run(None, feed)[0]


def lowered(make: Callable[..., object], name: str, rows: dict[str, int], depthwise: tuple[str, ...] = ()):
    network = make(name)
    program = trace(thinned(network.model), network.inputs)
    before = export_float(program)
    after = insert_sparse(before, rows, depthwise)
    feed = {str(before.graph.inputs[0].name): network.inputs[0].numpy()}
    assert np.allclose(outputs(after, feed), outputs(before, feed), atol=1e-5)
    return before, after, feed


def test_residuals_and_activations_are_taken_in(make_network: Callable[..., object]) -> None:
    before, after, feed = lowered(make_network, "residual", {"stem_1": 4, "a_1": 1, "b_1": 8})
    assert operators(after)[:4] == ["stem_1/SparseConv", "a_1/SparseConv", "b_1/SparseConv", "pool/GlobalAveragePool"]
    assert "b_1/Conv" in operators(before)  # what was given is not changed
    assert not any(str(name).endswith("weight") and "classify" not in str(name) for name in after.graph.initializers)
    with LocalDevice() as device:
        times = device.kernel_times(embed(to_bytes(after), library()), feed, 1, 20, 3)
    assert {"stem_1", "a_1", "b_1"} <= {owner.name for owner in times}


def test_what_somebody_else_reads_is_not_taken_in(make_network: Callable[..., object]) -> None:
    _, after, _ = lowered(make_network, "residual", {"stem_1": 4})
    assert operators(after)[:2] == ["stem_1/SparseConv", "a_1/Conv"]
    _, after, _ = lowered(make_network, "concat", {"stem_1": 1, "left_1": 4, "right_1": 4, "last": 1})
    assert {"left_1/SparseConv", "right_1/SparseConv", "last/SparseConv"} <= set(operators(after))


def test_depthwise_convolutions_and_their_limits(make_network: Callable[..., object]) -> None:
    _, after, _ = lowered(make_network, "depthwise", {"expand_1": 4, "project": 4}, ("depthwise_1",))
    assert operators(after) == [
        "expand_1/SparseConv", "depthwise_1/DepthwiseConv", "grouped_1/Conv", "relu/Relu", "project/SparseConv"
    ]  # fmt: skip


def test_linear_layers_over_tokens_are_turned(make_network: Callable[..., object]) -> None:
    _, after, _ = lowered(make_network, "attention", {"q": 1, "up": 4, "down": 8})
    assert [name for name in operators(after) if name.startswith("up/")] == [
        "up/Transpose", "up/SparseConv", "up/Transpose_1"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "site", "depthwise", "said"),
    [
        ("depthwise", "grouped_1", False, "it has 4 groups"),
        ("depthwise", "grouped_1", True, "it is not depthwise"),
        ("residual", "classify", False, "a linear layer over single vectors"),
        ("residual", "pool", False, "the graph has no convolution or linear layer of that name"),
        ("attention", "q", True, "it is no convolution"),
        ("attention", "matmul", False, "its weight or its bias is computed"),
    ],
)
def test_what_cannot_be_lowered_is_refused_with_the_reason(
    make_network: Callable[..., object], name: str, site: str, depthwise: bool, said: str
) -> None:
    tiny = make_network(name)
    model = export_float(trace(tiny.model, tiny.inputs))
    assert said in str(why_not(model, site, depthwise=depthwise))
    with pytest.raises(LoweringError, match=f"'{site}' cannot be lowered to a sparse kernel: {said}"):
        insert_sparse(model, {} if depthwise else {site: 4}, [site] if depthwise else [])
