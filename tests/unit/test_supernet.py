"""A supernet computes what its coefficients say: one scheme each is what lowering simulates, mixtures lie between."""

import copy
import random
from contextlib import nullcontext

import pytest
import torch
from networks import example
from torch import Tensor, nn

from hwcomp import target
from hwcomp.calibration import activation_ranges, observe
from hwcomp.default_passes import default_passes, training_passes
from hwcomp.errors import InputError
from hwcomp.fix import fix, plan
from hwcomp.kernels import search_space
from hwcomp.program import Program, run_passes
from hwcomp.quantizer import QuantParams
from hwcomp.space import SearchSpace
from hwcomp.supernet import (
    PrecisionSite,
    Supernet,
    learned_params,
    logits_of,
    quantised,
    rounding,
    set_coefficients,
    sites_of,
    supernet,
    weight_parameters,
)
from hwcomp.supernet.stores import StoredTensor
from hwcomp.tracing import trace

TARGET = target.load("x86_64")


class Prepared:
    """A network in its forms."""

    def __init__(self, model: nn.Module, batches: list[tuple[Tensor, ...]]) -> None:
        self.inputs = batches[0]
        self.traced: Program = trace(model.eval(), batches[0])
        self.folded = run_passes(self.traced, default_passes(TARGET))
        self.params: dict[str, QuantParams] = activation_ranges(
            self.folded, observe(self.folded, batches), "minmax", "uint8"
        )
        self.space: SearchSpace = search_space(self.folded)

    def supernet(self, **options: object) -> Supernet:
        return supernet(self.traced, TARGET, self.params, **options)

    def fixed(self, assignment: dict[str, str]) -> Tensor:
        quantization = plan(self.folded, assignment, self.params, {}, TARGET.weight_bits)
        with torch.no_grad():
            return fix(self.folded, quantization).module(*self.inputs)


def one_hot(net: Supernet, assignment: dict[str, str]) -> dict[str, Tensor]:
    sites = sites_of(net.program.module)
    return {name: torch.tensor([float(c == assignment[name]) for c in site.candidates]) for name, site in sites.items()}


def outputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    with torch.no_grad():
        return module(*inputs)


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def relu_chain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, bias=False),
        nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip


@pytest.fixture
def chain() -> Prepared:
    return Prepared(relu_chain(), [(torch.randn(4, 3, 10, 10),) for _ in range(3)])


@pytest.mark.parametrize("mixing", ["weights", "outputs"])
def test_one_scheme_each_is_what_lowering_simulates(network, mixing: str) -> None:
    prepared = Prepared(network.model, network.batches(3))
    net = prepared.supernet()
    assert set(net.sites) == {site.name for site in prepared.space.free}
    torch.testing.assert_close(
        outputs(net.program.module, prepared.inputs), outputs(prepared.traced.module, prepared.inputs),
        rtol=1e-3, atol=1e-4,
    )  # fmt: skip
    assignment = prepared.space.everywhere("int8")
    set_coefficients(net.program.module, one_hot(net, assignment), mixing)
    found, expected = outputs(net.program.module, prepared.inputs), prepared.fixed(assignment)
    assert distance(found, expected) < 0.01
    assert distance(found, outputs(prepared.traced.module, prepared.inputs)) > 1e-4
    set_coefficients(net.program.module, {})
    torch.testing.assert_close(
        outputs(net.program.module, prepared.inputs), outputs(prepared.traced.module, prepared.inputs),
        rtol=1e-3, atol=1e-4,
    )  # fmt: skip


def test_random_assignments_are_what_lowering_simulates(chain: Prepared) -> None:
    net, generator = chain.supernet(), random.Random(0)
    for _ in range(8):
        assignment = {site.name: generator.choice(site.candidates) for site in chain.space.sites}
        set_coefficients(net.program.module, one_hot(net, assignment))
        assert distance(outputs(net.program.module, chain.inputs), chain.fixed(assignment)) < 0.005, assignment


