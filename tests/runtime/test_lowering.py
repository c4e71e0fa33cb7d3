"""What the runtime computes against what PyTorch says it should."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from hwcomp.calibration import activation_ranges, observe
from hwcomp.default_passes import default_passes
from hwcomp.devices.agent.sessions import open_session
from hwcomp.fix import QuantPlan, fix, plan
from hwcomp.kernels import search_space
from hwcomp.lowering.onnx_export import export_float
from hwcomp.lowering.onnxruntime import kernel_owners
from hwcomp.lowering.qdq import insert_qdq
from hwcomp.ops import anchor, module_of, op_of
from hwcomp.program import Program, run_passes
from hwcomp.space import SearchSpace
from hwcomp.subject import to_bytes
from hwcomp.target import load
from hwcomp.tracing import trace
from hwcomp.uniform.forms import whole_network_target

Array = np.ndarray
TARGETS = {"uint8": load("x86_64"), "int8": load("arm"), "int8_symmetric": whole_network_target(load("gpu"))}
WITH_ZERO_POINT = ("int8", "uint8")


@dataclass(frozen=True)
class Lowered:
    """A network in all its forms."""

    program: Program
    space: SearchSpace
    float_graph: ir.Model
    quantization: QuantPlan
    graph: ir.Model
    inputs: tuple[Tensor, ...]

    @property
    def eager(self) -> Array:
        with torch.no_grad():
            return self.program.module(*self.inputs).numpy()

    @property
    def simulated(self) -> Array:
        with torch.no_grad():
            return fix(self.program, self.quantization).module(*self.inputs).numpy()

    @property
    def step(self) -> float:
        """One quantisation step of the output; 0 where it leaves in float."""
        output = self.program.nodes[-1].all_input_nodes[0].name
        params = self.quantization.tensors.get(output)
        return 0.0 if params is None else params.scale


def lower(
    model: nn.Module, batches: list[tuple[Tensor, ...]], activation: str, *schemes: str, ranges: str = "minmax"
) -> Lowered:
    device = TARGETS[activation]
    assert device.activation == activation
    program = run_passes(trace(model.eval(), batches[0]), default_passes(device))
    seen = observe(program, batches)
    params = activation_ranges(program, seen, ranges, activation)
    space = search_space(program)
    quantization = plan(program, space.everywhere(*schemes), params, seen, device.weight_bits)
    exported = export_float(program)
    return Lowered(program, space, exported, quantization, insert_qdq(exported, quantization), batches[0])


def run(model: ir.Model, inputs: tuple[Tensor, ...], *, optimized: bool) -> Array:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(to_bytes(model), options, providers=["CPUExecutionProvider"])
    feed = {item.name: x.numpy() for item, x in zip(session.get_inputs(), inputs, strict=True)}
    return session.run(None, feed)[0]


def distance(expected: Array, found: Array) -> float:
    assert found.shape == expected.shape
    return float(np.linalg.norm(found - expected) / max(float(np.linalg.norm(expected)), 1e-12))


def assert_near(expected: Array, found: Array, step: float, steps: float, relative: float) -> None:
    worst = float(np.abs(found - expected).max())
    off = distance(expected, found)
    assert worst <= steps * step or off <= relative, f"{worst / max(step, 1e-9):.1f} steps, {off:.2g} relative"


@pytest.fixture
def lowered(network) -> Callable[..., Lowered]:
    return lambda activation="uint8": _lowered(network.name, network, activation)


_KNOWN: dict[tuple[str, str], Lowered] = {}


def _lowered(name: str, network, activation: str) -> Lowered:
    """Exports take a second each: every network is lowered once."""
    if (name, activation) not in _KNOWN:
        _KNOWN[name, activation] = lower(network.model, network.batches(4), activation, "int8")
    return _KNOWN[name, activation]


def test_the_float_graph_computes_what_the_network_does(network, lowered) -> None:
    one = lowered()
    with torch.no_grad():
        expected = network.model(*network.inputs).numpy()
    for optimized in (False, True):
        found = run(one.float_graph, network.inputs, optimized=optimized)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_nodes_are_named_after_their_sites(lowered) -> None:
    one = lowered()
    known = {node.name for node in one.program.nodes}
    for model in (one.float_graph, one.graph):
        names = [str(node.name) for node in model.graph]
        assert len(set(names)) == len(names)
        assert {name.split("/")[0] for name in names} <= known
    assert [value.name for value in one.graph.graph.outputs] == ["output"]


@pytest.mark.parametrize("activation", sorted(TARGETS))
def test_the_integer_graph_computes_what_the_simulation_does(lowered, activation: str) -> None:
    one = lowered(activation)
    assert one.quantization.weights
    expected = one.simulated
    assert_near(expected, run(one.graph, one.inputs, optimized=False), one.step, 2, 2e-2)
    # fused kernels round once where single ones round twice, and look up activations in tables
    assert_near(expected, run(one.graph, one.inputs, optimized=True), one.step, 4, 5e-2)


@pytest.mark.parametrize("activation", sorted(TARGETS))
def test_integers_change_the_outputs_a_little(lowered, activation: str) -> None:
    """Not at all would mean that nothing is rounded; 8 bits leave less than a tenth."""
    one = lowered(activation)
    assert 1e-4 < distance(one.eager, run(one.graph, one.inputs, optimized=True)) < 0.1


def test_lowering_does_not_change_the_float_graph(lowered) -> None:
    one = lowered()
    before = to_bytes(one.float_graph)
    insert_qdq(one.float_graph, one.quantization)
    assert to_bytes(one.float_graph) == before


def test_every_kernel_of_the_optimised_graph_has_an_owner(lowered, tmp_path: Path) -> None:
    one = lowered()
    nodes = {node.name for node in one.program.nodes}
    sites = {site.name for site in one.space.sites}
    tensors = {edge.tensor for edge in one.space.edges}
    for name, model in (("float", one.float_graph), ("int8", one.graph)):
        (tmp_path / name).mkdir()
        open_session(to_bytes(model), 1, str(tmp_path / name))
        graph = onnx.load(tmp_path / name / "optimized.onnx", load_external_data=False).graph
        owners = kernel_owners(graph)
        assert len(owners) == len(graph.node)
        for kernel, owner in owners.items():
            known = sites if owner.kind == "site" else tensors
            assert owner.name in known, f"{kernel} is said to belong to {owner} ({sorted(nodes)})"


def test_a_file_for_tensorrt_has_signed_bytes_around_zero_and_float_biases(lowered) -> None:
    """TensorRT takes no other zero point than 0, and no biases in integers."""
    graph = lowered("int8_symmetric").graph.graph
    pairs = [node for node in graph if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        zero = node.inputs[2].const_value.numpy()
        assert zero.dtype == np.int8
        assert not zero.any()
    biases = [node.inputs[2] for node in graph if node.op_type in ("Conv", "Gemm") and len(node.inputs) > 2]
    assert biases
    assert {bias.const_value.numpy().dtype for bias in biases} == {np.dtype(np.float32)}


def test_convolutions_really_run_in_integers(make_network, tmp_path: Path) -> None:
    one = _lowered("chain", make_network("chain"), "uint8")
    open_session(to_bytes(one.graph), 1, str(tmp_path))
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx", load_external_data=False).graph.node}
    assert "QLinearConv" in kinds
    assert not kinds & {"Conv", "FusedConv", "Gemm", "FusedGemm"}


class Act(nn.Module):
    """An activation between two convolutions, with something between if asked."""

    def __init__(self, act: nn.Module, before: nn.Module | None = None) -> None:
        super().__init__()
        self.a, self.before, self.act, self.b = nn.Conv2d(3, 8, 3), before or nn.Identity(), act, nn.Conv2d(8, 4, 1)
        with torch.no_grad():
            self.a.weight.mul_(6)  # so that both knees are reached

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.act(self.before(self.a(x))))


ACTIVATIONS = {"silu": nn.SiLU, "hardswish": nn.Hardswish, "hardsigmoid": nn.Hardsigmoid, "sigmoid": nn.Sigmoid}


def images(count: int, *shape: int) -> list[tuple[Tensor, ...]]:
    return [(torch.randn(shape),) for _ in range(count)]


@pytest.mark.parametrize("activation", WITH_ZERO_POINT)
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_have_integer_forms(name: str, activation: str) -> None:
    one = lower(Act(ACTIVATIONS[name]()), images(4, 1, 3, 9, 9), activation, "int8")
    kinds = [node.op_type for node in one.graph.graph]
    assert "HardSwish" not in kinds
    assert "HardSigmoid" not in kinds
    for optimized in (False, True):
        found = run(one.graph, one.inputs, optimized=optimized)
        assert_near(one.simulated, found, one.step, 4, 2e-2)
        assert distance(one.eager, found) < 0.05


@pytest.mark.parametrize("name", ["hardswish", "hardsigmoid"])
def test_hard_activations_after_a_pooling(name: str) -> None:
    """The pooling shares the quantiser of its input, which must then start at the knee."""
    one = lower(Act(ACTIVATIONS[name](), nn.MaxPool2d(2)), images(4, 1, 3, 9, 9), "uint8", "int8")
    assert distance(one.eager, run(one.graph, one.inputs, optimized=False)) < 0.05


@pytest.mark.parametrize("name", ["hardswish", "hardsigmoid"])
def test_hard_activations_of_tokens(name: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8), ACTIVATIONS[name](), nn.Linear(8, 4))
    one = lower(model, [(torch.randn(1, 5, 8) * 6,) for _ in range(4)], "uint8", "int8")
    assert distance(one.eager, run(one.graph, one.inputs, optimized=False)) < 0.08


@pytest.mark.parametrize("scheme", ["weight8", "weight4", "int8_float_output"])
def test_other_schemes_of_linear_layers(scheme: str, make_network) -> None:
    network = make_network("perceptron")
    one = lower(network.model, network.batches(4), "uint8", scheme)
    assert {one.quantization.assignment[site] for site in one.quantization.weights} == {scheme}
    found = run(one.graph, one.inputs, optimized=True)
    assert distance(one.simulated, found) < 2e-2  # the kernel rounds activations to 8 bits for itself
    assert distance(one.eager, found) < (0.3 if scheme == "weight4" else 0.05)


def test_a_weight_only_layer_before_an_integer_reader() -> None:
    """The product that replaces the layer is what the rounding for the reader follows."""
    network = nn.Sequential(nn.Linear(40, 32), nn.Hardswish(), nn.Linear(32, 5))
    batches = [(torch.randn(1, 40),) for _ in range(4)]
    whole = lower(network, batches, "uint8", "int8")
    first = next(iter(whole.quantization.weights))
    seen = observe(whole.program, batches)
    params = activation_ranges(whole.program, seen, "minmax", "uint8")
    mixed = plan(whole.program, {**whole.quantization.assignment, first: "weight8"}, params, seen)
    assert distance(whole.eager, run(insert_qdq(whole.float_graph, mixed), whole.inputs, optimized=True)) < 0.05


def test_a_mixture_of_integers_and_float(make_network) -> None:
    """Every second site stays float: values are converted there and back."""
    network = make_network("residual")
    whole = _lowered("residual", network, "uint8")
    for parity in (0, 1):
        mixed = {site.name: whole.quantization.assignment[site.name] for site in whole.space.sites[parity::2]}
        seen = observe(whole.program, network.batches(4))
        params = activation_ranges(whole.program, seen, "minmax", "uint8")
        quantization = plan(whole.program, mixed, params, seen)
        one = Lowered(whole.program, whole.space, whole.float_graph, quantization,
                      insert_qdq(whole.float_graph, quantization), network.inputs)  # fmt: skip
        assert_near(one.simulated, run(one.graph, one.inputs, optimized=False), one.step, 2, 2e-2)


class Attend(nn.Module):
    """PyTorch's own attention, which is called with one tensor three times, and with an option."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.last = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.attention(x, x, x, need_weights=False)[0])


