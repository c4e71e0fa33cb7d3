r"""The cost model of a core that nobody has at hand: executed instructions of the real runtime, times a published rate.

.. math:: t = \frac{I \cdot \mathrm{CPI}}{f}

I: instructions that the runtime's kernel executes for that core, counted under emulation (see `hwcomp.emulation`); CPI:
cycles per instruction of such a core, an average over networks whose latencies were published; f: its clock. For one
thread. Rows of the table are counted in the context of whole networks; kernels that were not counted are predicted from
those that were. The error is that of the rate, which no count can lower, together with that of the prediction.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import hypot
from typing import final

from hwcomp.cost import CostTable
from hwcomp.cost_models._shipped import shipped_model, shipped_table
from hwcomp.cost_models.learned import Learned
from hwcomp.cost_models.lookup import Lookup
from hwcomp.errors import InputError
from hwcomp.kernel import Kernels
from hwcomp.space import SearchSpace
from hwcomp.target import Target


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Instructions:
    """The table of a simulated core.

    Attributes:
        target: whose core it is.
        counted: kernel -> microseconds, of networks that were counted for it here, besides the shipped table.
    """

    target: Target
    counted: Mapping[str, float] = field(default_factory=dict)

    def cost_table(self, space: SearchSpace, kernels: Kernels) -> CostTable:
        """Return the table, every operator's entries all counted or all predicted.

        Raises:
            InputError: there is no table for the target, and the kernels that were counted here do not suffice.
        """
        shipped = shipped_table(self.target.name)
        counted = shipped.rows if shipped is not None and shipped.provenance == "simulated" else {}
        rows = {**counted, **self.counted}
        lookup = Lookup(rows=rows, provenance="simulated")
        model = shipped_model(self.target.name)
        if not lookup.missing(kernels):
            table = lookup.cost_table(space, kernels)
        elif model is not None:
            table = Learned(model=model, measured=rows).cost_table(space, kernels)
        else:
            raise InputError(
                f"No instructions were counted for target '{self.target.name}'; `hwcomp profile MODEL --target "
                f"{self.target.name} --device emulated` counts them."
            )
        rate_error = self.target.hardware.cpi_error or 0.0
        return replace(table, error=hypot(table.error, rate_error), provenance="simulated")


COST_MODEL = Instructions
