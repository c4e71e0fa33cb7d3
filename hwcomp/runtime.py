"""``hwcomp.load("build/")``: run an artifact from Python."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hwcomp import artifact
from hwcomp.devices import CPU
from hwcomp.devices.agent.providers import PROVIDERS
from hwcomp.errors import InputError
from hwcomp.lowering.onnxruntime import Array, check_feed
from hwcomp.manifest import Manifest
from hwcomp.sessions import open_model
from hwcomp.target import usable_cores


class Session:
    """A compiled network, ready to run.

    Attributes:
        manifest: everything that is known about it.
    """

    def __init__(self, folder: Path, threads: int | None = None, provider: str | None = None) -> None:
        self.manifest: Manifest = artifact.read(folder)
        path, made_for = artifact.model_path(folder), self.manifest.target
        chosen = provider or made_for.provider
        usual = made_for.threads if made_for.provider == CPU else usable_cores()  # a GPU's are multiprocessors
        self._session = open_model(path, threads or (usual if chosen == CPU else 1), chosen)
        self._names = [item.name for item in self._session.get_inputs()]

    def __call__(self, *inputs: Array | Tensor) -> Array | Tensor | tuple[Array, ...] | tuple[Tensor, ...]:
        """Run the network on arrays or tensors, of the shapes it was compiled for, and return the same kind.

        Raises:
            InputError: their number, shapes or number formats do not fit.
        """
        if len(inputs) != len(self._names):
            raise InputError(
                f"The model takes {len(self._names)} inputs ({', '.join(self._names)}); found {len(inputs)}."
            )
        arrays = [x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x) for x in inputs]
        feed = dict(zip(self._names, arrays, strict=True))
        check_feed(self._session, feed)
        outputs = self._session.run(None, feed)
        if isinstance(inputs[0], Tensor):
            tensors = tuple(torch.from_numpy(output) for output in outputs)
            return tensors[0] if len(tensors) == 1 else tensors
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


def load(path: str | Path, threads: int | None = None, provider: str | None = None) -> Session:
    """Load an artifact folder.

    Args:
        path: of the folder.
        threads: of the processor; those that the artifact was compiled for if None.
        provider: of ONNX Runtime: "cpu", "cuda" or "tensorrt"; the target's if None. One for a GPU can be run by the
            processor, to see what it computes.

    Raises:
        InputError: it is no artifact, it is damaged, or there is no such provider.
        DeviceError: it is for a GPU, and there is none.
    """
    if provider is not None and provider not in PROVIDERS:
        raise InputError(f"There is no provider '{provider}'; give one of {', '.join(PROVIDERS)}.")
    return Session(Path(path), threads, provider)
