"""An ONNX graph and what was chosen for its sites -> the file with sparse layers, which carries their kernels."""

from collections.abc import Mapping, Sequence
from functools import cache

import onnx_ir as ir
import torch

from hwcomp.lowering.embedded import embed
from hwcomp.lowering.onnx_export import SITE
from hwcomp.lowering.sparse_nodes import insert_sparse
from hwcomp.lowering.sparse_refusals import operator_of, why_not
from hwcomp.scheme import Sparse, sparse_of
from hwcomp.sparse_kernels.format import BLOCK, SINGLE
from hwcomp.sparse_kernels.library import build
from hwcomp.sparse_kernels.tir_build import tile_object, vectors_of
from hwcomp.sparsity import size_mask
from hwcomp.stages import Stages, cache_root


def sparse_file(model: ir.Model, assignment: Mapping[str, str], isa: Sequence[str]) -> bytes:
    """Return a lowered graph as a file, sites with sparse schemes computed by the library that the file carries.

    Weights that a scheme leaves out become zero. A depthwise convolution beside a sparse one is computed by the library
    too: ONNX Runtime's own wants channels in blocks of 16, and would turn them around before and after.

    Args:
        model: behind `hwcomp.lowering.qdq.insert_qdq`.
        assignment: site -> scheme.
        isa: of the target.

    Raises:
        LoweringError: there is no C compiler for the target, or no kernel for a site.
    """
    chosen = {site: sparse for site, scheme in assignment.items() if (sparse := sparse_of(scheme)) is not None}
    if not chosen:
        return _bytes(model)
    model = model.clone()
    for site, sparse in chosen.items():
        _leave_out(model, site, sparse)
    rows = {site: BLOCK if sparse.rows % BLOCK == 0 else SINGLE for site, sparse in chosen.items()}
    lowered = insert_sparse(model, rows, _depthwise_beside(model, chosen))
    return embed(_bytes(lowered), kernel_library(tuple(isa)))


@cache
def kernel_library(isa: tuple[str, ...]) -> bytes:
    """Return the library of sparse kernels for an instruction set, built if it is not in the cache.

    Raises:
        InputError: there are no kernels for it.
        LoweringError: there is no C compiler for it.
    """
    vectors = vectors_of(isa)
    return build(vectors, [tile_object(vectors, Stages(cache_root()))]).read_bytes()


def _leave_out(model: ir.Model, site: str, sparse: Sparse) -> None:
    """Set the weights of a site to zero that its scheme leaves out; its own zeros are the first of them."""
    node = operator_of(model.graph, site)
    value = None if node is None else node.inputs[1]
    if node is None or value is None or value.const_value is None:
        return  # what cannot be lowered is named by `insert_sparse`
    weight = torch.from_numpy(value.const_value.numpy().copy())
    is_matrix = node.op_type == "MatMul"  # inputs are its rows
    mask = size_mask(weight.T if is_matrix else weight, sparse)
    kept = (weight * (mask.T if is_matrix else mask)).numpy()
    name = f"{site}/sparse_weight"
    masked = ir.Value(name=name, const_value=ir.tensor(kept, name=name))
    model.graph.register_initializer(masked)
    node.replace_input_with(1, masked)


def _depthwise_beside(model: ir.Model, chosen: Mapping[str, Sparse]) -> list[str]:
    """Return the sites of depthwise convolutions that read from a sparse layer or are read by one."""
    beside = []
    for node in model.graph:
        site = node.metadata_props.get(SITE, "")
        if node.op_type != "Conv" or site in chosen or why_not(model, site, depthwise=True) is not None:
            continue
        if _reaches(node, chosen, back=True) or _reaches(node, chosen, back=False):
            beside.append(site)
    return beside


def _reaches(node: ir.Node, chosen: Mapping[str, Sparse], *, back: bool) -> bool:
    """Return whether a sparse layer is next to a node, in one direction, activations between them not counted."""
    for _ in range(3):
        values = node.inputs[:1] if back else node.outputs[:1]
        near = [n for v in values if v is not None for n in ([v.producer()] if back else [u.node for u in v.uses()])]
        if len(near) != 1 or near[0] is None:
            return False
        node = near[0]
        if node.metadata_props.get(SITE, "") in chosen:
            return True
        if node.op_type not in ("Relu", "Clip"):
            return False
    return False


def _bytes(model: ir.Model) -> bytes:
    content: bytes = ir.to_proto(model).SerializeToString()
    return content
