"""The agent: runs and times models where it is started, asked on stdin and answering on stdout.

One file for Python 3.9 or newer that needs ONNX Runtime and numpy (and apache-tvm where libraries are run) and imports
nothing of hwcomp, so that it can be sent to a device as it is. A message is the length of a JSON header (4 bytes,
big-endian), the header, and then the blobs whose lengths ``header["blobs"]`` lists. A request names one of the verbs in
`VERBS`; nothing else is ever executed.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import ctypes
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Union

PROTOCOL = 1
MAX_HEADER_BYTES, MAX_BLOB_BYTES, MAX_BLOBS = 2**24, 2**31, 1024
KEPT_BYTES = 2**30
"""Models kept beyond this are dropped, the longest unused first; one that is missing is asked for again."""

MIN_RUNS, MAX_RUNS = 7, 300
LOAD_WINDOW_S = 0.2
KERNEL_SUFFIX = "_kernel_time"
TYPES = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
)
ARM_PARTS = {
    "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1", "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1", "0xd41": "Cortex-A78", "0xd42": "Cortex-A78AE", "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510", "0xd47": "Cortex-A710", "0xd48": "Cortex-X2", "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
}  # fmt: skip
"""Cores that Arm designed, by the part number that the kernel shows."""

KERNELS_MARK, KERNELS_DIGITS, MAX_KERNELS_BYTES = b"hwcomp-kernels/1", 12, 2**26
"""End of a model that carries a library of operators, and the digits of the library's length before it."""

ELF_MACHINES = {"x86_64": 62, "AMD64": 62, "aarch64": 183, "arm64": 183}
"""System V ABI, ``e_machine``."""

ELF_MAGIC = b"\x7fELF"

CPU, CUDA, TENSORRT = "cpu", "cuda", "tensorrt"
PROVIDERS = {CPU: "CPUExecutionProvider", CUDA: "CUDAExecutionProvider", TENSORRT: "TensorrtExecutionProvider"}
"""What a request may name -> what ONNX Runtime calls it."""

SHAPE_OPS = frozenset(
    {"Cast", "Concat", "Constant", "ConstantOfShape", "Gather", "Range", "Reshape", "Shape", "Size", "Slice",
     "Squeeze", "Unsqueeze"}
)  # fmt: skip
"""Operators that stay on the processor beside a GPU where they only compute shapes, which are integers."""

GPU_NEWS = {
    0x2: "fixed clocks", 0x4: "power limit", 0x8: "hardware slowdown", 0x10: "clocks shared with other GPUs",
    0x20: "heat, by software", 0x40: "heat, by hardware", 0x80: "power brake", 0x100: "display clocks",
}  # fmt: skip
"""Why a GPU is slower than it could be: bits of NVML, nvmlClocksEventReasons; being idle is none of them."""

SMI_FIELDS = (
    "index", "uuid", "name", "compute_cap", "memory.total", "driver_version", "clocks.sm", "clocks.max.sm",
    "temperature.gpu", "clocks_throttle_reasons.active",
)  # fmt: skip
SMI_TIMEOUT_S = 30.0

BLOCKING = "CUDA_LAUNCH_BLOCKING"
"""Where it is 1, the processor waits for every kernel of a GPU, so that a profile has their times."""

OUT_OF_MEMORY = re.compile(
    r"out of memory|failed to allocate memory|STATUS_ALLOC_FAILED|MemoryAllocation|not enough memory", re.IGNORECASE
)
OLD_DRIVER = re.compile(r"driver version is insufficient|cudaErrorInsufficientDriver", re.IGNORECASE)

LIBRARY_MARK, LIBRARY_DIGITS = b"hwcomp-library/1", 12
"""End of a network that is a library of TVM, and the digits of the length of its signature (JSON) before it."""

ALIGNMENT_BYTES = 64
"""Of tensors, as TVM's code expects it."""

TVM_CPU, TVM_GPU, TVM_POOL, TVM_ALL_CORES = 1, 2, 2, 1
"""What TVM calls the processor, NVIDIA's GPUs, an allocator that keeps memory, and threads that may run on any core."""

NO_TVM = "{} there has no apache-tvm, which this model needs"

TVM_EXISTS, TVM_COMPUTE = 0, 4
"""What TVM tells of a device: whether it is there, and its compute capability."""

ON_GPU: set[tuple[str, str]] = set()
"""Hashes of models that were seen to run on a GPU, with the provider."""

INSTALLED: dict[str, str] = {}
"""Libraries of operators that are there, by their hash; under the empty name, their folder."""

Header = dict[str, Any]
Source = Union[bytes, str]  # noqa: UP007 - Python 3.9 has no `|` for types
Answer = tuple[Header, list[bytes]]


class Refused(Exception):  # noqa: N818 - an answer, not a defect
    """A request that is not carried out.

    Attributes:
        kind: "input" for a wrong request or model, "missing" for a model that was not sent, "prerequisite" and "gpu"
            for what the device lacks, "memory" for what does not fit there, "runtime" for the rest.
    """

    def __init__(self, message: str, kind: str = "input") -> None:
        super().__init__(message)
        self.kind = kind


def pack(header: Header, blobs: list[bytes]) -> bytes:
    """Return the beginning of a message: everything before the blobs."""
    text = json.dumps({**header, "blobs": [len(blob) for blob in blobs]}).encode()
    return len(text).to_bytes(4, "big") + text


def header_bytes(prefix: bytes) -> int:
    """Return the length of a header, refusing what is too long to be one."""
    size = int.from_bytes(prefix, "big")
    if not 2 <= size <= MAX_HEADER_BYTES:
        raise Refused(f"a header of {size} bytes, where 2 to {MAX_HEADER_BYTES} are allowed")
    return size


