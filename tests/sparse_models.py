"""ONNX models of one convolution, by ONNX Runtime's own operators and by those of the library of sparse kernels."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hwcomp.devices.agent.machine import facts
from hwcomp.lowering.embedded import embed
from hwcomp.sparse_kernels.format import compress
from hwcomp.sparse_kernels.library import build
from hwcomp.sparse_kernels.tir_build import vectors_of

Array = NDArray[np.float32]


@cache
def library() -> bytes:
    """Return the library for this machine, with the inner loops that are written in C."""
    assert platform.machine() in ("x86_64", "aarch64")
    return build(vectors_of(facts()["isa"])).read_bytes()


@dataclass(frozen=True, kw_only=True)
class Case:
    """A convolution of random weights and inputs."""

    size: tuple[int, int] = (14, 14)
    kernel: int = 3
    stride: int = 1
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    channels: int = 12
    out_channels: int = 16
    batch: int = 1
    rows: int = 4
    density: float = 0.2
    residual: bool = False
    low: float = -np.inf
    high: float = np.inf
    depthwise: bool = False
    seed: int = 0

    @property
    def weight(self) -> Array:
        inputs = 1 if self.depthwise else self.channels
        shape = (self.channels if self.depthwise else self.out_channels, inputs, self.kernel, self.kernel)
        generator = np.random.default_rng(self.seed)
        kept = generator.random((-(-shape[0] // self.rows), *shape[1:])) < self.density
        weight = generator.standard_normal(shape) * np.repeat(kept, self.rows, 0)[: shape[0]]
        return weight.astype(np.float32)

    @property
    def out(self) -> list[int]:
        top, left, bottom, right = self.pads
        sides = (self.size[0] + top + bottom, self.size[1] + left + right)
        return [self.batch, len(self.weight), *((side - self.kernel) // self.stride + 1 for side in sides)]

    @property
    def feed(self) -> dict[str, Array]:
        generator = np.random.default_rng(self.seed + 1)
        shapes = {"x": (self.batch, self.channels, *self.size)} | ({"r": tuple(self.out)} if self.residual else {})
        return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}

    @property
    def bias(self) -> Array:
        return np.linspace(-1, 1, len(self.weight), dtype=np.float32)

    def plain(self) -> bytes:
        """Return the model in ONNX Runtime's own operators."""
        groups = self.channels if self.depthwise else 1
        window = {"strides": [self.stride] * 2, "pads": list(self.pads)}
        nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], group=groups, **window)]
        nodes += [helper.make_node("Add", ["c", "r"], ["a"])] if self.residual else []
        nodes += [helper.make_node("Clip", ["a" if self.residual else "c", "low", "high"], ["y"])]
        ends = {"low": np.float32(max(self.low, -3e38)), "high": np.float32(min(self.high, 3e38))}
        return self._model(nodes, {"w": self.weight, "b": self.bias, **ends})

    def own(self, **changed: object) -> bytes:
        """Return the model in the library's operators, which it carries; attributes and constants can be changed."""
        return embed(self.bare(**changed), library())

    def bare(self, **changed: object) -> bytes:
        """Return the same model without the library."""
        top = {"input": [self.channels, *self.size], "kernel": [self.kernel] * 2, "strides": [self.stride] * 2}
        attributes = top | {"pads": list(self.pads), "low": float(self.low), "high": float(self.high)}
        blocks = compress(self.weight, self.rows)
        if self.depthwise:
            constants = {"w": self.weight, "b": self.bias}
        else:
            constants = {"v": blocks.values, "c": blocks.columns, "s": blocks.starts, "b": self.bias}
            attributes |= {"rows": self.rows, "out_channels": self.out_channels}
        for name, value in changed.items():
            (constants if name in constants else attributes)[name] = value  # type: ignore[index]
        kind = "DepthwiseConv" if self.depthwise else "SparseConv"
        inputs = ["x", *constants, *(["r"] if self.residual else [])]
        node = helper.make_node(kind, inputs, ["y"], name=f"site/{kind}", domain="hwcomp", **attributes)
        return self._model([node], constants)

    def _model(self, nodes: list[object], constants: dict[str, Array]) -> bytes:
        tensor: Callable[..., object] = helper.make_tensor_value_info
        inputs = [tensor(name, TensorProto.FLOAT, list(array.shape)) for name, array in self.feed.items()]
        stored = [numpy_helper.from_array(array, name) for name, array in constants.items()]
        graph = helper.make_graph(nodes, "g", inputs, [tensor("y", TensorProto.FLOAT, self.out)], stored)
        versions = [helper.make_opsetid("", 17), helper.make_opsetid("hwcomp", 1)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=8)
        return bytes(model.SerializeToString())
