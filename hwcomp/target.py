"""The Target type and its loader; there is no hardware in here, only in ``hwcomp/targets/*.toml``."""

import os
import platform
import re
import sys
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from hwcomp.config import Provider
from hwcomp.errors import InputError
from hwcomp.ops import FUNCTIONS, MODULES
from hwcomp.plugins import names, suggest
from hwcomp.scheme import FLOAT, FLOAT16, QUANTS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ALIASES = {"arm": "arm_cortex_a72", "gpu": "nvidia_h200"}
HOST = "host"

OpClass = Literal["conv1x1", "conv3x3", "depthwise", "linear", "other"]
OP_CLASSES = get_args(OpClass)

Precision = Literal["float32", "tf32", "float16", "bfloat16", "int8", "fp8"]

SPARSE_OPS = ("conv2d", "linear")
"""Operators that `hwcomp.sparse_kernels` has kernels for."""

WITHOUT_VNNI = 3
"""Instructions that AVX2 or AVX-512 needs for what VNNI does in one: multiply bytes, add pairs, add to the sum."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Hardware(_Strict):
    """Facts of the chip that a roofline needs.

    Attributes:
        float_flop_per_cycle: per core, in float32, an addition and a multiplication counted as two.
        int8_op_per_cycle: likewise with 8-bit integers.
        bandwidth_gb_per_s: from main memory, all cores together.
        cache_bytes: of the last level that the cores share.
        kernel_overhead_us: what starting one kernel costs.
        efficiency: operator class ("conv1x1", "conv3x3", "depthwise", "linear", "other") -> share of the peak reached.
        core: kind of core that can be emulated, see `hwcomp.emulation.cores`; None if it cannot.
        cycles_per_instruction: over a float network, by latencies that are published for such a core.
        integer_cycles_per_instruction: likewise where 8-bit integers are multiplied; the same as float if not given.
        cpi_error: mean relative error of a latency that is instructions times these cycles.
    """

    cores: PositiveInt
    clock_ghz: PositiveFloat
    float_flop_per_cycle: PositiveFloat
    int8_op_per_cycle: PositiveFloat
    bandwidth_gb_per_s: PositiveFloat
    cache_bytes: PositiveInt
    kernel_overhead_us: float = Field(ge=0)
    efficiency: dict[OpClass, PositiveFloat]
    core: str | None = None
    cycles_per_instruction: PositiveFloat | None = None
    integer_cycles_per_instruction: PositiveFloat | None = None
    cpi_error: float | None = Field(default=None, ge=0)


class Gpu(_Strict):
    """What code for a GPU must know of it.

    Attributes:
        name: part of the product's name by which such a GPU is known, as its driver gives it: "H200".
        compute: architecture that kernels are compiled for, as ``nvcc -arch`` names it: "sm_90a".
        memory_gib: by the data sheet; the driver shows a little less.
        precisions: that it multiplies in, with tensor cores where it has them for that.
        structured_sparsity: whether products with two zeros in every four weights run at twice the rate.
        provider: execution provider of ONNX Runtime that models are measured with.
    """

    name: str = Field(min_length=1)
    compute: str = Field(pattern=r"^sm_[1-9][0-9]+[af]?$")
    memory_gib: PositiveFloat
    precisions: tuple[Precision, ...]
    structured_sparsity: bool
    provider: Literal["cuda", "tensorrt"] = "cuda"

    @property
    def capability(self) -> str:
        """Compute capability as the driver gives it: "9.0"."""
        digits = self.compute.removeprefix("sm_").rstrip("af")
        return f"{digits[:-1]}.{digits[-1]}"

    def is_called(self, product: str) -> bool:
        """Return whether a product's name has this one as a word in it: "NVIDIA L4" is an "L4", an "L40S" is none."""
        return re.search(rf"(?<![0-9A-Za-z]){re.escape(self.name)}(?![0-9A-Za-z])", product, re.IGNORECASE) is not None


class Target(_Strict):
    """A device and the runtime on it: what it can compute in, and how fast it is on paper.

    Attributes:
        name: the file's name.
        description: one line for people.
        machine: ``platform.machine()`` of such a device.
        cpu: part of the processor's name by which such a device is known; "" for any.
        isa: instruction sets that matter, as the Linux kernel names them.
        runtime: the runtime that artifacts are lowered for.
        activation: integer type of activations; it decides the speed ("uint8" for VNNI, "int8" for ARM), and whether
            TensorRT takes it ("int8_symmetric"). "float16" where the scheme of that name takes their place.
        weight_bits: 8, or 7 where products of unsigned and signed bytes saturate.
        schemes: scheme -> operators that run in it, besides float, see `hwcomp.ops`.
        sparse: operators that there are sparse kernels for, see `hwcomp.sparse_kernels`.
        hardware: what a roofline needs.
        gpu: the GPU that computes; None where the processor does.
        local: whether this very machine is the device, so that it can be measured.
    """

    name: str
    description: str
    machine: str
    cpu: str = ""
    isa: tuple[str, ...] = ()
    runtime: Literal["onnxruntime"]
    activation: Literal["uint8", "int8", "int8_symmetric", "float16"]
    weight_bits: Literal[7, 8] = 8
    schemes: dict[str, tuple[str, ...]]
    sparse: tuple[str, ...] = ()
    hardware: Hardware
    gpu: Gpu | None = None
    local: bool = False

    @property
    def provider(self) -> Provider:
        """What computes: the processor, or the GPU by one of ONNX Runtime's execution providers."""
        return "cpu" if self.gpu is None else self.gpu.provider

    def candidates(self, op: str) -> tuple[str, ...]:
        """Return the schemes that an operator can run in here, "float" first."""
        return (FLOAT, *(scheme for scheme, ops in self.schemes.items() if op in ops))


