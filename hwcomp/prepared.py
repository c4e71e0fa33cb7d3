"""A workload made ready for search: traced, transformed, exported, calibrated; and lowered again for any assignment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

import onnx
import onnx_ir as ir

from hwcomp.calibration import Observation, activation_ranges, observe
from hwcomp.config import BY_RATE, CompileConfig
from hwcomp.console import Reporter
from hwcomp.data import SearchData, check_eval_data, search_data
from hwcomp.digests import model_digest, tensors_digest
from hwcomp.errors import InputError
from hwcomp.fix import fix, plan
from hwcomp.kernel import Kernels
from hwcomp.kernels import search_space
from hwcomp.lowering.onnx_export import export_float, export_plain, opaque_sites
from hwcomp.lowering.onnxruntime import Feed
from hwcomp.program import Program
from hwcomp.quantizer import QuantParams
from hwcomp.space import Assignment, SearchSpace
from hwcomp.stages import Stages, digest
from hwcomp.subject import Subject, subject_of, to_bytes
from hwcomp.target import Target
from hwcomp.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything that a search needs, made once.

    Attributes:
        program: with choices.
        original: the same of the original network, which is the baseline.
        space: its sites and edges.
        target: that it is for.
        plain: the original float network as PyTorch exports it, an ONNX file: the baseline.
        float_graph: the float network after hwcomp's passes, the graph that is quantised.
        own: the float network that is quantised, as an ONNX file: ``plain`` if it is the original one.
        judge: the network that accuracy must not fall below by more than allowed: ``plain``, or ``own`` where the user
            said how much smaller than the original it is to be.
        data: calibration and validation inputs.
        seen: what calibration saw of each tensor.
        params: quantisation parameters of each tensor.
        key: hash of all of it.
    """

    program: Program
    original: Program
    space: SearchSpace
    target: Target
    plain: bytes
    float_graph: ir.Model
    own: bytes
    judge: bytes
    data: SearchData
    seen: Mapping[str, Observation]
    params: Mapping[str, QuantParams]
    key: str

    @cached_property
    def subject(self) -> Subject:
        """The network as something to measure."""
        return subject_of(self.program, self.target, self.float_graph, self.seen, self.params, self.data.inputs[0])

    @property
    def kernels(self) -> Kernels:
        """What its sites and tensors may run."""
        return self.subject.kernels

    @property
    def feed(self) -> Feed:
        """One calibration input, by name."""
        return self.subject.feed

    def with_trained(self, params: Mapping[str, QuantParams]) -> "Prepared":
        """Return the same with parameters that a training has learned; it has corrected the biases, too."""
        merged = {**self.params, **params}
        trained = digest(self.key, {name: [p.scale, p.zero_point] for name, p in merged.items()})
        return replace(self, params=merged, seen={}, key=trained)

    def lower(self, assignment: Assignment) -> bytes:
        """Return the ONNX file of an assignment."""
        return self.subject.lower(assignment)

    def fixed(self, assignment: Assignment) -> Program:
        """Return the program of an assignment, without choices."""
        return fix(self.program, plan(self.program, assignment, self.params, self.seen, self.target.weight_bits))


def prepare_for_search(
    workload: Workload,
    program: Program,
    target: Target,
    config: CompileConfig,
    stages: Stages,
    reporter: Reporter,
    original: Program | None = None,
) -> Prepared:
    """Export, choose data and calibrate; ``original`` is the workload's program if the other is a smaller one."""
    model_key = digest(model_digest(program.module), *_form(program))
    stage = reporter.stage("Export")
    with stage.bar("exporting to ONNX", total=None):
        plain = plain_file(workload, program, stages)
        exported = stages.blob("float", model_key, lambda: to_bytes(export_float(program)))
        float_graph = _from_bytes(exported)
    stage.done(f"{len(list(float_graph.graph))} ONNX nodes, {len(exported) / 2**20:.1f} MB in float")

    stage = reporter.stage("Calibrate")
    with stage.bar("reading data", total=1.0) as bar:
        check_eval_data(workload)
        key = digest(
            _plain_key(workload, program), tensors_digest(workload.example_inputs), config.calibration, config.seed
        )
        data = search_data(workload, config.calibration, config.seed, bar.share, partial(stages.blob, "inputs", key))
    with stage.bar("observing activations", total=len(data.inputs)) as bar:
        seen = observe(program, data.inputs, bar.advance)
    params = activation_ranges(program, seen, config.ranges, target.activation)
    stage.done(f"{data.source}; ranges by {config.ranges}" + _validation_text(data))
    calibrated = json.dumps({name: [p.scale, p.zero_point] for name, p in params.items()})
    return Prepared(
        program=program,
        original=original or program,
        space=search_space(program),
        target=target,
        plain=plain,
        float_graph=float_graph,
        own=plain if original is None else exported,
        judge=exported if original is not None and config.method in BY_RATE else plain,
        data=data,
        seen=seen,
        params=params,
        key=digest(model_key, target.model_dump_json(), calibrated),
    )


def _validation_text(data: SearchData) -> str:
    return f"; {len(data.validation)} labelled training samples held out to choose by" if data.validation else ""


def plain_file(workload: Workload, program: Program, stages: Stages) -> bytes:
    """Return the untouched model as an ONNX file, from an earlier run if there was one.

    Args:
        workload: whose model it is.
        program: the model, traced.
        stages: where the file is kept.
    """
    return stages.blob("plain", _plain_key(workload, program), lambda: _plain(workload, program))


def _plain_key(workload: Workload, program: Program) -> str:
    return digest(model_digest(workload.model), *_form(program))


def _form(program: Program) -> tuple[str, list[list[int]]]:
    """Return what decides the form of a program's export, beside its weights."""
    return str(program.module.code), [list(x.shape) for x in program.example_inputs]


def _plain(workload: Workload, program: Program) -> bytes:
    """Return the untouched model's export; a model that only scripting can express is exported from its program."""
    try:
        names = [node.name for node in program.nodes if node.op == "placeholder"]
        return to_bytes(export_plain(workload.model, workload.example_inputs, names, opaque_sites(program)))
    except InputError:
        return to_bytes(export_float(program))


def _from_bytes(exported: bytes) -> ir.Model:
    return ir.from_proto(onnx.load_from_string(exported))