def test_a_quantised_program_is_what_lowering_simulates(network) -> None:
    prepared, generator = Prepared(network.model, network.batches(3)), random.Random(network.name)
    joined = run_passes(prepared.traced, training_passes(TARGET))
    for _ in range(4):
        assignment = {site.name: generator.choice(site.candidates) for site in prepared.space.sites}
        form = quantised(joined, assignment, prepared.params)
        found = outputs(form.module, prepared.inputs)
        assert distance(found, prepared.fixed(assignment)) < 0.01, assignment
        stored = plan(prepared.folded, assignment, prepared.params, {}).tensors
        learned = learned_params(form.module)
        assert learned.keys() == stored.keys()
        for name, params in learned.items():
            assert (params.zero_point, params.dtype) == (stored[name].zero_point, stored[name].dtype)
            assert params.scale == pytest.approx(stored[name].scale, rel=1e-6)


def test_seven_bits_where_products_saturate(chain: Prepared) -> None:
    joined = run_passes(chain.traced, training_passes(TARGET))
    assignment = chain.space.everywhere("int8")
    few, many = (quantised(joined, assignment, chain.params, weight_bits=bits) for bits in (7, 8))
    with torch.no_grad():
        expected = fix(chain.folded, plan(chain.folded, assignment, chain.params, {}, 7)).module(*chain.inputs)
    assert distance(outputs(few.module, chain.inputs), expected) < 0.002
    assert distance(outputs(many.module, chain.inputs), expected) > 0.003


def test_a_mixture_of_outputs_is_a_sum_over_calls(chain: Prepared) -> None:
    """The last layer alone mixes: half of it is rounded, half is not."""
    net = chain.supernet()
    last = chain.space.free[-1].name
    site = sites_of(net.program.module)[last]
    p = torch.tensor([0.5 if c in ("float", "int8") else 0.0 for c in site.candidates])
    results = []
    for only in ("float", "int8"):
        hot = torch.tensor([float(c == only) for c in site.candidates])
        set_coefficients(net.program.module, {last: hot}, "outputs")
        _silence(net.program.module)
        results.append(outputs(net.program.module, chain.inputs))
    for mixing in ("outputs", "weights"):
        set_coefficients(net.program.module, {last: p}, mixing)
        _silence(net.program.module)
        # the last layer is linear, so that both mixtures are one
        torch.testing.assert_close(outputs(net.program.module, chain.inputs), (results[0] + results[1]) / 2)


def _silence(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, StoredTensor):
            part.share = 0.0


@pytest.mark.parametrize("mixing", ["weights", "outputs"])
def test_gradients_of_coefficients(chain: Prepared, mixing: str) -> None:
    """The gradient of each is how much the loss changes when it grows."""
    net = chain.supernet()
    first = chain.space.free[0].name
    site = sites_of(net.program.module)[first]
    p = torch.full((len(site.candidates),), 1 / len(site.candidates), requires_grad=True)

    def loss(coefficients: Tensor) -> Tensor:
        set_coefficients(net.program.module, {first: coefficients}, mixing)
        return net.program.module(*chain.inputs).square().mean()

    loss(p).backward()
    for index in range(len(p)):
        values = []
        for step in (1e-2, -1e-2):
            moved = p.detach().clone()
            moved[index] += step
            values.append(float(loss(moved).detach()))
        assert float(p.grad[index]) == pytest.approx((values[0] - values[1]) / 2e-2, rel=0.05, abs=1e-4)


def test_zero_coefficients_have_gradients_in_a_mixture_of_weights(chain: Prepared) -> None:
    net = chain.supernet()
    first = chain.space.free[0].name
    candidates = sites_of(net.program.module)[first].candidates
    p = torch.eye(len(candidates))[0].requires_grad_()
    set_coefficients(net.program.module, {first: p})
    net.program.module(*chain.inputs).square().mean().backward()
    assert bool(torch.isfinite(p.grad).all())
    assert bool((p.grad != 0).all())


