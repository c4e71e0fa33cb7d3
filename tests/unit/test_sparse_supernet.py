"""Sparse schemes beside others in a supernet, in the training after it, in the fixed program, and what they cost."""

import pytest
import torch
from networks import alive
from torch import Tensor, nn

from hwcomp import target
from hwcomp.calibration import activation_ranges, observe
from hwcomp.default_passes import default_passes, training_passes
from hwcomp.fix import fix, plan
from hwcomp.groups import width_groups
from hwcomp.ops import anchor, module_of
from hwcomp.passes.insert_sparse_choices import InsertSparseChoices
from hwcomp.program import Program, run_passes
from hwcomp.quantizer import QuantParams
from hwcomp.scheme import Sparse
from hwcomp.search.sensitivity import sensitivity
from hwcomp.sparsity import network_with_zeros, operator_with_zeros, size_mask
from hwcomp.supernet import (
    PrecisionSite,
    Supernet,
    Widths,
    quantised,
    set_coefficients,
    sites_of,
    supernet,
    weights_to_source,
)
from hwcomp.supernet.weights import round_weight
from hwcomp.tracing import trace

TARGET = target.load("x86_64")
FEW, FEWER = Sparse(rows=4, density=0.3), Sparse(rows=4, density=0.1)
CANDIDATES = ("float", "int8", str(FEW), str(FEWER))


