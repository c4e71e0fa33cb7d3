"""Networks compiled with TVM for NVIDIA GPUs, on a machine without one: what can be checked before they run."""

import re
import shutil

import numpy as np
import pytest
import torch
import tvm
from torch import nn
from tvm import relax, tirx

from hwcomp.devices.agent import libraries as agent_libraries
from hwcomp.devices.agent.libraries import Library, signature
from hwcomp.devices.agent.tvm_runtime import TVM_CPU, runs_on, tvm_function
from hwcomp.devices.agent.wire import Refused
from hwcomp.errors import LoweringError
from hwcomp.lowering import relax_cuda_schedule, tvm_cuda, tvm_cuda_nvcc
from hwcomp.lowering.relax_cuda_graph import fused_module
from hwcomp.lowering.relax_cuda_schedule import is_bound
from hwcomp.lowering.tvm import ENTRY, compile_library, translated
from hwcomp.lowering.tvm_cuda import compile_gpu_library, gpu_target, scheduled_module
from hwcomp.sparse_kernels.tir_build import vectors_of
from hwcomp.stages import Stages
from hwcomp.target import load
from hwcomp.tracing import trace

TOLERANCES = {"float32": 1e-4, "float16": 1e-2}
NEW_ABI = 8
"""Version of NVIDIA's ELF images from which on the architecture stands in the second byte of the flags."""

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")


