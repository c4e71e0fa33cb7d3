"""Exact zeros in the place of the smallest weights."""

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from hwcomp.ops import anchor, module_of
from hwcomp.program import Program
from hwcomp.scheme import Sparse, sparse_of
from hwcomp.sparsity.patterns import size_mask


def operator_with_zeros(op: nn.Module, sparse: Sparse) -> nn.Module:
    """Return a copy of an operator with zeros where a pattern leaves out its smallest weights.

    The operator itself is returned where it has all these zeros already.

    Args:
        op: a layer, perhaps with what is fused into it or normalises it.
        sparse: the pattern and its density.
    """
    weight = anchor(op).get_parameter("weight").detach()
    left_out = size_mask(weight, sparse) == 0
    if not bool(weight[left_out].any()):
        return op
    changed = copy.deepcopy(op)
    with torch.no_grad():
        anchor(changed).get_parameter("weight").masked_fill_(left_out, 0.0)
    return changed


def network_with_zeros(network: Program, assignment: Mapping[str, str]) -> Program:
    """Return a network whose sites with a sparse scheme have its zeros; itself where nothing changes.

    Args:
        network: as traced.
        assignment: site -> scheme; sites that are no layers of the network are passed over.
    """
    patterns = {site: sparse for site, choice in assignment.items() if (sparse := sparse_of(choice)) is not None}
    layers = {node.name: module for node in network.nodes if (module := module_of(node)) is not None}
    zeros = {
        site: anchor(changed).get_parameter("weight").detach()
        for site, sparse in patterns.items()
        if site in layers and (changed := operator_with_zeros(layers[site], sparse)) is not layers[site]
    }
    if not zeros:
        return network
    result = replace(network, module=copy.deepcopy(network.module))
    with torch.no_grad():
        for node in result.nodes:
            module = module_of(node)
            if module is not None and node.name in zeros:
                anchor(module).get_parameter("weight").copy_(zeros[node.name])
    return result
