"""What an artifact's network computes in plain PyTorch, by the source and the weights beside its model."""

import importlib.util
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from hwcomp.errors import InputError
from hwcomp.lowering.onnxruntime import Array, Feed

SOURCE, WEIGHTS = "program/network.py", "program/weights.safetensors"


def plain_outputs(folder: Path, feed: Feed) -> list[Array]:
    """Return the outputs of an artifact's program.

    Args:
        folder: the artifact; its source is executed.
        feed: inputs in their order.

    Raises:
        InputError: the artifact has no program, or one that PyTorch alone cannot run.
    """
    specification = importlib.util.spec_from_file_location("network", folder / SOURCE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
        kinds = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, nn.Module)]
        network = next(one for one in reversed(kinds) if one.__module__ == module.__name__)()
        network.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    except (OSError, ImportError, StopIteration, RuntimeError) as error:
        raise InputError(
            f"'{folder}' has no program that PyTorch alone can run ({error}), so there is nothing to compare with; "
            "compile again."
        ) from error
    with torch.no_grad():
        made = network.eval()(*(torch.from_numpy(array.copy()) for array in feed.values()))
    return [one.numpy() for one in (made if isinstance(made, tuple | list) else (made,))]