def parse_header(text: bytes) -> tuple[Header, list[int]]:
    """Return a header and the lengths of the blobs behind it."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("a header that is not JSON") from None
    sizes = header.get("blobs", []) if isinstance(header, dict) else None
    if not isinstance(sizes, list) or len(sizes) > MAX_BLOBS:
        raise Refused("a header that is no object, or whose list of blobs is wrong")
    if not all(type(size) is int and 0 <= size <= MAX_BLOB_BYTES for size in sizes):
        raise Refused(f"a blob that is not of 0 to {MAX_BLOB_BYTES} bytes")
    return header, sizes


def open_session(source: Source, threads: int, folder: str | None = None, provider: str = CPU) -> Any:
    """Load a model, with the library of operators that it carries.

    It is profiled into ``folder`` if that is given, beside its optimised graph without weights. Where a GPU is asked
    for, that computes, or nothing does.
    """
    if is_library(source):
        if folder is not None:
            raise Refused("a library of TVM keeps no times of its kernels; time the whole network")
        if provider != CPU and signature(source).get("device") != "cuda":
            raise Refused("the library runs on the processor, and a GPU was asked for: compile it for that target")
        return Library(source, threads)
    import onnxruntime as ort  # noqa: PLC0415 - heavy; `hello` tells where it is missing

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    if folder is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "64")
    library = kernels(source)
    try:
        if library is not None:
            options.register_custom_ops_library(_installed(library))
        if provider == CPU:
            return ort.InferenceSession(source, options, providers=[PROVIDERS[CPU]])
        return _gpu_session(source, options, provider)
    except Refused:
        raise
    except Exception as error:  # ONNX Runtime raises classes of its own that share no base
        raise _gpu_trouble(error) or Refused(f"ONNX Runtime cannot load the model: {_first_line(error)}") from error


def _gpu_session(source: Source, options: Any, provider: str) -> Any:
    """Return a session on a GPU, without ONNX Runtime's habit to go on with the processor if that fails."""
    import onnxruntime as ort  # noqa: PLC0415 - see above

    check_provider(provider)
    wanted = [PROVIDERS[name] for name in (provider, CUDA) if PROVIDERS[name] in ort.get_available_providers()]
    if provider == TENSORRT:
        options.optimized_model_filepath = ""  # what TensorRT compiled cannot be written
    session = ort.InferenceSession(
        source, options, providers=[*dict.fromkeys(wanted), PROVIDERS[CPU]], enable_fallback=0
    )
    if PROVIDERS[provider] not in session.get_providers():
        raise Refused(
            f"{PROVIDERS[provider]} of ONNX Runtime {ort.__version__} there did not start, so that the processor would "
            "compute: a library of CUDA, cuDNN or TensorRT that it needs is missing; run `pip install "
            "'onnxruntime-gpu[cuda,cudnn]'` there, for TensorRT `pip install tensorrt`",
            "gpu",
        )
    return session


def check_provider(provider: str) -> None:
    """Refuse a provider that cannot work here: no GPU, none in this build of ONNX Runtime, or too old a driver."""
    import onnxruntime as ort  # noqa: PLC0415 - see above

    found, problem = gpus()
    if not found:
        raise Refused(f"{problem}: {PROVIDERS[provider]} has nothing to run on", "gpu")
    if PROVIDERS[provider] not in ort.get_available_providers():
        raise Refused(
            f"ONNX Runtime {ort.__version__} there has no {PROVIDERS[provider]}; {_gpu_package()} there "
            "(hwcomp[gpu], see docs/devices.md)",
            "gpu",
        )
    needed, able = _cuda_of_runtime(), found[0]["cuda"]
    if needed and able and int(able.split(".")[0]) < int(needed.split(".")[0]):
        raise Refused(
            f"driver {found[0]['driver']} there is for CUDA {able} at most, ONNX Runtime {ort.__version__} needs CUDA "
            f"{needed}: update the driver, or install an onnxruntime-gpu for CUDA {able.split('.')[0]}",
            "gpu",
        )
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # libraries of CUDA that pip installed are not found otherwise
            ort.preload_dlls()


def _gpu_package() -> str:
    """Return how to get a build of ONNX Runtime for GPUs: it cannot lie beside the one for processors."""
    here = set()
    for package in ("onnxruntime", "onnxruntime-gpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            here.add(importlib.metadata.version(package) and package)
    cause = "it lies in one folder with onnxruntime-gpu, over whose files it was written; " if len(here) == 2 else ""
    return f"{cause}run `pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu`"


def _cuda_of_runtime() -> str:
    """Return the version of CUDA that ONNX Runtime was built with; empty if it does not tell."""
    try:
        from onnxruntime.capi import build_and_package_info as built  # noqa: PLC0415 - see above
    except ImportError:
        return ""
    return str(getattr(built, "cuda_version", ""))


def _gpu_trouble(error: BaseException) -> Refused | None:
    """Return the refusal for an error of CUDA that says what is wrong with the device, None for any other."""
    said = str(error)
    if OUT_OF_MEMORY.search(said):
        return Refused("the model and its data do not fit in the GPU's memory", "memory")
    if OLD_DRIVER.search(said):
        return Refused("the GPU's driver there is older than the runtime needs: update it", "gpu")
    return None


def run_on_processor(events: list[Header], provider: str) -> list[str]:
    """Return the nodes of a profile that the processor ran, but those that only computed shapes; all if all did."""
    nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(KERNEL_SUFFIX)]
    used = {event["args"].get("provider") for event in nodes}
    strays = [event for event in nodes if event["args"].get("provider") == PROVIDERS[CPU] and not _is_shape(event)]
    strays = strays if PROVIDERS[provider] in used else [event for event in nodes if not _is_shape(event)] or nodes
    return list(dict.fromkeys(event["name"][: -len(KERNEL_SUFFIX)] for event in strays))


