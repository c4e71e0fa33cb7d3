"""The table that comes with hwcomp for a target: counted under emulation, or measured on such a device."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from hwcomp.cost_models.learned import LearnedModel
from hwcomp.provenance import Provenance


@dataclass(frozen=True, kw_only=True, slots=True)
class Shipped:
    """A table as ``hwcomp profile export`` writes it, of one device.

    Attributes:
        device: its fingerprint.
        runtime: name and version.
        threads: of the runtime.
        provenance: of the rows.
        rows: kernel -> microseconds.
    """

    device: str
    runtime: str
    threads: int
    provenance: Provenance
    rows: Mapping[str, float]


@cache
def shipped_table(target: str) -> Shipped | None:
    """Return the table of a target, or None if there is none."""
    path = files("hwcomp.cost_models") / "tables" / f"{target}.jsonl"
    if not path.is_file():
        return None
    _, *lines = (json.loads(line) for line in path.read_text().splitlines())
    kernels = [line for line in lines if "kernel" in line]
    if not kernels:
        return None
    first = kernels[0]
    return Shipped(
        device=first["device"],
        runtime=first["runtime"],
        threads=first["threads"],
        provenance=first["provenance"],
        rows={line["kernel"]: line["median_us"] for line in kernels if line["provenance"] == first["provenance"]},
    )


@cache
def shipped_model(target: str) -> LearnedModel | None:
    """Return the model fitted to a target's shipped table, or None if there is none."""
    path = files("hwcomp.cost_models") / "tables" / f"{target}.model.json"
    return LearnedModel.from_json(path.read_text()) if path.is_file() else None
