"""What a runtime executes for one operator and one choice: a canonical description, the key of every latency table."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hwcomp.scheme import is_sparse
from hwcomp.space import Conversion

Shape = tuple[int, ...]

WINDOW = re.compile(r"k([\dx]+) s([\dx]+) p([\dx]+) d([\dx]+) g(\d+)")
BOUNDARIES: tuple[Conversion, ...] = ("quantize", "dequantize")


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """How a convolution moves over its input, one number per spatial axis.

    Attributes:
        size: of the window, in pixels.
        stride: in pixels.
        padding: at each side, in pixels.
        dilation: distance of neighbours in the window, in pixels.
        groups: of channels that do not see each other.
    """

    size: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    groups: int

    def __str__(self) -> str:
        size, stride, padding, dilation = (_text(x) for x in (self.size, self.stride, self.padding, self.dilation))
        return f"k{size} s{stride} p{padding} d{dilation} g{self.groups}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """One kernel of a runtime, or the conversion of one tensor's number format.

    Attributes:
        op: operator, see `hwcomp.ops`, or "quantize" / "dequantize" for a conversion.
        scheme: name of the scheme that it computes in.
        activation: integer type of its inputs or outputs, "" where both are float.
        inputs: shapes of the input tensors.
        output: shape of the output, None where it is not one tensor.
        window: of a convolution.
        detail: other constants that decide the speed, as text.
        tail: activation that runs in the same kernel, or "".
    """

    op: str
    scheme: str
    activation: str = ""
    inputs: tuple[Shape, ...]
    output: Shape | None
    window: Window | None = None
    detail: str = ""
    tail: str = ""

    @property
    def key(self) -> str:
        """Canonical text, the key of the latency store."""
        shapes = f"{','.join(_text(shape) for shape in self.inputs)}>{_text(self.output)}"
        scheme = f"{self.scheme}:{self.activation}" if self.activation else self.scheme
        window = str(self.window) if self.window else ""
        return "|".join((self.op, scheme, shapes, window, self.detail, self.tail))

    @property
    def elements(self) -> int:
        """Numbers in the output; 0 where it is not one tensor."""
        return math.prod(self.output) if self.output is not None else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernels:
    """All kernels that a search space may run.

    Attributes:
        sites: site -> candidate -> kernel.
        tensors: tensor -> "quantize" / "dequantize" -> kernel.
    """

    sites: Mapping[str, Mapping[str, Kernel]]
    tensors: Mapping[str, Mapping[Conversion, Kernel]]

    def __iter__(self) -> Iterator[Kernel]:
        """Go through all of them; sites of the same shape give equal kernels."""
        for candidates in self.sites.values():
            yield from candidates.values()
        for directions in self.tensors.values():
            yield from directions.values()

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the store that a table of this space is made from."""
        return frozenset(kernel.key for kernel in self)


def parse(key: str) -> Kernel:
    """Return the kernel of a key.

    Raises:
        ValueError: it is not the key of a kernel.
    """
    parts = key.split("|")
    if len(parts) != 6 or ">" not in parts[2]:
        raise ValueError(f"'{key}' is not the key of a kernel")
    op, scheme, shapes, window, detail, tail = parts
    sources, _, output = shapes.partition(">")
    scheme, _, activation = (scheme, "", "") if is_sparse(scheme) else scheme.partition(":")
    kernel = Kernel(
        op=op,
        scheme=scheme,
        activation=activation,
        inputs=tuple(shape for text in sources.split(",") if text and (shape := _shape(text)) is not None),
        output=_shape(output),
        window=_window(window) if window else None,
        detail=detail,
        tail=tail,
    )
    if kernel.key != key:
        raise ValueError(f"'{key}' is not the key of a kernel")
    return kernel


def _window(text: str) -> Window:
    match = WINDOW.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not a window")
    size, stride, padding, dilation = (tuple(int(n) for n in match.group(i).split("x")) for i in range(1, 5))
    return Window(size=size, stride=stride, padding=padding, dilation=dilation, groups=int(match.group(5)))


def _text(shape: Shape | None) -> str:
    if shape is None:
        return "-"
    return "x".join(str(size) for size in shape) or "scalar"


def _shape(text: str) -> Shape | None:
    if text == "-":
        return None
    return () if text == "scalar" else tuple(int(size) for size in text.split("x"))