def _is_shape(event: Header) -> bool:
    """Return whether a node computed a shape: one of few operators, and only integers came out."""
    types = {name for output in event["args"].get("output_type_shape", []) for name in output}
    return event["args"].get("op_name") in SHAPE_OPS and types <= {"int64", "int32", "bool"}


def check_on_gpu(source: Source, feed: Header, threads: int, provider: str) -> None:
    """Run a model once, profiled, and refuse it where the processor ran a part of it; each model once."""
    name = Path(source).name if isinstance(source, str) else hashlib.sha256(source).hexdigest()
    if (name, provider) in ON_GPU or is_library(source):
        return
    with tempfile.TemporaryDirectory(prefix="hwcomp-") as folder:
        session = open_session(source, threads, folder, provider)
        session.run(None, feed)
        refuse_strays(json.loads(Path(session.end_profiling()).read_text()), provider)
    ON_GPU.add((name, provider))


def refuse_strays(events: list[Header], provider: str) -> None:
    """Refuse a profile in which the processor ran what the GPU was to run."""
    strays = run_on_processor(events, provider)
    if strays:
        more = f" and {len(strays) - 3} more" if len(strays) > 3 else ""
        raise Refused(
            f"ONNX Runtime ran {', '.join(strays[:3])}{more} on the processor, not with {PROVIDERS[provider]}, so that "
            "the latencies would not be the GPU's: leave these operators out, or use an onnxruntime-gpu that has them "
            "(hwcomp[gpu], see docs/devices.md)",
            "gpu",
        )


def runner(session: Any, feed: Header, provider: str) -> Callable[[], Any]:
    """Return what runs a model once; for a GPU its inputs lie there already, and its outputs stay there."""
    if isinstance(session, Library):
        return session.runner(feed)
    if provider == CPU:
        return lambda: session.run(None, feed)
    return _bound(session, feed, "cuda")


def _bound(session: Any, feed: Header, place: str) -> Callable[[], Any]:
    import onnxruntime as ort  # noqa: PLC0415 - see above

    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, place, 0))
    for item in session.get_outputs():
        binding.bind_output(item.name, place)

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()  # a run ends when the GPU is done, not when all kernels are launched

    return run


def is_library(source: Source) -> bool:
    """Return whether a model is a library of TVM; anything else is for ONNX Runtime."""
    if isinstance(source, bytes):
        return source.startswith(ELF_MAGIC)
    with Path(source).open("rb") as file:
        return file.read(len(ELF_MAGIC)) == ELF_MAGIC


def signature(source: Source) -> Header:
    """Return the names, shapes and types of the inputs and outputs of a library of TVM."""
    end = _tail(source, LIBRARY_DIGITS + len(LIBRARY_MARK))
    if not end.endswith(LIBRARY_MARK):
        raise Refused("a library that hwcomp did not write, or not all of it")
    length = int(end[:LIBRARY_DIGITS], 16)
    found: Header = json.loads(_tail(source, length + len(end))[:length])
    return found


def inputs_of(source: Source) -> list[Any]:
    """Return the inputs of a library, in order, without loading it: it may be for another machine."""
    return _named(signature(source)["inputs"])


def _named(items: list[Header]) -> list[Any]:
    return [types.SimpleNamespace(**item) for item in items]


class Library:
    """A network as a library, run by TVM's runtime alone: none of its compiler. It is used as a session is."""

    def __init__(self, source: Source, threads: int) -> None:
        self.signature = signature(source)
        self._is_for_gpu = self.signature.get("device") == "cuda"
        path = _installed(source if isinstance(source, bytes) else Path(source).read_bytes())
        tvm_ffi = tvm_runtime()
        if self._is_for_gpu:
            load_gpu_runtime(self.signature["compute"])
        else:
            tvm_ffi.get_global_func("runtime.config_threadpool")(TVM_ALL_CORES, threads)
        self._device = tvm_ffi.Device(TVM_GPU if self._is_for_gpu else TVM_CPU, 0)
        self._module = tvm_ffi.load_module(path)
        self._machine = self._module["vm_load_executable"]()
        places = (TVM_GPU, 0, TVM_POOL) if self._is_for_gpu else ()
        self._machine["vm_initialization"](*places, TVM_CPU, 0, TVM_POOL)
        self._main = self._machine["main"]
        self._inputs = [_aligned(item) for item in self.signature["inputs"]]
        self._tensors = [tvm_ffi.from_dlpack(place) for place in self._inputs]
        self._copies = [self._room(tensor, self._device) for tensor in self._tensors]

    def run(self, _outputs: None, feed: Header) -> list[Any]:
        """Return the outputs, arrays."""
        import numpy as np  # noqa: PLC0415 - told by `hello` where it is missing

        made = self.runner(feed)()
        outputs = made if hasattr(made, "__iter__") else [made]
        return [np.array(np.from_dlpack(self._fetched(one))) for one in outputs]

    def runner(self, feed: Header) -> Callable[[], Any]:
        """Return what runs the network once and gives tensors of its device; inputs lie there before it is called."""
        for item, place in zip(self.signature["inputs"], self._inputs):  # noqa: B905 - Python 3.9 has no `strict`
            array = feed[item["name"]]
            if array.shape != place.shape or array.dtype != place.dtype:
                raise Refused(f"input '{item['name']}' must be {place.dtype} of shape {place.shape}")
            place[...] = array
        for tensor, copy in zip(self._tensors, self._copies):  # noqa: B905 - see above
            if copy is not tensor:
                _tvm("TVMTensorCopyFromTo")(tensor, copy)
        self._wait()
        return self._once

    def _once(self) -> Any:
        made = self._main(*self._copies)
        self._wait()  # the call only queues kernels: without this their launch would be timed, not their work
        return made

    def _wait(self) -> None:
        if self._is_for_gpu:
            _tvm("Device_StreamSync")(self._device, 0)

    def _room(self, tensor: Any, device: Any) -> Any:
        """Return room for a tensor on a device; the tensor itself where no GPU is used."""
        if not self._is_for_gpu:
            return tensor
        return _tvm("TVMTensorAllocWithScope")(tensor.shape, tensor.dtype, device, None)

    def _fetched(self, tensor: Any) -> Any:
        """Return a tensor in the processor's memory."""
        if not self._is_for_gpu:
            return tensor
        here = self._room(tensor, type(self._device)(TVM_CPU, 0))
        _tvm("TVMTensorCopyFromTo")(tensor, here)
        self._wait()
        return here

    def get_inputs(self) -> list[Any]:
        """Return the inputs, in order: their names, shapes and types."""
        return _named(self.signature["inputs"])

    def get_outputs(self) -> list[Any]:
        """Return the outputs likewise."""
        return _named(self.signature["outputs"])