def test_training_moves_weights_steps_and_logits(chain: Prepared) -> None:
    net = chain.supernet()
    module = copy.deepcopy(net.program.module).train()
    logits = logits_of(module)
    coefficients = {name: torch.softmax(x, 0) for name, x in logits.items()}
    set_coefficients(module, coefficients)
    module(*chain.inputs).square().mean().backward()
    assert all(x.grad is not None and bool(x.grad.abs().sum() > 0) for x in logits.values())
    weights = weight_parameters(module)
    assert all(x.grad is not None for x in weights)
    assert len(weights) + len(logits) == len(list(module.parameters()))
    assert not {id(x) for x in weights} & {id(x) for x in logits.values()}
    assert all(x.grad is None for x in net.program.module.parameters())
    again = copy.deepcopy(module)
    torch.testing.assert_close(outputs(again.eval(), chain.inputs), outputs(module.eval(), chain.inputs))


def test_wrong_coefficients_are_refused(chain: Prepared) -> None:
    net = chain.supernet()
    with pytest.raises(ValueError, match="no such site"):
        set_coefficients(net.program.module, {"nothing": torch.ones(2)})
    with pytest.raises(ValueError, match="expected"):
        set_coefficients(net.program.module, {net.sites[0]: torch.ones(9)})


def test_simulated_schemes_mix_weights_and_inputs(chain: Prepared) -> None:
    """Bits are learned per layer; fewer of them change the outputs more."""
    first, second = (site.name for site in chain.space.free[:2])
    candidates = dict.fromkeys((first, second), ("w2a2", "w4a4", "w8a8"))
    net = chain.supernet(candidates=candidates)
    site = sites_of(net.program.module)[first]
    assert isinstance(site, PrecisionSite)
    assert site.candidates == candidates[first]
    exact, off = outputs(chain.traced.module, chain.inputs), []
    for index in range(3):
        hot = torch.eye(3)[index]
        set_coefficients(net.program.module, {first: hot, second: hot})
        off.append(distance(outputs(net.program.module, chain.inputs), exact))
    assert off[0] > 2 * off[1] > 4 * off[2] > 0
    p = torch.full((3,), 1 / 3, requires_grad=True)
    for mixing in ("weights", "outputs"):
        set_coefficients(net.program.module, {first: p, second: p}, mixing)
        net.program.module(*chain.inputs).square().mean().backward()
        assert bool((p.grad != 0).all())
        p.grad = None


def test_candidates_for_what_is_no_operator_are_refused(chain: Prepared) -> None:
    with pytest.raises(InputError, match="name an operator"):
        chain.supernet(candidates={"nothing": ("float", "int8")})
    with pytest.raises(InputError, match="w4"):
        chain.supernet(candidates={chain.space.free[0].name: ("float", "w4")})


def test_steps_that_kernels_rely_on_are_not_learned(make_network) -> None:
    network = make_network("squeeze_excite_hardswish")
    prepared = Prepared(network.model, network.batches(3))
    joined = run_passes(prepared.traced, training_passes(TARGET))
    form = quantised(joined, prepared.space.everywhere("int8"), prepared.params)
    learned = {
        part.tensor: part.rounding.step.requires_grad
        for part in form.module.modules()
        if isinstance(part, StoredTensor)
    }
    readers = {node.name: {user.target for user in node.users} for node in prepared.folded.nodes}
    assert not all(learned.values())
    assert any(learned.values())
    assert readers.keys() >= learned.keys()


def test_noise_needs_training(chain: Prepared) -> None:
    """Part of the weights get noise in place of rounding, in training only."""
    joined = run_passes(chain.traced, training_passes(TARGET))
    form = quantised(joined, chain.space.everywhere("int8"), chain.params, noise=0.5).module
    norms = [part for part in form.modules() if isinstance(part, nn.BatchNorm2d)]
    assert torch.equal(outputs(form, chain.inputs), outputs(form, chain.inputs))
    form.train()
    for norm in norms:
        norm.eval()
    assert not torch.equal(outputs(form, chain.inputs), outputs(form, chain.inputs))