class Net(nn.Module):
    """A normalised and an activated convolution, and one without either."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.second, self.third = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.Conv2d(16, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(torch.relu(self.second(torch.relu(self.norm(self.first(x))))))


@pytest.fixture
def traced() -> Program:
    return trace(alive(Net()), (torch.randn(4, 3, 8, 8),))


def params_of(network: Program) -> dict[str, QuantParams]:
    folded = run_passes(network, default_passes(TARGET))
    return activation_ranges(folded, observe(folded, [folded.example_inputs]), "minmax", TARGET.activation)


def supernet_of(network: Program, **options: object) -> Supernet:
    return supernet(network, TARGET, params_of(network), candidates={"second": CANDIDATES}, alone=True, **options)


def chosen(net: Supernet, *shares: float) -> None:
    set_coefficients(net.program.module, {"second": torch.tensor(shares)})


def weight_of(network: Program, site: str) -> Tensor:
    module = next(module_of(node) for node in network.nodes if node.name == site)
    assert module is not None
    return anchor(module).get_parameter("weight")


def computed(module: nn.Module, network: Program) -> Tensor:
    with torch.no_grad():
        return module(*network.example_inputs)


def test_one_candidate_is_what_the_fixed_program_computes(traced: Program) -> None:
    folded = InsertSparseChoices()(run_passes(traced, default_passes(TARGET))).program
    net = supernet_of(traced)
    for index, scheme in ((2, FEW), (3, FEWER)):
        chosen(net, *(float(k == index) for k in range(4)))
        fixed = fix(folded, plan(folded, {"second": str(scheme)}, params_of(traced), {}))
        torch.testing.assert_close(computed(net.program.module, traced), computed(fixed.module, traced))
        weight = weight_of(fixed, "second")
        assert int((weight == 0).sum()) == int((1 - scheme.exact_density) * weight.numel() / 4) * 4
        assert bool((weight_of(folded, "second") != 0).all())


def test_candidates_are_mixed_in_one_weight(traced: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    net, calls = supernet_of(traced), list[int]()
    shares = (0.1, 0.2, 0.3, 0.4)
    chosen(net, *shares)
    weight = weight_of(traced, "second").detach()
    rounded = [weight, round_weight(weight, TARGET.weight_bits), *(weight * size_mask(weight, s) for s in (FEW, FEWER))]
    mixed = sum(share * one for share, one in zip(shares, rounded, strict=True))
    site = sites_of(net.program.module)["second"]
    assert isinstance(site, PrecisionSite)
    real = site._call

    def counted(weight: Tensor | None, inputs: tuple[Tensor, ...]) -> Tensor:
        calls.append(1)
        torch.testing.assert_close(weight, mixed)
        return real(weight, inputs)

    monkeypatch.setattr(site, "_call", counted)
    computed(net.program.module, traced)
    assert len(calls) == 1


def test_weights_that_are_left_out_learn_and_come_back(traced: Program) -> None:
    net = supernet_of(traced)
    chosen(net, 0.0, 0.0, 0.0, 1.0)
    site = sites_of(net.program.module)["second"]
    assert isinstance(site, PrecisionSite)
    weight = site.op.get_parameter("0.weight")
    net.program.module(*traced.example_inputs).square().sum().backward()
    assert weight.grad is not None
    mask = size_mask(weight, FEWER)
    assert bool((weight.grad[mask == 0] != 0).any())
    before = computed(net.program.module, traced)
    with torch.no_grad():
        weight[mask == 0] *= 100.0
    assert float((size_mask(weight, FEWER) * mask).sum()) < mask.sum()
    assert not torch.allclose(computed(net.program.module, traced), before)


def test_narrow_inputs_make_nothing_denser(traced: Program) -> None:
    """The mask is that of the whole weight: where channels are not there, their weights are not replaced by others."""
    groups = width_groups(traced)
    (name,) = (group.name for group in groups.groups if group.name.startswith("first"))
    widths = Widths(groups=groups, choices={name: (8, 16)}, ranks={name: torch.arange(16)})
    net = supernet_of(traced, widths=widths)
    coefficients = {"second": torch.tensor([0.0, 0.0, 0.0, 1.0]), f"width:{name}": torch.tensor([1.0, 0.0])}
    set_coefficients(net.program.module, coefficients)
    weight = weight_of(traced, "second").detach()
    expected = (weight * size_mask(weight, FEWER))[:, :8]
    other = trace(alive(Net()), traced.example_inputs)
    other.module.load_state_dict(traced.module.state_dict())
    with torch.no_grad():
        weight_of(other, "second").zero_()
        weight_of(other, "second")[:, :8] = expected
    torch.testing.assert_close(computed(net.program.module, traced), computed(other.module, traced))


def test_training_keeps_the_mask_and_leaves_exact_zeros(traced: Program) -> None:
    assignment = {"first": "int8", "second": str(FEWER)}
    source = network_with_zeros(traced, assignment)
    joined = run_passes(source, training_passes(TARGET))
    form = quantised(joined, assignment, params_of(source))
    before = weight_of(source, "second").detach().clone()
    module = form.module
    optimiser = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], 0.05, 0.9, weight_decay=0.1)
    for _ in range(5):
        optimiser.zero_grad()
        module(torch.randn(4, 3, 8, 8)).square().mean().backward()
        optimiser.step()
    trained = weights_to_source(module, form, source)
    weight = weight_of(trained, "second")
    assert not torch.equal(weight, before)
    assert torch.equal(weight == 0, before == 0)
    assert int((weight == 0).sum()) == int(0.9 * weight.numel() / 4) * 4


def test_zeros_that_are_there_already_cost_nothing(traced: Program) -> None:
    sparse = network_with_zeros(traced, {"second": str(FEW)})
    costs = []
    for network in (traced, sparse):
        program = InsertSparseChoices()(run_passes(network, default_passes(TARGET))).program
        x = [network.example_inputs]
        costs.append(sensitivity(program, x, params_of(network), observe(program, x)).weights)
    dense, after = costs
    assert dense["second"][str(FEWER)] > dense["second"][str(FEW)] > 0.01
    assert after["second"][str(FEW)] == 0
    assert after["second"][str(FEWER)] > 0
    assert after["first"][str(FEW)] > 0
    assert {"float"} & set(dense["second"]) == set()


def test_zeros_are_set_in_a_copy_and_only_where_they_are_missing(traced: Program) -> None:
    before = weight_of(traced, "second").detach().clone()
    changed = network_with_zeros(traced, {"second": str(FEWER), "first": "int8", "elsewhere": str(FEW)})
    assert torch.equal(weight_of(traced, "second"), before)
    assert torch.equal(weight_of(changed, "second"), before * size_mask(before, FEWER))
    assert torch.equal(weight_of(changed, "first"), weight_of(traced, "first"))
    assert network_with_zeros(changed, {"second": str(FEW)}) is changed
    assert network_with_zeros(traced, {"second": "int8"}) is traced
    layer = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())[0]
    once = operator_with_zeros(layer, FEW)
    assert once is not layer
    assert operator_with_zeros(once, FEW) is once