def _aligned(item: Header) -> Any:
    """Return an array for an input where TVM's code may read it in whole vectors."""
    import numpy as np  # noqa: PLC0415 - see above

    size = int(np.prod(item["shape"])) * np.dtype(item["dtype"]).itemsize
    room = np.zeros(size + ALIGNMENT_BYTES, np.uint8)
    first = -room.ctypes.data % ALIGNMENT_BYTES
    return room[first : first + size].view(item["dtype"]).reshape(item["shape"])


def tvm_runtime() -> Any:
    """Return TVM's interface, with its runtime loaded and as many threads as there are cores to choose from."""
    os.environ.setdefault("TVM_NUM_THREADS", str(len(_cpus())))
    os.environ.setdefault("TVM_BIND_THREADS", "0")  # other runtimes in this process choose their cores, too
    try:
        import tvm_ffi  # noqa: PLC0415 - only where a library is run
    except ImportError:
        raise Refused(NO_TVM.format(sys.executable), "runtime") from None
    ctypes.CDLL(_tvm_library("libtvm_runtime.so"), ctypes.RTLD_GLOBAL)
    return tvm_ffi


def _tvm_library(name: str) -> str:
    package = importlib.util.find_spec("tvm")
    if package is None or not package.submodule_search_locations:
        raise Refused(NO_TVM.format(sys.executable), "runtime")
    return str(Path(package.submodule_search_locations[0]) / "lib" / name)


def _tvm(name: str) -> Any:
    """Return a function of TVM's runtime."""
    import tvm_ffi  # noqa: PLC0415 - see above

    return tvm_ffi.get_global_func(f"runtime.{name}")


def load_gpu_runtime(compute: str) -> None:
    """Load TVM's runtime for NVIDIA GPUs, and see that the first GPU can run code of an architecture."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise Refused(f"the model is for an NVIDIA GPU, and {gpus()[1] or 'its driver is not here'}", "gpu") from None
    library = _tvm_library("libtvm_runtime_cuda.so")
    for toolkit in (None, *_cuda_runtimes()):  # one that pip installed is not found by the system's loader
        try:
            if toolkit is not None:
                ctypes.CDLL(str(toolkit), ctypes.RTLD_GLOBAL)
            ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
            break
        except OSError as error:
            reason = _first_line(error)
    else:
        raise Refused(
            f"TVM's runtime for GPUs cannot be loaded ({reason}): run `pip install nvidia-cuda-runtime`", "runtime"
        )
    if not _tvm("GetDeviceAttr")(TVM_GPU, 0, TVM_EXISTS):
        raise Refused(f"the model is for an NVIDIA GPU, and {gpus()[1] or 'CUDA finds none'}", "gpu")
    found = str(_tvm("GetDeviceAttr")(TVM_GPU, 0, TVM_COMPUTE))
    if not runs_on(compute, found):
        raise Refused(f"the model's kernels are for {compute}, and the GPU has {found}: compile for its target", "gpu")


def _cuda_runtimes() -> list[Path]:
    """Return CUDA's runtime in packages of pip, the newest first."""
    package = importlib.util.find_spec("nvidia")
    folders = list(package.submodule_search_locations or []) if package is not None else []
    return sorted((path for folder in folders for path in Path(folder).rglob("libcudart.so.*")), reverse=True)


def runs_on(compute: str, capability: str) -> bool:
    """Return whether machine code of an architecture ("sm_90a") runs on a GPU of a compute capability ("9.0").

    It does on the same and on later ones of its generation; with a letter at its end, on the same only (CUDA C++
    programming guide, binary compatibility).
    """
    digits = re.sub("[^0-9]", "", compute)
    major, minor = (int(part) for part in capability.split(".")[:2])
    wanted = int(digits[:-1]), int(digits[-1])
    return (major, minor) == wanted if compute[-1].isalpha() else major == wanted[0] and minor >= wanted[1]


def kernels(source: Source) -> bytes | None:
    """Return the library that a model carries, None if there is none; only the end of the model is read."""
    end = _tail(source, KERNELS_DIGITS + len(KERNELS_MARK))
    if not end.endswith(KERNELS_MARK):
        return None
    try:
        length = int(end[:KERNELS_DIGITS], 16)
        text = _tail(source, length + len(end))[:length]
        return zlib.decompress(base64.b64decode(text, validate=True))
    except (ValueError, zlib.error):
        raise Refused("the kernels inside the model are damaged") from None


def _tail(source: Source, count: int) -> bytes:
    if count > MAX_KERNELS_BYTES:
        raise ValueError("too many bytes of kernels")
    if isinstance(source, bytes):
        return source[-count:]
    with Path(source).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - count))
        return file.read()


