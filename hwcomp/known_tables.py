"""The table of a device that is not at hand: the best that is known of it.

In order: rows of the latency store that were measured on such a device, with its learned model where kernels are
missing; a shipped table of such measurements; instructions counted under emulation, here or in the shipped table; the
roofline. A table is never put together
from several of these.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import hypot
from statistics import median

from hwcomp.correction import Run, corrected
from hwcomp.cost import CostTable
from hwcomp.cost_models._shipped import shipped_model, shipped_table
from hwcomp.cost_models.instructions import Instructions
from hwcomp.cost_models.learned import Learned, LearnedModel
from hwcomp.cost_models.lookup import Lookup
from hwcomp.cost_models.roofline import Roofline
from hwcomp.errors import InputError
from hwcomp.kernel import Kernels
from hwcomp.latency_table import as_run, trust
from hwcomp.learned_file import read_model
from hwcomp.provenance import Provenance
from hwcomp.space import SearchSpace
from hwcomp.store import Setting, Store
from hwcomp.target import Target

SIMULATED_THREADS = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A table, and in words where it is from.

    Attributes:
        table: in microseconds.
        source: for people.
        threads: of the runtime that it is for.
    """

    table: CostTable
    source: str
    threads: int


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownTables:
    """What is known of the devices of a target.

    Attributes:
        target: that is compiled for.
        store: measured and counted latencies.
        threads: that were asked for; None for as many as something is known about.
    """

    target: Target
    store: Store
    threads: int | None

    def best(self, space: SearchSpace, kernels: Kernels, network: str) -> Known:
        """Return the best table of a network; ``network`` is its hash in the store."""
        for setting in self._measured_settings():
            table = self._measured(setting, space, kernels, network)
            if table is not None:
                source = f"measured on {setting.device}, {setting.runtime}, {trust(table)}"
                return Known(table=table, source=source, threads=setting.threads)
        shipped = self._shipped(space, kernels)
        if shipped is not None:
            return shipped
        simulated = self._simulated(space, kernels, network)
        if simulated is not None:
            return simulated
        threads = self.threads or self.target.hardware.cores
        table = Roofline(target=self.target, threads=threads).cost_table(space, kernels)
        return Known(table=table, source=f"roofline, nothing was measured, {trust(table)}", threads=threads)

    def _measured_settings(self) -> list[Setting]:
        """Return the settings under which such a device was measured, by its GPU's or its processor's name."""
        gpu = self.target.gpu
        if gpu is not None:
            return [one for one in self._settings("gpu: ") if gpu.is_called(one.device.partition(" | ")[0])]
        return self._settings(f"cpu: {self.target.cpu} | ") if self.target.cpu else []

    def _settings(self, device: str) -> list[Setting]:
        """Return the store's settings of a device, those with the most kernels first."""
        found = [one for one in self.store.settings() if f"{one.setting.device} | ".startswith(device)]
        found = [one for one in found if self.threads in (None, one.setting.threads)]
        return [one.setting for one in sorted(found, key=lambda one: -one.kernels)]

    def _rows(self, setting: Setting, kernels: Kernels, provenance: Provenance) -> dict[str, float]:
        """Return what the store has of the kernels; rows of another kind, which an import may bring, do not count."""
        rows = self.store.kernels(setting, kernels.keys).items()
        return {key: row.median_us for key, row in rows if row.provenance == provenance}

    def _shipped(self, space: SearchSpace, kernels: Kernels) -> Known | None:
        """Return the table that was measured on such a device and comes with hwcomp."""
        shipped = shipped_table(self.target.name)
        if shipped is None or shipped.provenance != "measured" or self.threads not in (None, shipped.threads):
            return None
        table = _of_rows(shipped.rows, shipped_model(self.target.name), space, kernels)
        if table is None:
            return None
        source = f"measured on {shipped.device}, {shipped.runtime}, shipped with hwcomp, {trust(table)}"
        return Known(table=table, source=source, threads=shipped.threads)

    def _measured(self, setting: Setting, space: SearchSpace, kernels: Kernels, network: str) -> CostTable | None:
        rows = self._rows(setting, kernels, "measured")
        table = _of_rows(rows, read_model(self.store.path, setting), space, kernels)
        return None if table is None else self._corrected(table, setting, kernels, network)

    def _simulated(self, space: SearchSpace, kernels: Kernels, network: str) -> Known | None:
        if self.threads not in (None, SIMULATED_THREADS):
            return None
        for setting in self._settings(f"simulated: {self.target.name} | "):
            counted = self._rows(setting, kernels, "simulated")
            table = self._counted(counted, space, kernels) if counted else None
            if table is not None:
                return self._described(self._corrected(table, setting, kernels, network))
        shipped = shipped_table(self.target.name)
        is_counted = shipped is not None and shipped.provenance == "simulated"
        table = self._counted({}, space, kernels) if is_counted else None
        return None if table is None else self._described(table)

    def _counted(self, counted: Mapping[str, float], space: SearchSpace, kernels: Kernels) -> CostTable | None:
        try:
            return Instructions(target=self.target, counted=counted).cost_table(space, kernels)
        except InputError:
            return None

    def _described(self, table: CostTable) -> Known:
        learned = sum(source == "learned" for source in table.sources.values())
        predicted = f", {learned} of {len(table.space.sites)} operators predicted from others" if learned else ""
        source = f"instructions counted under emulation{predicted}, no such device was measured, {trust(table)}"
        return Known(table=table, source=source, threads=SIMULATED_THREADS)

    def _corrected(self, table: CostTable, setting: Setting, kernels: Kernels, network: str) -> CostTable:
        """Return the table corrected by whole runs of the network, where the store has some."""
        rows = [row for row in self.store.runs(setting, network) if row.provenance == table.provenance]
        if not rows:
            return table
        float_us = median(row.control_us for row in rows)
        floats = Run(assignment=table.space.everywhere(), latency_us=float_us)
        better = corrected(table, kernels, [floats, *(as_run(row, float_us) for row in rows)])
        return replace(better, error=hypot(better.error, table.error))


def _of_rows(
    rows: Mapping[str, float], model: LearnedModel | None, space: SearchSpace, kernels: Kernels
) -> CostTable | None:
    """Return the table of measured rows, what is missing by a model; None where there is none and something is."""
    if not Lookup(rows=rows).missing(kernels):
        return Lookup(rows=rows).cost_table(space, kernels)
    return None if model is None else Learned(model=model, measured=rows).cost_table(space, kernels)
