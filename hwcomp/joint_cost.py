r"""What a choice of schemes and widths together costs on a target.

Every entry of a cost table, which holds for the full widths, is given the law by which it falls with the widths n:

.. math:: T(a, n) = c \Big( \sum_s t_{s,a_s}(n) + \sum_e q_e(n) [\text{made in float, read as integers}]
          + \sum_e d_e(n) [\text{made as integers, read in float}] \Big)
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import hypot
from typing import Any

from torch import Tensor

from hwcomp.cost import CostTable
from hwcomp.errors import InputError
from hwcomp.joint_expectation import DrawnWidth, Expectation
from hwcomp.space import Assignment, conversion
from hwcomp.width_law import Polynomial, Widths

LawsByName = Mapping[str, Polynomial]


@dataclass(frozen=True, kw_only=True)
class JointTable:
    """Latency of every site and candidate, and of every boundary between integers and float, by the widths.

    Attributes:
        table: the costs at full widths.
        channels: group -> full width.
        site_laws: t, site -> candidate -> microseconds by the widths, at full widths those of the table.
        quantize_laws: q, tensor -> microseconds, likewise.
        dequantize_laws: d, likewise.
        error: median relative error of how the latency falls, on networks that were left out of the fit.
        networks: how many were timed.
        multiple: channel counts that are fast.
    """

    table: CostTable
    channels: Widths
    site_laws: Mapping[str, LawsByName]
    quantize_laws: LawsByName
    dequantize_laws: LawsByName
    error: float = 0.0
    networks: int = 0
    multiple: int = 1

    def __str__(self) -> str:
        """Return in words what was found."""
        return (
            f"{self.networks} networks of other widths timed, in float and in integers, +-{100 * self.error:.0f} % on "
            f"networks left out; channel counts are multiples of {self.multiple}"
        )

    def at(self, widths: Widths) -> CostTable:
        """Return the cost table of a network of other widths; its space still tells the sizes of the full one.

        Raises:
            InputError: a group that is not in the table, or a width that it cannot have.
        """
        whole = self._whole(widths)
        return replace(
            self.table,
            site_us={site: _values(laws, whole) for site, laws in self.site_laws.items()},
            quantize_us=_values(self.quantize_laws, whole),
            dequantize_us=_values(self.dequantize_laws, whole),
            error=hypot(self.table.error, self.error),
        )

    def predict_us(self, assignment: Assignment, widths: Widths) -> float:
        """Return T of one assignment at some widths; raises as `at` does."""
        return self.at(widths).predict_us(assignment)

    def law(self, assignment: Assignment) -> Polynomial:
        """Return T of one assignment by the widths, for widths that name every group."""
        space = self.table.space
        chosen = space.complete(assignment)
        laws = [self.site_laws[site][choice] for site, choice in chosen.items()]
        for edge in space.edges:
            change = conversion(edge, chosen)
            if change is not None:
                laws.append((self.quantize_laws if change == "quantize" else self.dequantize_laws)[edge.tensor])
        return sum(laws, Polynomial()).scaled(self.table.correction)

    def expected_us(self, probabilities: Mapping[str, Tensor], widths: Mapping[str, DrawnWidth]) -> Tensor:
        """Return the expectation of T when every site and every group draws independently; differentiable in both.

        Args:
            probabilities: site -> tensor (candidates,), in the order of the site's candidates; a site that is not
                named is float.
            widths: group -> widths and their probabilities; a group that is not named has its full width.

        Raises:
            InputError: a site or group that is not in the table, or probabilities of another number of candidates.
        """
        return self.table.correction * self._expectation(probabilities, widths)

    def anchored(self, table: CostTable) -> "JointTable":
        """Return the same laws for another table of the same space: measured at another time, say."""

        def scaled(laws: LawsByName, times_us: Mapping[str, float]) -> dict[str, Polynomial]:
            return {name: at_full(law, times_us[name], self.channels) for name, law in laws.items()}

        return replace(
            self,
            table=table,
            site_laws={site: scaled(laws, table.site_us[site]) for site, laws in self.site_laws.items()},
            quantize_laws=scaled(self.quantize_laws, table.quantize_us),
            dequantize_laws=scaled(self.dequantize_laws, table.dequantize_us),
        )

    def with_candidates(self, added: Mapping[str, LawsByName]) -> "JointTable":
        """Return the table with further candidates, site -> candidate -> microseconds by the widths."""
        table, space = self.table, self.table.space
        own = {site.name: added.get(site.name, {}) for site in space.sites}
        sites = tuple(replace(site, candidates=(*site.candidates, *own[site.name])) for site in space.sites)
        site_us = {site: {**times, **_values(own[site], self.channels)} for site, times in table.site_us.items()}
        return replace(
            self,
            table=replace(table, space=replace(space, sites=sites), site_us=site_us),
            site_laws={site: {**laws, **own[site]} for site, laws in self.site_laws.items()},
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "table": self.table.as_json(),
            "channels": dict(self.channels),
            "site_laws": {site: _as_json(laws) for site, laws in self.site_laws.items()},
            "quantize_laws": _as_json(self.quantize_laws),
            "dequantize_laws": _as_json(self.dequantize_laws),
            "error": self.error,
            "networks": self.networks,
            "multiple": self.multiple,
        }

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "JointTable":
        """Return what `as_json` gave."""
        return cls(
            table=CostTable.of_json(kept["table"]),
            channels=kept["channels"],
            site_laws={site: _of_json(laws) for site, laws in kept["site_laws"].items()},
            quantize_laws=_of_json(kept["quantize_laws"]),
            dequantize_laws=_of_json(kept["dequantize_laws"]),
            error=kept["error"],
            networks=kept["networks"],
            multiple=kept["multiple"],
        )

    @cached_property
    def _expectation(self) -> Expectation:
        return Expectation(
            self.table.space,
            self.channels,
            sites=self.site_laws,
            quantize=self.quantize_laws,
            dequantize=self.dequantize_laws,
        )

    def _whole(self, widths: Widths) -> dict[str, int]:
        """Return the width of every group."""
        for group, width in widths.items():
            if group not in self.channels:
                known = ", ".join(self.channels) or "none"
                raise InputError(f"The latency table has no width group '{group}'; take one of: {known}.")
            if not 1 <= width <= self.channels[group]:
                raise InputError(
                    f"Group '{group}' cannot have {width} channels; give it between 1 and {self.channels[group]}."
                )
        return {**self.channels, **widths}


def _values(laws: LawsByName, widths: Widths) -> dict[str, float]:
    return {name: law(widths) for name, law in laws.items()}


def _as_json(laws: LawsByName) -> dict[str, Any]:
    return {name: law.as_json() for name, law in laws.items()}


def _of_json(kept: Mapping[str, Any]) -> dict[str, Polynomial]:
    return {name: Polynomial.of_json(law) for name, law in kept.items()}


def at_full(law: Polynomial, us: float, channels: Widths) -> Polynomial:
    """Return the multiple of a law that takes so long at full widths; constant where the law is nothing there."""
    whole_us = law(channels)
    return law.scaled(us / whole_us) if whole_us > 0 else Polynomial(constant=us)