def _installed(library: bytes) -> str:
    """Return the path of a library that may be loaded: in a folder of this process, which is removed at its end."""
    machine = platform.machine()
    if library[:4] != ELF_MAGIC or int.from_bytes(library[18:20], "little") != ELF_MACHINES.get(machine):
        raise Refused(f"the kernels inside the model are not for {machine}", "runtime")
    needs = re.search(rb"hwcomp-isa:([a-z0-9_,]*);", library)
    missing = set(needs.group(1).decode().split(",")) - {"", *_isa()} if needs else set()
    if missing:
        raise Refused(f"the kernels inside the model need {', '.join(sorted(missing))}: not here", "runtime")
    digest = hashlib.sha256(library).hexdigest()
    if digest not in INSTALLED:
        if not INSTALLED:
            INSTALLED[""] = tempfile.mkdtemp(prefix="hwcomp-kernels-")  # only its owner may read and write it
            atexit.register(shutil.rmtree, INSTALLED[""], ignore_errors=True)
        path = Path(INSTALLED[""]) / f"{digest}.so"
        path.write_bytes(library)
        INSTALLED[digest] = str(path)
    return INSTALLED[digest]


def time_block(
    source: Source, feed: Header, threads: int, runs: int | None, block_s: float, warmup: int, provider: str = CPU
) -> Header:
    """Return the times in microseconds of runs in a fresh, warmed-up session; for a GPU, its state while it worked.

    Without ``runs`` there are as many as fit the block. ONNX Runtime's worker threads spin after a run and slow every
    other session, so this one is gone at the end.
    """
    if provider != CPU:
        check_on_gpu(source, feed, threads, provider)
    run = runner(open_session(source, threads, provider=provider), feed, provider)
    last_us = 0.0
    for _ in range(warmup):
        last_us = _run_us(run)
    count = runs or max(MIN_RUNS, min(MAX_RUNS, int(block_s * 1e6 / last_us)))
    times = [_run_us(run) for _ in range(count)]
    return {"us": times} if provider == CPU else {"us": times, "gpu": _state_under_load(run)}


def _run_us(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e6


def profile(source: Source, feed: Header, threads: int, runs: int, warmup: int, provider: str = CPU) -> Answer:
    """Return the durations and executions per run of every node, those of the last runs, and the optimised graph."""
    if provider != CPU:
        check_on_gpu(source, feed, threads, provider)
    news: Header = {}
    with tempfile.TemporaryDirectory(prefix="hwcomp-") as folder:
        session = open_session(source, threads, folder, provider)
        run = runner(session, feed, provider)
        whole_us = [_run_us(run) for _ in range(warmup + runs)]
        events = json.loads(Path(session.end_profiling()).read_text())
        if provider != CPU:
            news = {"gpu": _state_under_load(run)}
        del session, run  # its threads spin while it lives
        graph = (Path(folder) / "optimized.onnx").read_bytes()
    durations: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL_SUFFIX):
            durations.setdefault(event["name"][: -len(KERNEL_SUFFIX)], []).append(event["dur"])
    answer = {
        "samples": {name: values[-runs:] for name, values in durations.items()},
        "per_run": {name: len(values) / (warmup + runs) for name, values in durations.items()},
        "us": whole_us[-runs:],
        **news,
    }
    return answer, [graph]


def profile_in_child(source: Source, request: Header, blobs: list[bytes]) -> Answer:
    """Profile in another agent whose processor waits for every kernel: CUDA decides that when a process begins."""
    model = source if isinstance(source, bytes) else Path(source).read_bytes()
    digest = hashlib.sha256(model).hexdigest()
    asked = [({"id": 0, "verb": "put", "sha256": digest}, [model]), ({**request, "model": digest}, blobs)]
    with tempfile.TemporaryDirectory(prefix="hwcomp-") as folder:
        path = Path(folder) / "agent.py"
        path.write_bytes(_own_source())
        child = subprocess.Popen(  # noqa: S603 - no shell reads it
            [sys.executable, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, BLOCKING: "1"},
        )
        try:
            answers = [_asked(child, header, parts) for header, parts in asked]
        finally:
            child.kill()
            child.communicate()
    return answers[-1]


def _asked(child: Any, request: Header, blobs: list[bytes]) -> Answer:
    """Return the answer of an agent that is a child of this one."""
    for part in (pack(request, blobs), *blobs):
        child.stdin.write(part)
    child.stdin.flush()
    message = read_message(child.stdout)
    if message is None:
        raise Refused(f"the agent that profiles on the GPU ended with code {child.wait()}", "runtime")
    answer, out = message
    if answer.get("ok") is not True:
        raise Refused(str(answer.get("error")), str(answer.get("kind")))
    return answer, out


def _own_source() -> bytes:
    """Return this file; where it came through a pipe, whoever started it left it in ``SOURCE``."""
    return Path(__file__).read_bytes() if "__file__" in globals() else bytes(globals()["SOURCE"])


def run_model(source: Source, feed: Header, threads: int, provider: str = CPU) -> Answer:
    """Return the outputs of one run."""
    if provider != CPU:
        check_on_gpu(source, feed, threads, provider)
    session = open_session(source, threads, provider=provider)
    outputs = session.run(None, feed)
    described = [
        {"name": item.name, "dtype": str(array.dtype), "shape": list(array.shape)}
        for item, array in zip(session.get_outputs(), outputs)  # noqa: B905 - Python 3.9 has no `strict`
    ]
    if any(item["dtype"] not in TYPES for item in described):
        raise Refused(f"outputs of types {', '.join(item['dtype'] for item in described)}, not all of which can travel")
    return {"outputs": described}, [array.tobytes() for array in outputs]


