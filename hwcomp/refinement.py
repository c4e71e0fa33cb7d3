"""What a measured candidate tells the table: where its time really goes."""

from dataclasses import replace

from hwcomp.cost import CostTable
from hwcomp.entries import Profile
from hwcomp.scheme import FLOAT
from hwcomp.space import SearchSpace, conversion


def refined(table: CostTable, profile: Profile, latency_us: float) -> CostTable:
    """Return the table whose prediction for a profiled assignment is the latency that was measured of it.

    Kernels and conversions of the profile take their place in the table, scaled to add up to the whole run. A float
    operator that is slower behind a conversion than the table says leaves the difference to the conversion, so that it
    is not charged where the operator reads float.
    """
    chosen = table.space.complete(profile.assignment)
    scale = latency_us / _entered_us(table.space, profile) / table.correction
    site_us = {site: scale * us for site, us in profile.site_us.items()}
    tensor_us = {tensor: scale * us for tensor, us in profile.tensor_us.items()}
    conversions: dict[str, dict[str, float]] = {"quantize": {}, "dequantize": {}}
    for edge in table.space.edges:
        change = conversion(edge, chosen)
        if change is None:
            continue
        us = tensor_us.pop(edge.tensor, 0.0)
        for reader in dict.fromkeys(edge.readers):
            if change == "dequantize" and chosen.get(reader) == FLOAT and reader in site_us:
                slower = max(0.0, site_us[reader] - table.site_us[reader][FLOAT])
                site_us[reader] -= slower
                us += slower
        conversions[change][edge.tensor] = us
    for tensor, us in tensor_us.items():  # what is left are changes of the memory layout
        if tensor in site_us:
            site_us[tensor] += us
    return replace(
        table,
        site_us={site: {**us, chosen[site]: site_us.get(site, 0.0)} for site, us in table.site_us.items()},
        quantize_us={**table.quantize_us, **conversions["quantize"]},
        dequantize_us={**table.dequantize_us, **conversions["dequantize"]},
    )


def _entered_us(space: SearchSpace, profile: Profile) -> float:
    """Return the time of what has an entry in a table: the layout of an input, and what is no site, has none."""
    sites = {site.name for site in space.sites}
    tensors = sites | {edge.tensor for edge in space.edges if conversion(edge, profile.assignment)}
    return sum(us for site, us in profile.site_us.items() if site in sites) + sum(
        us for tensor, us in profile.tensor_us.items() if tensor in tensors
    )