class Convolutions(nn.Module):
    """All kinds: strided, depthwise, pointwise, residual; clipped and pooled."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, stride=2, padding=1), nn.ReLU6())
        self.deep = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.SiLU())
        self.wide, self.pool = nn.Conv2d(24, 24, 1), nn.MaxPool2d(2)
        self.head = nn.Linear(24, 10)

    def forward(self, x):
        x = self.stem(x)
        x = self.pool(torch.relu(x + self.wide(self.deep(x))))
        return self.head(x.mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, width=32, heads=2):
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = torch.softmax(q @ k.transpose(-1, -2) / (width // self.heads) ** 0.5, -1)
        return x + torch.nn.functional.gelu(self.out((scores @ v).transpose(1, 2).reshape(batch, tokens, width)))


NETWORKS = {"convolutions": (Convolutions, (1, 3, 12, 12)), "attention": (Attention, (1, 9, 32))}


@pytest.fixture(params=NETWORKS)
def traced(request):
    """A program, its input and what PyTorch computes."""
    kind, shape = NETWORKS[request.param]
    torch.manual_seed(0)
    network, x = kind().eval(), torch.randn(shape)
    with torch.no_grad():
        return trace(network, (x,)), x, network(x)


def functions(module):
    return [one for _, one in module.functions_items() if isinstance(one, tirx.PrimFunc)]


def on_the_processor(module, x):
    """Run a module without GPU: this checks what is computed, not where."""
    executable = tvm.compile(module, target=tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v3"}))
    made = relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(x.numpy()))
    return (made if hasattr(made, "numpy") else made[0]).numpy()


def serial(function):
    """Return a function with plain loops where threads of a GPU share the work, and plain memory for theirs."""
    text = function.script()
    text = re.sub(r'T\.thread_binding\((.*?), thread="[^"]*"(, annotations=\{.*?\})?\)', r"T.serial(\1)", text)
    text = re.sub(r"T\.vectorized\(", "T.serial(", text)
    text = re.sub(r', scope="(shared|shared\.dyn|local)"', "", text)
    return tvm.script.from_source(text, check_well_formed=False)


@pytest.mark.parametrize("precision", TOLERANCES)
def test_the_graph_computes_what_pytorch_does(traced, precision):
    program, x, expected = traced
    found = on_the_processor(fused_module(translated(program), precision, ENTRY), x)
    assert found.dtype == np.float32
    assert np.abs(found - expected.numpy()).max() <= TOLERANCES[precision] * float(expected.abs().max())


@pytest.mark.parametrize("precision", ["float32", pytest.param("float16", marks=pytest.mark.slow)])
def test_schedules_compute_the_same_and_leave_nothing_to_the_processor(traced, precision):
    program, x, expected = traced
    module = scheduled_module(program, gpu_target("sm_80", "x86_64"), precision)
    assert all(is_bound(tvm.s_tir.Schedule(one)) for one in functions(module))
    for name, one in module.functions_items():
        if isinstance(one, tirx.PrimFunc):
            module[name] = serial(one).with_attrs(one.attrs)
    found = on_the_processor(module, x)
    assert np.abs(found - expected.numpy()).max() <= TOLERANCES[precision] * float(expected.abs().max())


def architectures(library):
    """Return the architectures of machine code of GPUs inside a file, by the headers of its ELF images."""
    found = set()
    for match in re.finditer(rb"\x7fELF\x02\x01.{10}\x02\x00\xbe\x00", library, re.DOTALL):
        flags = int.from_bytes(library[match.start() + 48 : match.start() + 52], "little")
        found.add(flags >> 8 & 0xFF if library[match.start() + 8] >= NEW_ABI else flags & 0xFF)
    return found


@pytest.fixture(scope="module")
def libraries():
    """Architecture and precision -> library of the convolutions."""
    torch.manual_seed(0)
    kind, shape = NETWORKS["convolutions"]
    program = trace(kind().eval(), (torch.randn(shape),))
    wanted = [("sm_80", "float32"), ("sm_90a", "float16")]
    return {one: compile_gpu_library(program, one[0], "x86_64", one[1]) for one in wanted}


@needs_nvcc
def test_a_library_holds_machine_code_of_the_gpu_and_says_what_it_is(libraries):
    for (compute, precision), library in libraries.items():
        assert architectures(library.content) == {int(compute.strip("sm_a"))}
        assert b"__global__" not in library.content
        told = signature(library.content)
        assert (told["device"], told["compute"], told["precision"]) == ("cuda", compute, precision)
        assert [item["dtype"] for item in told["inputs"] + told["outputs"]] == ["float32", "float32"]


@needs_nvcc
def test_a_cuda_graph_starts_all_kernels_but_those_at_the_ends(libraries):
    for library in libraries.values():
        assert len(library.kernels) - library.captured == 2
        assert b"vm.builtin.cuda_graph.run_or_capture" in library.content


@needs_nvcc
def test_a_cuda_graph_is_an_option():
    program = trace(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)), (torch.randn(2, 8),))
    library = compile_gpu_library(program, "sm_80", "x86_64", graphs=False)
    assert library.captured == 0
    assert b"cuda_graph" not in library.content


@pytest.mark.parametrize(("compute", "uses"), [("sm_80", True), ("sm_90a", True), ("sm_75", False)])
def test_products_of_halves_run_in_tensor_cores_where_the_tiles_fit(compute, uses):
    program = trace(nn.Sequential(nn.Linear(96, 96), nn.ReLU()), (torch.randn(96, 96),))
    module = scheduled_module(program, gpu_target(compute, "x86_64"), "float16")
    product = next(one for name, one in module.functions_items() if "matmul" in name.name_hint)
    assert ("wmma" in product.script()) == uses
    assert "float16" in product.script()


def test_a_layer_is_one_kernel():
    layer = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU())
    module = scheduled_module(trace(layer, (torch.randn(1, 8, 9, 9),)), gpu_target("sm_80", "x86_64"), "float32")
    convolution = next(one for name, one in module.functions_items() if "conv2d" in name.name_hint)
    assert convolution.script().count('thread="blockIdx.x"') == 1


def test_what_is_left_to_the_processor_is_refused(monkeypatch):
    monkeypatch.setattr(relax_cuda_schedule, "is_bound", lambda _: False)
    program = trace(nn.ReLU(), (torch.randn(4),))
    with pytest.raises(LoweringError, match="no schedule for GPUs for 'relu'"):
        scheduled_module(program, gpu_target("sm_80", "x86_64"), "float32")


@needs_nvcc
def test_what_nvcc_says_of_kernels_is_one_sentence(monkeypatch):
    monkeypatch.setattr(tvm_cuda_nvcc, "FLAGS", ("--no-such-option",))
    monkeypatch.setattr(tvm_cuda, "check_compute", lambda _: None)
    with pytest.raises(LoweringError, match=r"nvcc cannot compile for sm_80: .*no-such-option") as caught:
        compile_gpu_library(trace(nn.ReLU(), (torch.randn(4),)), "sm_80", "x86_64")
    assert "\n" not in str(caught.value)


def test_without_nvcc_its_package_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(tvm_cuda_nvcc, "FOLDERS", ())
    with pytest.raises(LoweringError, match="'nvidia-cuda-toolkit'"):
        tvm_cuda_nvcc.compiler()


@needs_nvcc
def test_an_architecture_that_nvcc_does_not_know_is_refused_in_one_sentence():
    with pytest.raises(LoweringError, match=r"nvcc cannot compile for sm_20: .*compute_20") as caught:
        tvm_cuda_nvcc.check_compute("sm_20")
    assert "\n" not in str(caught.value)


def test_a_tvm_without_cuda_is_told(monkeypatch):
    monkeypatch.setattr(tvm.support, "libinfo", lambda: {"USE_CUDA": "OFF"})
    with pytest.raises(LoweringError, match=r"no code generator for NVIDIA GPUs \(USE_CUDA is OFF\)"):
        tvm_cuda.check_cuda()


@pytest.mark.parametrize(
    ("compute", "capability", "runs"),
    [("sm_80", "8.0", True), ("sm_80", "8.9", True), ("sm_89", "8.6", False), ("sm_80", "9.0", False),
     ("sm_90a", "9.0", True), ("sm_90a", "10.0", False), ("sm_100a", "10.0", True), ("sm_120f", "12.1", False)],
)  # fmt: skip
def test_machine_code_runs_on_its_generation(compute, capability, runs):
    assert runs_on(compute, capability) == runs


@needs_nvcc
@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="a GPU may be here")
def test_without_a_gpu_a_library_is_refused_in_one_sentence(libraries):
    with pytest.raises(Refused, match="the model is for an NVIDIA GPU, and there is no"):
        Library(libraries["sm_80", "float32"].content, 1)


def test_a_library_for_a_gpu_copies_its_inputs_there_and_its_outputs_back(monkeypatch, tmp_path):
    """The processor stands in for the GPU here, and nothing else: no latency comes from this."""
    network, x = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval(), torch.randn(1, 3, 9, 9)
    content = compile_library(trace(network, (x,)), vectors_of(load("host").isa), 1, Stages(tmp_path))
    told, copied = signature(content), []
    monkeypatch.setattr(agent_libraries, "signature", lambda _: {**told, "device": "cuda", "compute": "sm_80"})
    monkeypatch.setattr(agent_libraries, "load_gpu_runtime", lambda _: None)
    monkeypatch.setattr(agent_libraries, "TVM_GPU", TVM_CPU)
    monkeypatch.setattr(agent_libraries, "tvm_function", lambda name: copied.append(name) or tvm_function(name))
    library = Library(content, 1)
    feed = {library.get_inputs()[0].name: x.numpy()}
    run = library.runner(feed)
    copied.clear()
    run()
    assert copied == ["Device_StreamSync"]  # nothing is copied while it is timed, and the end is waited for
    np.testing.assert_allclose(library.run(None, feed)[0], network(x).detach().numpy(), atol=1e-4)