def facts() -> Header:
    """Return what this machine is and what it runs models with."""
    found: Header = {
        "protocol": PROTOCOL,
        "machine": platform.machine(),
        "cpu": _cpu(),
        "isa": _isa(),
        "cores": len(_cpus()),
    }
    try:
        import numpy as np  # noqa: PLC0415 - told where it is missing
        import onnxruntime as ort  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise Refused(f"{sys.executable} there has no {error.name or 'onnxruntime'}", "prerequisite") from None
    frozen = {"governor": _governor(), "clock_mhz": _clock_mhz(), "temperature_c": _temperature_c()[0]}
    devices, problem = gpus()
    described = [{key: one[key] for key in GPU_FACTS} for one in devices]
    return {
        **found, **frozen, "gpus": described, "gpu_problem": problem,
        "runtimes": {"onnxruntime": ort.__version__}, "python": platform.python_version(), "numpy": np.__version__,
    }  # fmt: skip


def state() -> Header:
    """Return what changes while one measures; None where the system does not tell.

    ``load`` is the number of cores that others keep busy: models are at rest while it is taken.
    """
    before, start = _busy_s(), time.monotonic()
    time.sleep(LOAD_WINDOW_S)
    after, window_s = _busy_s(), time.monotonic() - start
    temperature_c, limit_c = _temperature_c()
    return {
        "load": None if before is None or after is None else max(0.0, after - before) / window_s,
        "clock_mhz": _clock_mhz(),
        "governor": _governor(),
        "temperature_c": temperature_c,
        "temperature_limit_c": limit_c,
        "gpu": gpu_state(),
    }


GPU_FACTS = ("name", "compute", "memory_bytes", "driver", "cuda")
GPU_STATE = ("clock_mhz", "max_clock_mhz", "temperature_c", "reasons")


def gpu_state() -> Header | None:
    """Return what the first GPU does now, None where nobody tells."""
    found, _ = gpus()
    return {key: found[0][key] for key in GPU_STATE} if found else None


def _state_under_load(run: Callable[[], Any]) -> Header | None:
    """Return what the GPU does while it works: runs that nobody times go on until the driver has answered."""
    answers: list[Header | None] = []
    asking = threading.Thread(target=lambda: answers.append(gpu_state()), daemon=True)
    asking.start()
    while asking.is_alive():
        run()
    return answers[0] if answers else None


def gpus() -> tuple[list[Header], str]:
    """Return the GPUs that CUDA may use, what they are and do, and in words why there are none."""
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # so that CUDA and the driver number them alike
    try:
        found = _gpus_of_nvml()
        found = _gpus_of_smi() if found is None else found
    except RuntimeError as error:
        return [], f"there is no NVIDIA driver that answers ({_first_line(error)})"
    if found is None:
        vendors = Path("/sys/bus/pci/devices").glob("*/vendor")
        displays = [one for one in vendors if _read(one) == "0x10de" and _read(one.parent / "class").startswith("0x03")]
        return [], "there is an NVIDIA GPU but no driver for it" if displays else "there is no NVIDIA GPU"
    visible = _visible(found)
    if found and not visible:
        return [], f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']} hides all {len(found)} NVIDIA GPUs"
    return visible, "" if visible else "there is no NVIDIA GPU"