class Opaque(nn.Module):
    def forward(self, x: Tensor, factor: float) -> Tensor:
        return x * factor if bool(x.sum() > 0) else x


class WithConstant(nn.Module):
    """A module that cannot be traced and is called with a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.opaque, self.last = nn.Linear(8, 8), Opaque(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.opaque(self.first(x), 2.0))


@pytest.mark.parametrize("model", [Attend, WithConstant])
@pytest.mark.filterwarnings("ignore")
def test_modules_keep_all_their_arguments(model: type[nn.Module]) -> None:
    one = lower(model(), [(torch.randn(1, 5, 8),) for _ in range(2)], "uint8", "int8")
    np.testing.assert_allclose(run(one.float_graph, one.inputs, optimized=False), one.eager, rtol=1e-3, atol=1e-5)


class Random(nn.Module):
    """A network drawn from a recipe: stages of chains, residuals, branches and grouped convolutions."""

    def __init__(self, stages: list[tuple[str, int, int, bool]], classify: bool) -> None:
        super().__init__()
        self.kinds = [kind for kind, *_ in stages]
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.blocks = nn.ModuleList()
        self.acts = nn.ModuleList()
        channels = 6
        for kind, width, kernel, relu6 in stages:
            wide = channels if kind in ("residual", "depthwise") else width
            groups = {"depthwise": channels, "grouped": 2 if channels % 2 == 0 and width % 2 == 0 else 1}.get(kind, 1)
            stride = 2 if kind == "strided" else 1
            self.blocks.append(nn.Conv2d(channels, wide, kernel, stride, kernel // 2, groups=groups))
            self.acts.append(nn.ReLU6() if relu6 else nn.ReLU())
            channels = channels + wide if kind == "concat" else wide
        self.classify = nn.Linear(channels, 5) if classify else None

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        for kind, block, act in zip(self.kinds, self.blocks, self.acts, strict=True):
            y = block(x)
            if kind == "residual":
                x = act(x + y)
            elif kind == "concat":
                x = torch.cat([x, act(y)], 1)
            elif kind == "pooled":
                x = F.max_pool2d(act(y), 2, 1)
            else:
                x = act(y)
        return x if self.classify is None else self.classify(F.adaptive_avg_pool2d(x, 1).flatten(1))


kinds = st.sampled_from(["plain", "strided", "residual", "concat", "depthwise", "grouped", "pooled"])
recipes = st.lists(st.tuples(kinds, st.integers(1, 9), st.sampled_from([1, 3]), st.booleans()), min_size=1, max_size=4)


def error_bound(one: Lowered, slack_steps: float) -> Tensor:
    r"""Return how far each output may be from float, element by element.

    With E the bound of an input's error: a rounded operator is off by
    :math:`|W - \hat W| |x| + |\hat W| E + |b - \hat b|`, sums and concatenations add and keep E, activations and maxima
    are no further apart than their inputs, and storing as integers adds half a step, and another half where zero was
    moved to a whole number. ``slack_steps`` is how much that is in all; ranges are those of this very input, so that
    nothing else is clipped.
    """
    bounds: dict[fx.Node, Tensor] = {}
    values: dict[fx.Node, Tensor] = {}

    class Bounder(fx.Interpreter):
        def run_node(self, n: fx.Node):
            result = super().run_node(n)
            if n.op != "output":
                sources = n.all_input_nodes
                values[n] = result
                stored = one.quantization.tensors.get(n.name)
                steps = 0.0 if stored is None else slack_steps * stored.scale
                inner = _bound(one, n, [values[x] for x in sources], [bounds[x] for x in sources])
                bounds[n] = inner + steps + 1e-5 * result.abs().max()
            return result

    with torch.no_grad():
        Bounder(one.program.module).run(*one.inputs)
    return bounds[one.program.nodes[-1].all_input_nodes[0]]


SUMMED: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "add": lambda inner: inner[0] + inner[1],
    "cat": lambda inner: torch.cat(inner, 1),
    "max_pool2d": lambda inner: F.max_pool2d(inner[0], 2, 1),
    "adaptive_avg_pool2d": lambda inner: inner[0].mean((2, 3), keepdim=True),
    "flatten": lambda inner: inner[0].flatten(1),
}


def _bound(one: Lowered, node: fx.Node, sources: list[Tensor], inner: list[Tensor]) -> Tensor:
    if node.op == "placeholder":
        return torch.zeros(())
    module = module_of(node)
    operator = anchor(module) if module is not None else None
    if not isinstance(operator, (nn.Conv2d, nn.Linear)):
        return SUMMED[op_of(node)](inner)
    rounded = one.quantization.weights[node.name]
    lost, bias = (operator.weight - rounded.dequantized).abs(), (operator.bias - rounded.bias).abs()
    x, error, weight = sources[0].abs(), inner[0].expand_as(sources[0]), rounded.dequantized.abs()
    if isinstance(operator, nn.Linear):
        return F.linear(x, lost, bias) + F.linear(error, weight)
    how = {"stride": operator.stride, "padding": operator.padding, "groups": operator.groups}
    return F.conv2d(x, lost, bias, **how) + F.conv2d(error, weight, **how)


def test_a_filter_of_zeros_keeps_its_bias() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU())
    with torch.no_grad():
        net[0].weight[2:5] = 0.0
        net[0].bias[2:5] = torch.tensor([0.7, 3.0, 50.0])
    one = lower(net, [(torch.randn(2, 3, 9, 9),)], "uint8", "int8")
    for optimized in (False, True):
        assert distance(one.eager, run(one.graph, one.inputs, optimized=optimized)) < 2e-2


@settings(max_examples=15, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(
    stages=recipes,
    size=st.tuples(st.integers(5, 13), st.integers(5, 13)),
    batch=st.integers(1, 2),
    classify=st.booleans(),
    activation=st.sampled_from(sorted(TARGETS)),
    seed=st.integers(0, 999),
)
@example(  # its third convolution gives only zeros: there is no range to quantise, and the next bias has to survive
    stages=[("plain", 8, 3, False), ("strided", 8, 3, False), ("plain", 1, 3, True), ("plain", 1, 3, True)],
    size=(5, 5), batch=1, classify=False, activation="int8", seed=5,
)  # fmt: skip
def test_random_networks_stay_within_the_error_of_their_rounding(
    stages: list[tuple[str, int, int, bool]],
    size: tuple[int, int],
    batch: int,
    classify: bool,
    activation: str,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(batch, 3, *size)
    one = lower(Random(stages, classify), [(x,)], activation, "int8")
    expected = one.eager
    np.testing.assert_allclose(run(one.float_graph, one.inputs, optimized=False), expected, rtol=1e-3, atol=1e-4)
    assert_near(one.simulated, run(one.graph, one.inputs, optimized=False), one.step, 2, 2e-2)
    for optimized, steps in ((False, 1.05), (True, 1.55)):
        off = np.abs(run(one.graph, one.inputs, optimized=optimized) - expected)
        assert bool((off <= error_bound(one, steps).numpy()).all())