def test_tensors_of_the_same_values_share_a_step() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3))
    prepared = Prepared(model, [(torch.randn(2, 3, 12, 12),) for _ in range(2)])
    joined = run_passes(prepared.traced, training_passes(TARGET))
    form = quantised(joined, prepared.space.everywhere("int8"), prepared.params)
    stored = {part.tensor: part.rounding for part in form.module.modules() if isinstance(part, StoredTensor)}
    pooled = next(node.name for node in prepared.folded.nodes if "2" in node.name and node.op == "call_module")
    source = next(node for node in prepared.folded.nodes if node.name == pooled).all_input_nodes[0].name
    assert stored[pooled] is stored[source]


def test_an_example_with_every_kind_of_site() -> None:
    """Depthwise layers, gates and hard activations at once."""
    prepared = Prepared(example("mobile", "mobilenet_v3_large"), [(torch.randn(2, 3, 32, 32),) for _ in range(2)])
    net = prepared.supernet()
    logits = logits_of(net.program.module)
    set_coefficients(net.program.module, {name: torch.softmax(x, 0) for name, x in logits.items()})
    net.program.module(*prepared.inputs).square().mean().backward()
    assert all(x.grad is not None for x in logits.values())


def gradients(form: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    form.zero_grad()
    form(*inputs).square().mean().backward()
    return {name: p.grad.clone() for name, p in form.named_parameters() if p.grad is not None}


def soft(net: Supernet) -> dict[str, Tensor]:
    return {name: torch.linspace(1, 2, len(x)) / len(x) for name, x in logits_of(net.program.module).items()}


def test_inputs_that_are_not_kept_are_made_again(chain: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers keep nothing of their rounded inputs, and have the gradients that they would have if they did."""
    net = chain.supernet()
    set_coefficients(net.program.module, soft(net))
    found = gradients(net.program.module, chain.inputs)
    monkeypatch.setattr(rounding, "frugal", lambda _: nullcontext())
    expected = gradients(net.program.module, chain.inputs)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


def test_images_with_channels_last_have_the_same_gradients(chain: Prepared) -> None:
    net = chain.supernet()
    set_coefficients(net.program.module, soft(net))
    expected = gradients(net.program.module, chain.inputs)
    net.program.module.to(memory_format=torch.channels_last)
    (images,) = chain.inputs
    found = gradients(net.program.module, (images.contiguous(memory_format=torch.channels_last),))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_bfloat16_has_nearly_the_same_gradients(chain: Prepared) -> None:
    net = chain.supernet()
    set_coefficients(net.program.module, soft(net))
    expected = gradients(net.program.module, chain.inputs)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(net.program.module, chain.inputs)
    assert found.keys() == expected.keys()
    weights = [name for name in expected if name.endswith("weight")]
    assert all(distance(found[name], expected[name]) < 0.1 for name in weights)


def test_mixtures_of_outputs_and_of_weights_differ_behind_a_relu(chain: Prepared) -> None:
    first = chain.space.free[0].name
    net = chain.supernet(candidates={first: ("float", "w2a8")})
    site = sites_of(net.program.module)[first]

    def output(coefficients: list[float], mixing: str) -> Tensor:
        set_coefficients(net.program.module, {first: torch.tensor(coefficients)}, mixing)
        with torch.no_grad():
            return site(*chain.inputs)

    mean = (output([1.0, 0.0], "outputs") + output([0.0, 1.0], "outputs")) / 2
    torch.testing.assert_close(output([0.5, 0.5], "outputs"), mean)
    assert distance(output([0.5, 0.5], "weights"), mean) > 0.01


def test_the_network_that_is_searched_is_another_one(chain: Prepared) -> None:
    own = {id(x) for x in (*chain.traced.module.parameters(), *chain.traced.module.buffers())}
    net = chain.supernet()
    assert not own & {id(x) for x in (*net.program.module.parameters(), *net.program.module.buffers())}
