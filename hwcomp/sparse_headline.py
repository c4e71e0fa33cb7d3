"""What a compilation made of zeros in weights, in words."""

from hwcomp.headline import Headline
from hwcomp.manifest import Manifest
from hwcomp.scheme import sparse_of


def densities(manifest: Manifest) -> list[float]:
    """Return the densities of the layers that leave zeros out, the lowest first."""
    return sorted(sparse.density for choice in manifest.assignment.values() if (sparse := sparse_of(choice)))


def sparse_headline(manifest: Manifest) -> Headline | None:
    """Tell how many layers leave zeros out, and which share of their weights is left; None if none does."""
    found = densities(manifest)
    if not found:
        return None
    low, high = (f"{100 * density:.0f} %" for density in (found[0], found[-1]))
    stays = low if low == high else f"{low} to {high}"
    if len(found) == 1:
        return Headline(
            label="Sparse", value="1 layer", words="leaves zeros out", detail=f"{stays} of its weights stay"
        )
    return Headline(
        label="Sparse", value=f"{len(found)} layers", words="leave zeros out", detail=f"{stays} of their weights stay"
    )
