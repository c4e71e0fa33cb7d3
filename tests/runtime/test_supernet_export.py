"""A network that was trained with its quantisers computes the same in the runtime."""

import copy

import numpy as np
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from hwcomp import target
from hwcomp.calibration import activation_ranges, observe
from hwcomp.default_passes import default_passes, training_passes
from hwcomp.filter_splits import built
from hwcomp.fix import plan
from hwcomp.groups import width_groups
from hwcomp.kernels import search_space
from hwcomp.lowering.onnx_export import export_float
from hwcomp.lowering.qdq import insert_qdq
from hwcomp.program import Program, run_passes
from hwcomp.scheme import schemes_of, split_of
from hwcomp.subject import to_bytes
from hwcomp.supernet import learned_params, quantised, weights_to_source
from hwcomp.supernet.quantisers import ActivationRounding
from hwcomp.tracing import trace
from hwcomp.width_timing import within

TARGETS = {"uint8": "x86_64", "int8": "arm"}
CLASSES = 5
SIZE = 12


class Small(nn.Module):
    """A residual network with a depthwise layer and pooling, which learns quickly."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.depth, self.depth_norm = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16)
        self.point, self.point_norm = nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16)
        self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.norm(self.stem(x))))
        y = F.relu(self.depth_norm(self.depth(x)))
        x = F.relu(self.point_norm(self.point(y)) + x)
        return self.fc(x.mean((2, 3)))


def batch(count: int) -> tuple[Tensor, Tensor]:
    """Stripes whose direction and width tell their class, under noise."""
    labels = torch.arange(count) % CLASSES
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    slopes = labels.view(-1, 1, 1).float()
    stripes = torch.sin(rows * (0.4 + 0.4 * slopes) + columns * (2.0 - 0.4 * slopes))
    return stripes[:, None].expand(-1, 3, -1, -1) + 0.3 * torch.randn(count, 3, SIZE, SIZE), labels


def trained(program: Program, steps: int, rate: float) -> nn.Module:
    module = copy.deepcopy(program.module).train()
    optimiser = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=rate, momentum=0.9)
    for _ in range(steps):
        inputs, labels = batch(64)
        optimiser.zero_grad()
        F.cross_entropy(module(inputs), labels).backward()
        optimiser.step()
    return module.eval()


@pytest.mark.parametrize("activation", sorted(TARGETS))
@pytest.mark.parametrize("scheme", ["int8", "int8_float_output", "float:0.5+int8"])
def test_the_runtime_computes_what_was_trained(activation: str, scheme: str) -> None:
    device = target.load(TARGETS[activation])
    inputs = batch(200)[0]
    network = Program(module=trained(trace(Small().eval(), (inputs,)), 30, 0.1), example_inputs=(inputs,))
    network = trace(network.module, (inputs,))
    groups = width_groups(network)
    wanted = search_space(run_passes(network, training_passes(device))).everywhere(schemes_of(scheme)[-1], "int8")
    if split_of(scheme):
        wanted |= dict.fromkeys(("stem", "point"), scheme)
    scores = {group.name: torch.rand(group.channels) for group in groups.groups}
    parts = built(network, groups, scores, wanted, 8)
    network, assignment = parts.network, parts.assignment
    joined = run_passes(network, training_passes(device))
    params = activation_ranges(joined, observe(joined, [(batch(64)[0],)]), "minmax", activation)
    assignment = within(search_space(joined), assignment)
    form = quantised(joined, assignment, params, weight_bits=device.weight_bits)
    for index, part in enumerate(part for part in form.module.modules() if isinstance(part, ActivationRounding)):
        part.step.data *= 0.9 + 0.05 * (index % 4)  # as if they had been trained for long
    model = trained(form, 12, 0.02)
    learned = learned_params(model)
    assert max(abs(learned[name].scale / params[name].scale - 1) for name in learned) > 0.05

    program = run_passes(weights_to_source(model, form, network), default_passes(device))
    quantization = plan(program, assignment, {**params, **learned}, {}, device.weight_bits)
    graph = insert_qdq(export_float(program), quantization)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(to_bytes(graph), options, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})[0]
    assert any("stem_part0" in (node.name or "") for node in graph.graph) == bool(split_of(scheme))
    with torch.no_grad():
        expected = model(inputs).numpy()
    output = program.nodes[-1].all_input_nodes[0].name
    step = quantization.tensors[output].scale if output in quantization.tensors else float(np.ptp(expected)) / 255
    assert float((np.abs(found - expected) <= 1.01 * step).mean()) >= 0.995
    sure = np.sort(expected, 1)[:, -1] - np.sort(expected, 1)[:, -2] > 2 * step
    assert sure.mean() > 0.9
    assert (found.argmax(1) == expected.argmax(1))[sure].all()
