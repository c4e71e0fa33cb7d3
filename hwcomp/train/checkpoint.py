"""A training on disk: one safetensors file with its facts as JSON in the header, replaced as a whole or not at all."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hwcomp.stages import write_atomically

FORMAT = 1
HEADER = "hwcomp_training"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        tensors: of the network, its average, the optimiser and the hooks, by name.
        facts: everything else, as JSON takes it.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


class CheckpointFile:
    """The checkpoint of one training at one path.

    Args:
        path: of the file; None for no checkpoints.
        belongs: what model, data and configuration it goes with; a file of others is not used.
        tell: says a sentence, if it was not said before.
    """

    def __init__(self, path: Path | None, belongs: Mapping[str, Any], tell: Callable[[str], None]) -> None:
        self.path, self._tell = path, tell
        self._belongs = hashlib.sha256(json.dumps([FORMAT, belongs], sort_keys=True).encode()).hexdigest()

    def write(self, checkpoint: Checkpoint) -> None:
        """Replace the file; if the disk is full or read-only, keep the old one and say so."""
        if self.path is None:
            return
        header = json.dumps({"belongs": self._belongs, "facts": checkpoint.facts})
        try:
            write_atomically(self.path, save(dict(checkpoint.tensors), metadata={HEADER: header}))
        except OSError as error:
            self._tell(
                f"The checkpoint '{self.path}' cannot be written ({error.strerror or error}); training goes on, "
                "and an older checkpoint stays as it was."
            )

    def read(self) -> Checkpoint | None:
        """Return what the file holds, or None if there is none that is whole and goes with this training."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                header = json.loads((file.metadata() or {})[HEADER])
                if header["belongs"] != self._belongs:
                    self._tell(f"The checkpoint '{self.path}' is of another model, data or options; it is not used.")
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
                return Checkpoint(tensors=tensors, facts=header["facts"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            self._tell(f"The checkpoint '{self.path}' is damaged, or is none; it is not used.")
            return None
