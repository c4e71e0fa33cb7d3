"""Write sparse convolutions into an ONNX graph, as operators of the library in `hwcomp.sparse_kernels`.

Before: ``x -> Conv -> Add(., r) -> Relu -> y``. After: ``x -> hwcomp::SparseConv(., r) -> y``, where only as much is
taken in as nobody else reads. A linear layer over tokens becomes a 1x1 convolution between two transpositions.
Depthwise convolutions become ``hwcomp::DepthwiseConv``, which leaves channels where sparse convolutions want them.

It belongs after `hwcomp.lowering.qdq.insert_qdq`: a tensor that is stored as integers ends what is taken in.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hwcomp.errors import LoweringError
from hwcomp.lowering.onnx_export import SITE
from hwcomp.lowering.sparse_followers import Followers, constant, take_followers
from hwcomp.lowering.sparse_refusals import operator_of, why_not
from hwcomp.sparse_kernels.format import compress

DOMAIN = "hwcomp"
TOKENS_LAST = (0, 2, 1)


def insert_sparse(model: ir.Model, rows: Mapping[str, int], depthwise: Collection[str] = ()) -> ir.Model:
    """Return a copy of a graph in which sites compute with the weights that are not zero.

    Args:
        model: from `hwcomp.lowering.onnx_export.export_float`, or behind `insert_qdq`.
        rows: site -> height of the blocks that share a pattern; the weight is the graph's own, with its zeros.
        depthwise: sites of depthwise convolutions.

    Raises:
        LoweringError: a site cannot be computed so; `hwcomp.lowering.sparse_refusals.why_not` says so beforehand.
    """
    model = model.clone()
    graph = model.graph
    for site in [*rows, *depthwise]:
        reason = why_not(model, site, depthwise=site in depthwise)
        if reason is not None:
            raise LoweringError(f"'{site}' cannot be lowered to a sparse kernel: {reason}.")
        node = operator_of(graph, site)
        assert node is not None
        if site in depthwise:
            _replace_depthwise(graph, site, node)
        elif node.op_type == "Conv":
            _replace_conv(graph, site, node, rows[site])
        else:
            _replace_linear(graph, site, node, rows[site])
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]
    graph.opset_imports[DOMAIN] = 1
    graph.sort()
    return model


@dataclass(kw_only=True, slots=True)
class _Draft:
    """A node that is being put together."""

    graph: ir.Graph
    site: str
    kind: str
    inputs: list[ir.Value | None]
    attributes: dict[str, int | float | list[int]] = field(default_factory=dict)

    def add_constant(self, name: str, array: NDArray[np.generic]) -> None:
        """Add an input that does not change."""
        value = ir.Value(name=f"{self.site}/{name}", const_value=ir.tensor(array, name=f"{self.site}/{name}"))
        self.graph.register_initializer(value)
        self.inputs.append(value)

    def node(self) -> ir.Node:
        """Return the node, whose outputs have no name yet."""
        return ir.node(
            self.kind, self.inputs, attributes=self.attributes, domain=DOMAIN, name=f"{self.site}/{self.kind}",
            metadata_props={SITE: self.site},
        )  # fmt: skip


def _replace_conv(graph: ir.Graph, site: str, node: ir.Node, rows: int) -> None:
    weight, bias = _weights(node)
    followers = take_followers(node, residual=True)
    draft = _Draft(graph=graph, site=site, kind="SparseConv", inputs=[node.inputs[0]])
    _add_blocks(draft, weight, rows, bias)
    if followers.residual is not None:
        draft.inputs.append(followers.residual)
    draft.attributes |= _geometry(node, weight) | followers.limits()
    _put(graph, node, followers, draft.node())


def _replace_depthwise(graph: ir.Graph, site: str, node: ir.Node) -> None:
    weight, bias = _weights(node)
    followers = take_followers(node, residual=False)
    draft = _Draft(graph=graph, site=site, kind="DepthwiseConv", inputs=[node.inputs[0]])
    draft.add_constant("weight", weight)
    draft.add_constant("bias", bias)
    draft.attributes |= _geometry(node, weight) | followers.limits()
    _put(graph, node, followers, draft.node())


def _replace_linear(graph: ir.Graph, site: str, node: ir.Node, rows: int) -> None:
    """Replace ``MatMul -> Add(bias) -> Relu`` over (N, tokens, K) by transposing, convolving and transposing back."""
    x, weight = node.inputs[0], constant(node.inputs[1])
    assert x is not None
    assert x.shape is not None
    assert weight is not None
    followers = take_followers(node, residual=False)
    bias = np.zeros(weight.shape[1], np.float32) if followers.bias is None else followers.bias
    turned = ir.node("Transpose", [x], attributes={"perm": TOKENS_LAST}, metadata_props={SITE: site})
    turned.name, turned.outputs[0].name = f"{site}/Transpose", f"{site}/Transpose:0"
    draft = _Draft(graph=graph, site=site, kind="SparseConv", inputs=[turned.outputs[0]])
    _add_blocks(draft, weight.T[:, :, None, None], rows, bias)
    draft.attributes |= {"input": [x.shape.numpy()[2], x.shape.numpy()[1], 1], "kernel": [1, 1], "strides": [1, 1]}
    draft.attributes |= {"pads": [0, 0, 0, 0], **followers.limits()}
    product = draft.node()
    product.outputs[0].name = f"{site}/SparseConv:0"
    back = ir.node("Transpose", [product.outputs[0]], attributes={"perm": TOKENS_LAST}, metadata_props={SITE: site})
    back.name = f"{site}/Transpose_1"
    graph.insert_before(followers.last, [turned, product])
    _put(graph, node, followers, back)


def _weights(node: ir.Node) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the weight of a convolution and its bias, zeros if it has none."""
    weight, bias = constant(node.inputs[1]), constant(node.inputs[2]) if len(node.inputs) > 2 else None
    assert weight is not None
    return weight, np.zeros(len(weight), np.float32) if bias is None else bias


def _add_blocks(draft: _Draft, weight: NDArray[np.float32], rows: int, bias: NDArray[np.float32]) -> None:
    blocks = compress(weight, rows)
    for name in ("values", "columns", "starts"):
        draft.add_constant(name, getattr(blocks, name))
    draft.add_constant("bias", bias)
    draft.attributes |= {"rows": rows, "out_channels": len(weight)}


def _geometry(node: ir.Node, weight: NDArray[np.float32]) -> dict[str, int | float | list[int]]:
    x = node.inputs[0]
    assert x is not None
    assert x.shape is not None
    return {
        "input": list(x.shape.numpy()[1:]),
        "kernel": list(weight.shape[2:]),
        "strides": list(node.attributes.get_ints("strides", (1, 1))),
        "pads": list(node.attributes.get_ints("pads", (0, 0, 0, 0))),
    }


def _put(graph: ir.Graph, node: ir.Node, followers: Followers, new: ir.Node) -> None:
    """Put a node in the place of an operator and of what it takes in, and give it their last output."""
    before, after = followers.last.outputs[0], new.outputs[0]
    after.name, after.shape, after.type = before.name, before.shape, before.type
    graph.insert_before(followers.last, new)
    before.replace_all_uses_with(after, replace_graph_outputs=True)
    for old in reversed([node, *followers.nodes]):
        graph.remove(old, safe=True)
