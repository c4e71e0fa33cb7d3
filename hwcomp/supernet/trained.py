"""Trained supernet -> the network as it was traced, with the weights of the training."""

import copy
from dataclasses import replace

from torch import nn

from hwcomp.errors import InputError
from hwcomp.program import Program


def weights_to_source(trained: nn.Module, form: Program, source: Program) -> Program:
    """Return a copy of the source with the weights and statistics of a trained copy of another form of it.

    Forms (a supernet, a quantised program) keep the leaf modules of their source. So both are copied together, and
    loading the state of the trained copy into the copied form gives it to the copied source as well. What belongs to
    the form alone (logits, steps) is left behind.

    Args:
        trained: what training gave back: a trained copy of the form's module.
        form: what was trained, as it was before; its leaf modules are those of the source.
        source: the network as traced; it is not changed.

    Raises:
        InputError: the trained module is no copy of the form.
    """
    pair = copy.deepcopy((form.module, source.module))
    state = trained.state_dict()
    names = set(pair[0].state_dict())
    if set(state) != names:
        other = min(set(state) ^ names)
        raise InputError(f"The trained network is no copy of this one: only one of them has '{other}'.")
    pair[0].load_state_dict(state)
    return replace(source, module=pair[1])