def available() -> tuple[str, ...]:
    """Return the names that `load` knows: the files in ``hwcomp/targets``, the aliases and "host"."""
    return tuple(sorted((*names("hwcomp.targets", ".toml"), *ALIASES, HOST)))


@cache
def load(name: str) -> Target:
    """Return a target by name, alias, or path of a TOML file; "host" is this machine.

    Raises:
        InputError: unknown (near matches are offered), unreadable, or wrong in some field.
    """
    if name == HOST:
        return detect_host()
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"No target file '{name}'; `hwcomp targets show x86_64` prints one to start from.")
        return parse(path.read_text(), path.stem, name)
    name = ALIASES.get(name, name)
    if name not in names("hwcomp.targets", ".toml"):
        raise InputError(f"No target '{name}'; {suggest(name, available())}, or give the path of a .toml file.")
    return parse(source(name), name, f"{name}.toml")


def source(name: str) -> str:
    """Return the TOML text of a shipped target, with its comments."""
    return (files("hwcomp.targets") / f"{name}.toml").read_text()


def parse(text: str, name: str, origin: str) -> Target:
    """Return the target that a TOML text describes.

    Raises:
        InputError: it is not TOML, or a field is missing, unknown or wrong.
    """
    try:
        data: dict[str, Any] = tomllib.loads(text)
        target = Target.model_validate({"name": name, **data})
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{origin} is not valid TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{origin}: field '{where}': {first['msg']} (found {first['input']!r}).") from error
    _check_names(origin, "scheme", target.schemes, tuple(QUANTS))
    known = tuple(sorted({*MODULES.values(), *FUNCTIONS.values()}))
    if (FLOAT16.name in target.schemes) != (target.activation == FLOAT16.name):
        raise InputError(f"{origin}: the scheme 'float16' and activation = \"float16\" go together; give both or none.")
    _check_names(origin, "operator", {op for ops in target.schemes.values() for op in ops}, known)
    _check_names(origin, "operator with sparse kernels", target.sparse, SPARSE_OPS)
    missing = sorted(set(OP_CLASSES) - set(target.hardware.efficiency))
    if missing:
        raise InputError(f"{origin}: field 'hardware.efficiency' has no '{missing[0]}'; give all of {OP_CLASSES}.")
    return target


def _check_names(origin: str, what: str, found: Iterable[str], known: tuple[str, ...]) -> None:
    unknown = sorted(set(found) - set(known))
    if unknown:
        raise InputError(f"{origin}: unknown {what} '{unknown[0]}'; {suggest(unknown[0], known)}.")


def detect_host() -> Target:
    """Return this machine as a target: its cores and instruction sets on top of the nearest shipped description.

    On x86, unsigned activations need VNNI (or 7-bit weights, since AVX2's product of bytes saturates at 16 bits).
    """
    machine = platform.machine().lower()
    base = load("x86_64" if machine in ("x86_64", "amd64") else "arm_cortex_a76")
    found = cpu_flags()
    weight_bits = base.weight_bits
    hardware = base.hardware.model_copy(update={"cores": usable_cores()})
    if base.name == "x86_64" and not found & {"avx512_vnni", "avx_vnni"}:
        weight_bits = 7
        slower = {"int8_op_per_cycle": hardware.int8_op_per_cycle / WITHOUT_VNNI}
        hardware = hardware.model_copy(update=slower)
    relevant = tuple(flag for flag in ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8",
                                       "neon", "asimd", "asimddp", "i8mm", "sve") if flag in found)  # fmt: skip
    return base.model_copy(
        update={
            "name": HOST,
            "description": f"this machine: {cpu_model()}, {usable_cores()} cores",
            "machine": machine,
            "isa": relevant,
            "weight_bits": weight_bits,
            "hardware": hardware,
            "local": True,
        }
    )


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_flags() -> frozenset[str]:
    """Return the instruction sets of this CPU as Linux names them; empty where the system does not tell."""
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", _cpuinfo(), re.MULTILINE)
    return frozenset(match.group(1).split()) if match else frozenset()


def cpu_model() -> str:
    """Return the CPU's name as the system gives it."""
    match = re.search(r"^model name\s*:\s*(.*)$", _cpuinfo(), re.MULTILINE)
    return match.group(1).strip() if match else platform.processor() or platform.machine()


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.is_file() else ""