def _visible(found: list[Header]) -> list[Header]:
    """Return the GPUs that ``CUDA_VISIBLE_DEVICES`` names, by number or identifier, up to one that is not there."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return found
    chosen: list[Header] = []
    for name in (part.strip() for part in wanted.split(",")):
        named = [one for one in found if name and (str(one["index"]) == name or one["uuid"].startswith(name))]
        if not named:
            break
        chosen.append(named[0])
    return chosen


def _gpus_of_nvml() -> list[Header] | None:
    """Return all GPUs by the driver's own library, None if that or its Python package is not here.

    Raises:
        RuntimeError: the driver does not answer.
    """
    try:
        import pynvml as nvml  # noqa: PLC0415 - only where it is installed
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        numbers = range(nvml.nvmlDeviceGetCount())
        driver = _text(nvml.nvmlSystemGetDriverVersion())
        cuda = int(nvml.nvmlSystemGetCudaDriverVersion())
        handles = [(number, nvml.nvmlDeviceGetHandleByIndex(number)) for number in numbers]
        named = [(number, one, _text(nvml.nvmlDeviceGetName(one))) for number, one in handles]
    except nvml.NVMLError as error:
        if "not found" in str(error).lower():  # the library is a part of the driver
            return None
        raise RuntimeError(str(error)) from error

    def told(name: str, *arguments: Any) -> Any:
        """Return an answer, None where this GPU or driver does not know it."""
        try:
            return getattr(nvml, name)(*arguments)
        except (nvml.NVMLError, AttributeError):
            return None

    found = []
    for number, one, name in named:
        compute, memory = told("nvmlDeviceGetCudaComputeCapability", one), told("nvmlDeviceGetMemoryInfo", one)
        reasons = told("nvmlDeviceGetCurrentClocksEventReasons", one)
        reasons = told("nvmlDeviceGetCurrentClocksThrottleReasons", one) if reasons is None else reasons
        found.append(
            {
                "index": number,
                "uuid": _text(told("nvmlDeviceGetUUID", one) or ""),
                "name": name,
                "driver": driver,
                "compute": None if compute is None else f"{compute[0]}.{compute[1]}",
                "memory_bytes": None if memory is None else int(memory.total),
                "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}",
                "clock_mhz": told("nvmlDeviceGetClockInfo", one, getattr(nvml, "NVML_CLOCK_SM", 1)),
                "max_clock_mhz": told("nvmlDeviceGetMaxClockInfo", one, getattr(nvml, "NVML_CLOCK_SM", 1)),
                "temperature_c": told("nvmlDeviceGetTemperature", one, getattr(nvml, "NVML_TEMPERATURE_GPU", 0)),
                "reasons": _reasons(reasons),
            }
        )
    return found


def _gpus_of_smi() -> list[Header] | None:
    """Return all GPUs by ``nvidia-smi``, None if that is not here; raises as `_gpus_of_nvml` does."""
    if shutil.which("nvidia-smi") is None:
        return None
    table = _smi(f"--query-gpu={','.join(SMI_FIELDS)}", "--format=csv,noheader,nounits")
    cuda = re.search(r"CUDA Version:\s*(\d+\.\d+)", _smi())
    found = []
    for row in table.splitlines():
        cells = [cell.strip() for cell in row.split(",")]
        if len(cells) != len(SMI_FIELDS):
            continue  # "No devices were found"
        index, uuid, name, compute, memory_mib, driver, clock, most, temperature, reasons = cells
        found.append(
            {
                "index": int(index),
                "uuid": uuid,
                "name": name,
                "driver": driver,
                "compute": compute if _number(compute) is not None else None,
                "memory_bytes": None if _number(memory_mib) is None else int(memory_mib) * 2**20,
                "cuda": cuda.group(1) if cuda else None,
                "clock_mhz": _number(clock),
                "max_clock_mhz": _number(most),
                "temperature_c": _number(temperature),
                "reasons": _reasons(int(reasons, 16) if reasons.startswith("0x") else None),
            }
        )
    return found


def _smi(*arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - no shell reads it
            ["nvidia-smi", *arguments],  # noqa: S607 - where the user's PATH has it
            capture_output=True,
            text=True,
            timeout=SMI_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"nvidia-smi: {error}") from error
    said = done.stdout.strip() or done.stderr.strip()
    if done.returncode and "no devices were found" not in said.lower():
        raise RuntimeError(said or f"nvidia-smi ended with code {done.returncode}")
    return said


def _reasons(bits: int | None) -> list[str]:
    return [] if bits is None else [text for bit, text in GPU_NEWS.items() if bits & bit]


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def _cpus() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _cpu() -> str:
    text = _read("/proc/cpuinfo")
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    parts = sorted(set(re.findall(r"^CPU part\s*:\s*(\S+)$", text, re.MULTILINE)))
    if parts and re.search(r"^CPU implementer\s*:\s*0x41$", text, re.MULTILINE):
        return " + ".join(ARM_PARTS.get(part, f"Arm {part}") for part in parts)
    return named.group(1).strip() if named else platform.processor() or platform.machine()


def _isa() -> list[str]:
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return sorted(set(match.group(1).split())) if match else []


def _governor() -> str | None:
    governors = {_read(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor") for cpu in _cpus()} - {""}
    return " + ".join(sorted(governors)) or None


def _clock_mhz() -> float | None:
    shown = [_read(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq") for cpu in _cpus()]
    clocks = [int(text) / 1e3 for text in shown if text.isdigit()]
    clocks = clocks or [
        float(mhz) for mhz in re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    ]
    return max(clocks, default=None)


def _temperature_c(zones: str = "/sys/class/thermal") -> tuple[float | None, float | None]:
    """Return the temperature of the zone that is nearest to where the system slows down, and that limit."""
    found: list[tuple[float, float | None]] = []
    for zone in Path(zones).glob("thermal_zone*"):
        shown = _read(zone / "temp")
        kinds = [(_read(kind), _read(str(kind)[: -len("type")] + "temp")) for kind in zone.glob("trip_point_*_type")]
        limits = [int(text) / 1e3 for kind, text in kinds if kind in ("passive", "hot", "critical") and text.isdigit()]
        if shown.isdigit() and int(shown) > 0:
            found.append((int(shown) / 1e3, min((limit for limit in limits if limit > 0), default=None)))
    bounded = [(temperature, limit) for temperature, limit in found if limit is not None]
    if bounded:
        return max(bounded, key=lambda pair: pair[0] - (pair[1] or 0.0))
    return max(found, default=(None, None))


def _busy_s() -> float | None:
    """Return the seconds that this machine's usable cores were busy since it started."""
    rows = re.findall(r"^cpu(\d+) (.*)$", _read("/proc/stat"), re.MULTILINE)
    ticks = [[int(value) for value in row.split()] for cpu, row in rows if int(cpu) in _cpus()]
    if not ticks:
        return None
    idle_and_waiting = (3, 4)
    busy = sum(value for row in ticks for index, value in enumerate(row[:8]) if index not in idle_and_waiting)
    return busy / os.sysconf("SC_CLK_TCK")


