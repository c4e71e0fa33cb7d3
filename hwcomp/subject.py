"""A network that can be measured: what may be chosen in it, and how each choice is lowered."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from hwcomp.calibration import Observation
from hwcomp.fix import QuantPlan, plan
from hwcomp.kernel import Kernels
from hwcomp.kernels import kernels_of, search_space
from hwcomp.lowering.onnxruntime import Feed
from hwcomp.lowering.qdq import insert_qdq
from hwcomp.lowering.sparse_layers import sparse_file
from hwcomp.program import Inputs, Program
from hwcomp.quantizer import QuantParams
from hwcomp.space import Assignment, SearchSpace
from hwcomp.target import Target


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network that can be measured.

    Attributes:
        space: its search space.
        kernels: that it may run.
        feed: one input, by name.
        lower: assignment -> ONNX file.
    """

    space: SearchSpace
    kernels: Kernels
    feed: Feed
    lower: Callable[[Assignment], bytes]

    @property
    def network(self) -> str:
        """Its hash, see `network_hash`."""
        return network_hash(self.space, self.kernels)


def network_hash(space: SearchSpace, kernels: Kernels) -> str:
    """Return a hash of what decides a network's speed: the kernels of every site, and how they are wired."""
    sites = {site: {c: k.key for c, k in candidates.items()} for site, candidates in kernels.sites.items()}
    wiring = [[edge.tensor, edge.readers] for edge in space.edges]
    return hashlib.sha256(json.dumps([sites, wiring], sort_keys=True).encode()).hexdigest()[:24]


def subject_of(
    program: Program,
    target: Target,
    float_graph: ir.Model,
    seen: Mapping[str, Observation],
    params: Mapping[str, QuantParams],
    inputs: Inputs,
) -> Subject:
    """Return a program with choices as something to measure, quantised by what calibration saw."""
    names = [node.name for node in program.nodes if node.op == "placeholder"]

    def quantization(assignment: Assignment) -> QuantPlan:
        return plan(program, assignment, params, seen, target.weight_bits)

    return Subject(
        space=search_space(program),
        kernels=kernels_of(program, target.activation),
        feed={name: x.numpy() for name, x in zip(names, inputs, strict=True)},
        lower=lambda assignment: sparse_file(insert_qdq(float_graph, quantization(assignment)), assignment, target.isa),
    )


def to_bytes(model: ir.Model) -> bytes:
    """Return a graph as an ONNX file."""
    content: bytes = ir.to_proto(model).SerializeToString()
    return content
