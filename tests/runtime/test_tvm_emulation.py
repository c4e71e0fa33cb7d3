"""Cross-compiled kernels on emulated ARM cores: the same numbers, by vector instructions, fewer for zero weights."""

import importlib.util
import os
import shutil

import pytest
import torch
from torch import nn

from hwcomp.devices import open_device
from hwcomp.devices.emulated import EmulatedDevice
from hwcomp.emulation import setup
from hwcomp.emulation.counts import VECTOR_FMA
from hwcomp.errors import InputError
from hwcomp.lowering.tvm import compile_library
from hwcomp.quick_subject import quick_subject
from hwcomp.scheme import is_sparse
from hwcomp.sparse_kernels.tir_build import vectors_of
from hwcomp.stages import Stages
from hwcomp.target import load
from hwcomp.tracing import trace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="emulation is prepared with apt-get"),
    pytest.mark.skipif(shutil.which("aarch64-linux-gnu-gcc") is None, reason="no gcc-aarch64-linux-gnu"),
    pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="no pip to fetch TVM for ARM with"),
]


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    """An emulated Cortex-A72 with TVM's runtime; prepared once, where HWCOMP_CACHE says or in a temporary folder."""
    with pytest.MonkeyPatch.context() as patch:
        if "HWCOMP_CACHE" not in os.environ:
            patch.setenv("HWCOMP_CACHE", str(tmp_path_factory.mktemp("cache")))
        try:
            setup.prepare_tvm(print)
        except InputError as error:
            if "check the network" in str(error):
                pytest.skip(str(error))
            raise
        with open_device("emulated", load("arm_cortex_a72")) as place:
            assert isinstance(place, EmulatedDevice)
            yield place


def compiled(network, x, folder):
    program = trace(network.eval(), (x,))
    library = compile_library(program, vectors_of(load("arm_cortex_a72").isa), 1, Stages(folder))
    return library, {next(node.name for node in program.nodes): x.numpy()}


def test_a_network_computes_the_same_with_vector_instructions(device, tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.SiLU(),
        nn.MaxPool2d(3, 2, 1), nn.Conv2d(16, 30, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(30, 10),
        nn.Softmax(-1),
    )  # fmt: skip
    x = torch.randn(1, 3, 31, 31)
    library, feed = compiled(network, x, tmp_path)
    (found,) = device.run(library, feed, 1)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), network(x), atol=1e-5, rtol=1e-4)
    mix = device.instruction_mix(library, feed)
    assert mix.by_class[VECTOR_FMA] > 0.1 * mix.total
    assert mix.scalar_share < 0.1
    (once,) = device.time_block(library, feed, 1)
    assert device.time_block(library, feed, 1, 2) == pytest.approx([once, once], rel=0.02)


def test_zeros_are_not_multiplied(device, tmp_path):
    torch.manual_seed(0)
    x, dense, sparse = torch.randn(1, 64, 16, 16), nn.Conv2d(64, 64, 1), nn.Conv2d(64, 64, 1)
    sparse.weight.data *= (torch.rand(16, 64, 1, 1) < 0.1).repeat_interleave(4, 0)
    totals = [device.instruction_mix(*compiled(network, x, tmp_path)).total for network in (dense, sparse)]
    assert totals[1] < totals[0] / 3


def test_operators_of_onnx_runtime_leave_zeros_out(device):
    """The library for ARM travels in the model, is loaded by the runtime there, and multiplies less."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(16, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 30, 1)).eval()
    for layer in (network[0], network[2]):
        layer.weight.data *= (torch.rand_like(layer.weight) < 0.1).float()
    x = torch.randn(1, 16, 15, 15)
    subject = quick_subject(trace(network, (x,)), load("arm_cortex_a72"))
    feed = {next(iter(subject.feed)): x.numpy()}
    chosen = {site.name: next(c for c in site.candidates if is_sparse(c)) for site in subject.space.sites}
    assert len(chosen) == 2
    sparse, dense = subject.lower(chosen), subject.lower({})
    (found,) = device.run(sparse, feed, 1)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), network(x), atol=1e-5, rtol=1e-4)
    mix = device.instruction_mix(sparse, feed)
    assert mix.by_class[VECTOR_FMA] > 0.1 * mix.total
    assert mix.total < device.instruction_mix(dense, feed).total / 2