class Agent:
    """Carries out requests; models are kept in ``folder``, by their hash."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.models: dict[str, Source] = {}

    def handle(self, request: Header, blobs: list[bytes]) -> Answer:
        """Return the answer to a request: what was asked for, or one sentence about what was wrong."""
        try:
            answer, out = VERBS.get(str(request.get("verb")), _unknown)(self, request, blobs)
        except Refused as error:
            answer, out = {"ok": False, "error": str(error), "kind": error.kind}, []
        except Exception as error:  # noqa: BLE001 - the runtime raises classes of its own; the host is told
            answer, out = {"ok": False, "error": _first_line(error), "kind": "runtime"}, []
        return {"ok": True, **answer, "id": request.get("id")}, out

    def put(self, request: Header, blobs: list[bytes]) -> Answer:
        """Keep a model that arrived whole."""
        digest = hashlib.sha256(b"".join(blobs)).hexdigest()
        if digest != request.get("sha256"):
            raise Refused("the model did not arrive as it was sent: its SHA-256 differs")
        path = Path(self.folder) / digest
        path.write_bytes(b"".join(blobs))
        self.models[digest] = str(path)
        sizes = {key: Path(str(source)).stat().st_size for key, source in self.models.items()}
        for old in list(self.models)[:-1]:
            if sum(sizes.values()) <= KEPT_BYTES:
                break
            Path(str(self.models.pop(old))).unlink()
            del sizes[old]
        return {}, []

    def time(self, request: Header, blobs: list[bytes]) -> Answer:
        """Time one block of runs."""
        runs = None if request.get("runs") is None else _whole(request, "runs", 1, 100_000)
        block_s = request.get("block_s", 0.25)
        if type(block_s) not in (int, float) or not 0 < block_s <= 60:
            raise Refused("'block_s' must be a number of seconds up to 60")
        feed, warmup, provider = _feed(request, blobs), _whole(request, "warmup", 1, 1000), _provider(request)
        with gpu_troubles():
            timed = time_block(self._model(request), feed, _threads(request), runs, block_s, warmup, provider)
        return {**timed, "provider": provider}, []

    def profile(self, request: Header, blobs: list[bytes]) -> Answer:
        """Time every node in the context of the whole model."""
        runs, warmup = _whole(request, "runs", 1, 100_000), _whole(request, "warmup", 0, 1000)
        provider, source, feed = _provider(request), self._model(request), _feed(request, blobs)
        if provider == TENSORRT:
            raise Refused("TensorRT runs a network as one kernel, of which no part can be timed: time it whole", "gpu")
        if provider == CUDA and not is_library(source) and os.environ.get(BLOCKING) != "1":
            check_provider(provider)
            return profile_in_child(source, request, blobs)
        with gpu_troubles():
            answer, out = profile(source, feed, _threads(request), runs, warmup, provider)
        return {**answer, "provider": provider}, out

    def run(self, request: Header, blobs: list[bytes]) -> Answer:
        """Run a model once."""
        provider = _provider(request)
        with gpu_troubles():
            answer, out = run_model(self._model(request), _feed(request, blobs), _threads(request), provider)
        return {**answer, "provider": provider}, out

    def _model(self, request: Header) -> Source:
        key = str(request.get("model"))
        if key not in self.models:
            raise Refused("that model is not here: `put` it first", "missing")
        self.models[key] = self.models.pop(key)  # now the last to be dropped
        return self.models[key]


VERBS: dict[str, Callable[[Agent, Header, list[bytes]], Answer]] = {
    "hello": lambda _agent, _request, _blobs: (facts(), []),
    "put": Agent.put,
    "time": Agent.time,
    "profile": Agent.profile,
    "run": Agent.run,
    "state": lambda _agent, _request, _blobs: (state(), []),
    "bye": lambda _agent, _request, _blobs: ({}, []),
}


def _unknown(_agent: Agent, request: Header, _blobs: list[bytes]) -> Answer:
    raise Refused(f"no verb {str(request.get('verb'))[:40]!r}; there are {', '.join(VERBS)}")


def _whole(request: Header, name: str, least: int, most: int) -> int:
    value = request.get(name)
    if type(value) is not int or not least <= value <= most:
        raise Refused(f"'{name}' must be a whole number from {least} to {most}")
    return value


def _threads(request: Header) -> int:
    return _whole(request, "threads", 1, 1024)


def _provider(request: Header) -> str:
    """Return what computes: the processor, if the request does not say."""
    name = request.get("provider", CPU)
    if name not in PROVIDERS:
        raise Refused(f"no provider {str(name)[:40]!r}; there are {', '.join(PROVIDERS)}")
    return str(name)


@contextlib.contextmanager
def gpu_troubles() -> Iterator[None]:
    """Tell what an error of CUDA means, where it is the device's and not the model's."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:  # the runtimes raise classes of their own
        trouble = _gpu_trouble(error)
        if trouble is None:
            raise
        raise trouble from error


def _feed(request: Header, blobs: list[bytes]) -> Header:
    """Return the inputs by name, checked against their descriptions."""
    import numpy as np  # noqa: PLC0415 - told by `hello` where it is missing

    described = request.get("feed")
    if not isinstance(described, list) or len(described) != len(blobs):
        raise Refused("'feed' must describe as many inputs as there are blobs")
    feed: Header = {}
    for item, blob in zip(described, blobs):  # noqa: B905 - Python 3.9 has no `strict`
        if not isinstance(item, dict) or item.get("dtype") not in TYPES:
            raise Refused(f"an input must be of one of the types {', '.join(TYPES)}")
        try:
            feed[str(item.get("name"))] = np.frombuffer(blob, item["dtype"]).reshape(item.get("shape")).copy()
        except (ValueError, TypeError):
            raise Refused(f"input '{item.get('name')}' has {len(blob)} bytes, which do not fit its shape") from None
    return feed


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def read_message(stream: BinaryIO) -> Answer | None:
    """Return the next request, None at the end."""
    prefix = stream.read(4)
    if len(prefix) < 4:
        return None
    header, sizes = parse_header(stream.read(header_bytes(prefix)))
    blobs = [stream.read(size) for size in sizes]
    return None if [len(blob) for blob in blobs] != sizes else (header, blobs)


def _end_with_host(folder: str) -> None:
    """End at once when the host is gone, even in the middle of a block: the work is done again, maybe right here."""
    poll = select.poll()
    poll.register(0, 0)  # only that the other side hung up
    poll.poll()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def main() -> None:
    """Answer requests until `bye` or the end of stdin."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else prints cannot get between the messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the host is interrupted, and says what comes of it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="hwcomp-agent-") as folder:
        tempfile.tempdir = folder  # so that nothing outlives the agent
        threading.Thread(target=_end_with_host, args=(folder,), daemon=True).start()
        agent, verb = Agent(folder), ""
        while verb != "bye":
            try:
                message = read_message(sys.stdin.buffer)
            except Refused as error:  # where the next message begins is not known any more
                out.write(pack({"id": None, "ok": False, "error": str(error), "kind": error.kind}, []))
                break
            if message is None:
                break
            verb = str(message[0].get("verb"))
            header, blobs = agent.handle(*message)
            for part in (pack(header, blobs), *blobs):
                out.write(part)
            out.flush()
        out.close()


if __name__ == "__main__":
    main()
