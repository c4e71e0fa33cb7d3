r"""How much each single rounding moves the network's output on calibration inputs; no labels are needed.

.. math:: \Omega = \frac{\| f(x; \text{one part rounded}) - f(x) \|^2}{\| f(x) \|^2}

Only what lies behind the rounded part is computed again.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from hwcomp.calibration import Observation
from hwcomp.choice import Choice
from hwcomp.fix import quantize_weight, with_weight
from hwcomp.ops import SAME_VALUES, WEIGHTED, module_of, op_of
from hwcomp.program import Inputs, Program, flatten
from hwcomp.quantizer import QuantParams, fake_quantize
from hwcomp.scheme import FLOAT, sparse_of
from hwcomp.search.knapsack import Sensitivity
from hwcomp.sparsity import operator_with_zeros


def sensitivity(
    program: Program,
    inputs: Sequence[Inputs],
    params: Mapping[str, QuantParams],
    seen: Mapping[str, Observation],
    weight_bits: int = 8,
    seconds: float = 15.0,
    progress: Callable[[float], None] = lambda _: None,
) -> Sensitivity:
    """Measure every weight in every scheme, and every tensor, one at a time.

    Args:
        program: with choices.
        inputs: calibration inputs.
        params: of the tensors.
        seen: what calibration saw; its means correct biases.
        weight_bits: of integer weights on the target.
        seconds: that it may take, about; fewer inputs are used if all of them would take longer.
        progress: called with the share that is done.
    """
    weighted, tensors = _probes(program, params)
    probe = _Probe(program, _affordable(program, inputs, len(weighted) + len(tensors), seconds))
    total, done = len(weighted) + len(tensors), 0
    weights: dict[str, dict[str, float]] = {}
    known: dict[tuple[str, int | None, bool], float] = {}
    for node, scheme in weighted:
        weights.setdefault(node.name, {})[scheme] = _weight_distance(probe, node, scheme, seen, weight_bits, known)
        done += 1
        progress(done / total)
    distances = {}
    for node in tensors:
        distances[node.name] = probe.distance(node, partial(fake_quantize, params=params[node.name]))
        done += 1
        progress(done / total)
    return Sensitivity(weights=weights, tensors=distances)


def _probes(program: Program, params: Mapping[str, QuantParams]) -> tuple[list[tuple[fx.Node, str]], list[fx.Node]]:
    """Return the weights with their schemes and the tensors to round.

    A tensor that holds only values of another one adds no error: it was rounded before.
    """
    weighted = [
        (node, scheme)
        for node in program.nodes
        if isinstance(choice := module_of(node), Choice) and op_of(node) in WEIGHTED
        for scheme in choice.candidates
        if scheme != FLOAT
    ]
    tensors = [node for node in program.nodes if node.name in params and op_of(node) not in SAME_VALUES]
    return weighted, tensors


def _weight_distance(
    probe: "_Probe",
    node: fx.Node,
    scheme: str,
    seen: Mapping[str, Observation],
    weight_bits: int,
    known: dict[tuple[str, int | None, bool], float],
) -> float:
    """Return the distance that a rounded weight causes; schemes that round it alike share one measurement.

    A sparse scheme causes none where the weight has its zeros already.
    """
    choice, sparse = module_of(node), sparse_of(scheme)
    assert isinstance(choice, Choice)
    if sparse is not None:
        masked = operator_with_zeros(choice.op, sparse)
        return 0.0 if masked is choice.op else probe.distance(node, None, masked)
    weight = quantize_weight(node, scheme, seen.get(node.all_input_nodes[0].name), weight_bits)
    key = (node.name, weight.bits, weight.scales.ndim == 1)
    if key not in known:
        rounded = with_weight(choice.op, weight)
        known[key] = probe.distance(node, None, rounded)
    return known[key]


class _Probe:
    """Keeps the float values of every node and computes outputs again behind a changed one."""

    def __init__(self, program: Program, inputs: Sequence[Inputs]) -> None:
        self.nodes = program.nodes
        self.module = program.module
        self.values = [self._forward(batch) for batch in inputs]
        self.output = next(node for node in self.nodes if node.op == "output")

    def _forward(self, batch: Inputs) -> dict[fx.Node, Any]:
        recorder = _Recorder(self.module)
        with torch.inference_mode():
            recorder.run(*batch)
        return recorder.values

    def distance(
        self,
        node: fx.Node,
        change: Callable[[Tensor], Tensor] | None,
        compute: Callable[..., Tensor] | None = None,
    ) -> float:
        """Return the relative squared distance of the outputs after changing, or computing anew, one node's tensor."""
        behind = self._behind(node)
        moved, scale = 0.0, 0.0
        with torch.inference_mode():
            for values in self.values:
                changed = dict(values)
                if compute is not None:
                    changed[node] = compute(*(values[source] for source in node.all_input_nodes))
                elif change is not None:
                    changed[node] = change(values[node])
                interpreter = fx.Interpreter(self.module)
                interpreter.env = changed
                for follower in behind:
                    changed[follower] = interpreter.run_node(follower)
                before, after = flatten(values[self.output]), flatten(changed[self.output])
                for a, b in zip(before, after, strict=True):
                    moved += float((a.float() - b.float()).square().sum())
                    scale += float(a.float().square().sum())
        return moved / max(scale, 1e-12)

    def _behind(self, node: fx.Node) -> list[fx.Node]:
        reached = {node}
        for follower in self.nodes:
            if any(source in reached for source in follower.all_input_nodes):
                reached.add(follower)
        return [follower for follower in self.nodes if follower in reached and follower is not node]


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.values: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.values[n] = super().run_node(n)
        return self.values[n]


def _affordable(program: Program, inputs: Sequence[Inputs], probes: int, seconds: float) -> Sequence[Inputs]:
    """Return as many of the inputs as fit the time; at least one."""
    with torch.inference_mode():
        program.module(*inputs[0])
        start = time.perf_counter()
        program.module(*inputs[0])
        forward_s = time.perf_counter() - start
    # on average half of the network lies behind the changed node
    count = int(seconds / max(forward_s * probes / 2, 1e-9))
    return inputs[: max(1, min(len(inputs), count))]
