"""The agent: runs and times models where it is started, asked on stdin and answering on stdout.

One file for Python 3.9 or newer that needs ONNX Runtime and numpy (and apache-tvm where libraries are run) and imports
nothing of hwcomp, so that it can be sent to a device as it is. A message is the length of a JSON header (4 bytes,
big-endian), the header, and then the blobs whose lengths ``header["blobs"]`` lists. A request names one of the verbs in
`VERBS`; nothing else is ever executed.
"""

from __future__ import annotations

import atexit
import base64
import ctypes
import hashlib
import importlib.util
import json
import os
import platform
import re
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
import types
import zlib
from collections.abc import Callable
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

LIBRARY_MARK, LIBRARY_DIGITS = b"hwcomp-library/1", 12
"""End of a network that is a library of TVM, and the digits of the length of its signature (JSON) before it."""

ALIGNMENT_BYTES = 64
"""Of tensors, as TVM's code expects it."""

TVM_CPU, TVM_POOL, TVM_ALL_CORES = 1, 2, 1
"""What TVM calls the processor, an allocator that keeps memory, and threads that may run on any core."""

INSTALLED: dict[str, str] = {}
"""Libraries of operators that are there, by their hash; under the empty name, their folder."""

Header = dict[str, Any]
Source = Union[bytes, str]  # noqa: UP007 - Python 3.9 has no `|` for types
Answer = tuple[Header, list[bytes]]


class Refused(Exception):  # noqa: N818 - an answer, not a defect
    """A request that is not carried out.

    Attributes:
        kind: "input" for a wrong request or model, "missing" for a model that was not sent, "runtime" for the rest.
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


def open_session(source: Source, threads: int, folder: str | None = None) -> Any:
    """Load a model, with the library of operators that it carries.

    It is profiled into ``folder`` if that is given, beside its optimised graph without weights.
    """
    if is_library(source):
        if folder is not None:
            raise Refused("a library of TVM keeps no times of its kernels; time the whole network")
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
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Refused:
        raise
    except Exception as error:  # ONNX Runtime raises classes of its own that share no base
        raise Refused(f"ONNX Runtime cannot load the model: {_first_line(error)}") from error


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
        path = _installed(source if isinstance(source, bytes) else Path(source).read_bytes())
        tvm_ffi = tvm_runtime()
        tvm_ffi.get_global_func("runtime.config_threadpool")(TVM_ALL_CORES, threads)
        self._module = tvm_ffi.load_module(path)
        self._machine = self._module["vm_load_executable"]()
        self._machine["vm_initialization"](TVM_CPU, 0, TVM_POOL)
        self._main = self._machine["main"]
        self._inputs = [_aligned(item) for item in self.signature["inputs"]]
        self._tensors = [tvm_ffi.from_dlpack(place) for place in self._inputs]

    def run(self, _outputs: None, feed: Header) -> list[Any]:
        """Return the outputs, arrays."""
        import numpy as np  # noqa: PLC0415 - told by `hello` where it is missing

        for item, place in zip(self.signature["inputs"], self._inputs):  # noqa: B905 - Python 3.9 has no `strict`
            array = feed[item["name"]]
            if array.shape != place.shape or array.dtype != place.dtype:
                raise Refused(f"input '{item['name']}' must be {place.dtype} of shape {place.shape}")
            place[...] = array
        made = self._main(*self._tensors)
        return [np.array(np.from_dlpack(one)) for one in (made if hasattr(made, "__iter__") else [made])]

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

        package = importlib.util.find_spec("tvm")
    except ImportError:
        package = None
    if package is None or not package.submodule_search_locations:
        raise Refused(f"{sys.executable} there has no apache-tvm, which this model needs", "runtime")
    library = Path(package.submodule_search_locations[0]) / "lib" / "libtvm_runtime.so"
    ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    return tvm_ffi


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
    source: Source, feed: Header, threads: int, runs: int | None, block_s: float, warmup: int
) -> list[float]:
    """Return the times in microseconds of runs in a fresh, warmed-up session.

    Without ``runs`` there are as many as fit the block. ONNX Runtime's worker threads spin after a run and slow every
    other session, so this one is gone at the end.
    """
    session = open_session(source, threads)
    last_us = 0.0
    for _ in range(warmup):
        last_us = _run_us(session, feed)
    count = runs or max(MIN_RUNS, min(MAX_RUNS, int(block_s * 1e6 / last_us)))
    return [_run_us(session, feed) for _ in range(count)]


def _run_us(session: Any, feed: Header) -> float:
    start = time.perf_counter()
    session.run(None, feed)
    return (time.perf_counter() - start) * 1e6


def profile(source: Source, feed: Header, threads: int, runs: int, warmup: int) -> Answer:
    """Return the durations and executions per run of every node, those of the last runs, and the optimised graph."""
    with tempfile.TemporaryDirectory(prefix="hwcomp-") as folder:
        session = open_session(source, threads, folder)
        whole_us = [_run_us(session, feed) for _ in range(warmup + runs)]
        events = json.loads(Path(session.end_profiling()).read_text())
        del session  # its threads spin while it lives
        graph = (Path(folder) / "optimized.onnx").read_bytes()
    durations: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL_SUFFIX):
            durations.setdefault(event["name"][: -len(KERNEL_SUFFIX)], []).append(event["dur"])
    answer = {
        "samples": {name: values[-runs:] for name, values in durations.items()},
        "per_run": {name: len(values) / (warmup + runs) for name, values in durations.items()},
        "us": whole_us[-runs:],
    }
    return answer, [graph]


def run_model(source: Source, feed: Header, threads: int) -> Answer:
    """Return the outputs of one run."""
    session = open_session(source, threads)
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
    return {
        **found, **frozen,
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
    }


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
        feed, warmup = _feed(request, blobs), _whole(request, "warmup", 1, 1000)
        return {"us": time_block(self._model(request), feed, _threads(request), runs, block_s, warmup)}, []

    def profile(self, request: Header, blobs: list[bytes]) -> Answer:
        """Time every node in the context of the whole model."""
        runs, warmup = _whole(request, "runs", 1, 100_000), _whole(request, "warmup", 0, 1000)
        return profile(self._model(request), _feed(request, blobs), _threads(request), runs, warmup)

    def run(self, request: Header, blobs: list[bytes]) -> Answer:
        """Run a model once."""
        return run_model(self._model(request), _feed(request, blobs), _threads(request))

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
