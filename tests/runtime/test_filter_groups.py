"""A layer in two precisions runs in ONNX Runtime as two layers and a concatenation."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
import torch.nn.functional as F  # noqa: N812
from networks import alive, conv_bn
from torch import Tensor, nn

from hwcomp import target
from hwcomp.calibration import activation_ranges, observe
from hwcomp.default_passes import default_passes
from hwcomp.fix import fix, plan
from hwcomp.lowering.onnx_export import export_float
from hwcomp.lowering.qdq import insert_qdq
from hwcomp.passes.split_filters import SplitFilters
from hwcomp.program import run_passes
from hwcomp.tracing import trace


class Net(nn.Module):
    """Two convolutions with BatchNorm and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = conv_bn(3, 16), conv_bn(16, 32), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.body(F.relu(self.stem(x)))).mean((2, 3)))


def test_a_layer_of_two_precisions_runs() -> None:
    model, device = alive(Net()), target.load("x86_64")
    batches = [(torch.randn(2, 3, 16, 16),) for _ in range(4)]
    traced = trace(model, batches[0])
    program = run_passes(traced, [SplitFilters(), *default_passes(device)])
    seen = observe(program, batches)
    params = activation_ranges(program, seen, "minmax", device.activation)
    assignment = {"stem_0_part1": "int8", "body_0_part0": "int8"}
    quantization = plan(program, assignment, params, seen, device.weight_bits)
    assert sorted(quantization.weights) == ["body_0_part0", "stem_0_part1"]
    graph = insert_qdq(export_float(program), quantization)
    model_bytes = ir.to_proto(graph).SerializeToString()
    session = onnxruntime.InferenceSession(model_bytes, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: batches[0][0].numpy()})
    with torch.no_grad():
        expected = traced.module(*batches[0]).numpy()
        simulated = fix(program, quantization).module(*batches[0]).numpy()
    scale = np.abs(expected).max()
    assert np.abs(found - simulated).max() < 1e-2 * scale
    assert 0 < np.abs(found - expected).max() < 0.1 * scale
    kinds = [(node.op_type, (node.name or "").split("/")[0]) for node in graph.graph]
    assert [site for kind, site in kinds if kind == "Conv"] == [
        "stem_0_part0", "stem_0_part1", "body_0_part0", "body_0_part1",
    ]  # fmt: skip
    assert [site for kind, site in kinds if kind == "Concat"] == ["stem_0_cat", "body_0_cat"]
