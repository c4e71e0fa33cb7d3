"""The training form: the nodes of the default flow, the modules of the traced network."""

from pathlib import Path

import pytest
import torch
from networks import alive, example
from torch import Tensor, nn

from hwcomp import target
from hwcomp.default_passes import default_passes, training_passes
from hwcomp.kernels import kernels_of, search_space
from hwcomp.ops import Normalised, module_of
from hwcomp.passes.join_batchnorm import fold_joined
from hwcomp.program import Program, outputs, run_passes
from hwcomp.tracing import trace
from hwcomp.workload import load_workload

TARGET = target.load("x86_64")
CIFAR10 = Path(__file__).parents[2] / "examples" / "cifar10" / "model.py"
EXAMPLES = {
    "resnet18": ("resnet", 32), "resnet50": ("resnet", 32), "mobilenet_v2": ("mobile", 32),
    "mobilenet_v3_large": ("mobile", 32), "efficientnet_b0": ("mobile", 32), "vit_tiny": ("vit", 224),
}  # fmt: skip


def both(model: nn.Module, *inputs: Tensor) -> tuple[Program, Program, Program]:
    """The traced network, and it after the default passes and after those of training."""
    traced = trace(alive(model).eval(), inputs)
    return traced, run_passes(traced, default_passes(TARGET)), run_passes(traced, training_passes(TARGET))


def check_same(traced: Program, folded: Program, joined: Program) -> None:
    assert [node.name for node in joined.nodes] == [node.name for node in folded.nodes]
    assert search_space(joined) == search_space(folded)
    assert kernels_of(joined, "uint8") == kernels_of(folded, "uint8")
    leaves = {id(module) for module in traced.module.modules()}
    convolutions = [module for module in joined.module.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    norms = [module for module in joined.module.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
    assert all(id(module) in leaves for module in (*convolutions, *norms))
    for one, other in zip(outputs(fold_joined(joined)), outputs(folded), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))
    assert not any(isinstance(module, Normalised) for module in fold_joined(joined).module.modules())


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples_keep_their_sites(name: str) -> None:
    file, side = EXAMPLES[name]
    check_same(*both(example(file, name), torch.randn(1, 3, side, side)))


@pytest.mark.parametrize("factory", ["resnet20", "resnet20_padded_scratch"])
def test_the_cifar10_example_keeps_its_sites(factory: str) -> None:
    workload = load_workload(f"{CIFAR10}:{factory}")
    check_same(*both(workload.model, *workload.example_inputs))


def test_every_small_network_keeps_its_sites(network) -> None:
    check_same(*both(network.model, *network.inputs))


class Twice(nn.Module):
    """Two BatchNorms after one convolution, and one whose scales are all zero, as some start residual branches."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
        self.first, self.second, self.zero = (nn.BatchNorm2d(4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(self.a(x))).relu()
        return x + self.zero(self.b(x))


def test_norms_in_a_row_and_scales_of_zero() -> None:
    model = alive(Twice())
    nn.init.zeros_(model.zero.weight)
    traced = trace(model.eval(), (torch.randn(2, 3, 6, 6),))
    folded, joined = run_passes(traced, default_passes(TARGET)), run_passes(traced, training_passes(TARGET))
    check_same(traced, folded, joined)
    assert search_space(joined).free[0].name == "a"
    assert "b" not in {site.name for site in search_space(joined).free}


def test_the_joined_network_trains_with_the_statistics_of_the_batch() -> None:
    traced, _, joined = both(example("resnet", "resnet18"), torch.randn(4, 3, 32, 32))
    before = traced.module.get_submodule("bn1").running_mean.clone() if hasattr(traced.module, "bn1") else None
    one, other = traced.module.train(), joined.module.train()
    torch.testing.assert_close(other(*traced.example_inputs), one(*traced.example_inputs))
    other(*traced.example_inputs).square().sum().backward()
    assert all(p.grad is not None for p in one.parameters())
    norms = [module for module in one.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(int(norm.num_batches_tracked) == 3 for norm in norms)
    assert before is None or not torch.equal(before, traced.module.get_submodule("bn1").running_mean)


def test_a_trained_form_is_folded_as_in_eval_mode() -> None:
    """Modules in training mode are folded all the same, and stay in it."""
    _, _, joined = both(example("resnet", "resnet18"), torch.randn(2, 3, 32, 32))
    joined.module.train()
    folded = fold_joined(joined)
    assert all(module.training for node in joined.nodes if (module := module_of(node)) is not None)
    joined.module.eval()
    torch.testing.assert_close(outputs(folded)[0], outputs(joined)[0], rtol=1e-3, atol=1e-4)
