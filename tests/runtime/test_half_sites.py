"""Operators that compute in halves beside others that do not: what the file holds, and what it computes."""

import random
from collections import Counter

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hwcomp.calibration import activation_ranges, observe
from hwcomp.default_passes import default_passes
from hwcomp.errors import LoweringError
from hwcomp.fix import fix, plan
from hwcomp.kernels import search_space
from hwcomp.lowering.half_sites import insert_halves
from hwcomp.lowering.onnx_export import SITE, export_float
from hwcomp.lowering.onnxruntime import kernel_owners
from hwcomp.lowering.qdq import insert_qdq
from hwcomp.program import Program, run_passes
from hwcomp.subject import to_bytes
from hwcomp.target import load
from hwcomp.tracing import trace

GPU = load("gpu")
HALF = 2.0**-11
"""Relative rounding of a half."""


class Attention(nn.Module):
    """A normalisation, an attention with a residual addition, and a constant that is multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(32, 32)
        self.place = nn.Parameter(torch.randn(1, 6, 32))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.place
        q, k, v = self.qkv(self.norm(x)).view(2, 6, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 6, 32)
        return functional.gelu(self.out(mixed)) * 0.5 + x


def program_of(model: nn.Module, *inputs: Tensor) -> Program:
    return run_passes(trace(model.eval(), inputs), default_passes(GPU))


def lowered(program: Program, assignment: dict[str, str]) -> tuple[ir.Model, Tensor]:
    """Return the graph of an assignment, and what the simulation of it gives."""
    seen = observe(program, [program.example_inputs])
    quantization = plan(program, assignment, activation_ranges(program, seen, "mse", GPU.activation), seen)
    with torch.no_grad():
        simulated = fix(program, quantization).module(*program.example_inputs)
    return insert_qdq(export_float(program), quantization), simulated


def run(model: ir.Model, program: Program, *, optimized: bool = True) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(to_bytes(model), options, providers=["CPUExecutionProvider"])
    feed = {item.name: x.numpy() for item, x in zip(session.get_inputs(), program.example_inputs, strict=True)}
    return session.run(None, feed)[0]


def off(found: np.ndarray, expected: Tensor) -> float:
    return float(np.linalg.norm(found - expected.numpy()) / np.linalg.norm(expected.numpy()))


@pytest.fixture
def exact(network) -> tuple[Program, Tensor]:
    program = program_of(network.model, *network.inputs)
    with torch.no_grad():
        return program, network.model(*network.inputs)


def test_all_in_halves(exact: tuple[Program, Tensor]) -> None:
    program, expected = exact
    space = search_space(program)
    model, simulated = lowered(program, space.everywhere("float16"))
    casts = [node for node in model.graph if node.op_type == "Cast"]
    floats = {site.name for site in space.sites if "float16" not in site.candidates}
    if not floats:
        assert len(casts) == len(model.graph.inputs) + len(model.graph.outputs), "neighbours in halves pass halves on"
    for optimized in (False, True):
        found = run(model, program, optimized=optimized)
        assert found.dtype == np.float32
        assert 0 < off(found, expected) < 20 * HALF
        assert off(found, simulated) < 20 * HALF


@pytest.mark.parametrize("seed", range(3))
def test_any_mixture_computes_the_same(exact: tuple[Program, Tensor], seed: int) -> None:
    program, expected = exact
    generator = random.Random(seed)
    space = search_space(program)
    assignment = {site.name: generator.choice(site.candidates) for site in space.sites}
    model, simulated = lowered(program, assignment)
    halves = {site for site, scheme in assignment.items() if scheme == "float16"}
    for node in model.graph:
        site = node.metadata_props[SITE]
        kinds = {value.dtype for value in node.outputs} & {ir.DataType.FLOAT, ir.DataType.FLOAT16}
        if node.op_type != "Cast" and kinds:
            assert kinds == {ir.DataType.FLOAT16 if site in halves else ir.DataType.FLOAT}, node.name
    found = run(model, program)
    assert off(found, expected) < 20 * HALF
    assert off(found, simulated) < 20 * HALF


def test_attention_normalisation_and_constants() -> None:
    torch.manual_seed(0)
    program = program_of(Attention(), torch.randn(2, 6, 32))
    space = search_space(program)
    assert all(
        "float16" in site.candidates for site in space.sites if site.op in ("attention", "layer_norm", "mul", "gelu")
    )
    model, simulated = lowered(program, space.everywhere("float16"))
    assert 0 < off(run(model, program), simulated) < 20 * HALF


def test_the_float_graph_stays_what_it_is(exact: tuple[Program, Tensor]) -> None:
    program, _ = exact
    graph, space = export_float(program), search_space(program)
    before = to_bytes(graph)
    insert_halves(graph, space.everywhere("float16"))
    assert to_bytes(graph) == before


def test_each_conversion_belongs_to_its_tensor() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    program = program_of(layers, torch.randn(1, 3, 12, 12))
    names = [node.name for node in program.nodes if node.op == "call_module"]
    model, _ = lowered(program, {names[1]: "float16"})
    owners = kernel_owners(ir.to_proto(model).graph)
    kinds = Counter((owner.kind, owner.name) for owner in owners.values())
    assert kinds[("tensor", names[0])] == 1, "to halves before the second convolution"
    assert kinds[("tensor", names[1])] == 1, "and back behind it"
    assert sum(node.op_type == "Cast" for node in model.graph) == 2


def test_a_weight_that_no_half_holds() -> None:
    layer = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        layer.weight[0, 0, 0, 0] = 70_000
    program = program_of(nn.Sequential(layer), torch.randn(1, 3, 8, 8))
    with pytest.raises(LoweringError, match=r"has a value of 70000, and float16 ends at 65504"):
        insert_halves(export_float(program), search_space(program).everywhere("float16"))
