"""What a search sees of a supernet: its sites, their logits, and the coefficients of the next forward."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hwcomp.supernet.precision import Mixing, PrecisionSite
from hwcomp.supernet.site import Site
from hwcomp.supernet.stores import StoredTensor


def sites_of(module: nn.Module) -> dict[str, Site]:
    """Return the sites of a supernet, or of a copy of it, by name: nodes, and "width:" with a group."""
    return {part.name: part for part in module.modules() if isinstance(part, Site)}


def logits_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the logits of every site by name, (candidates,) each: the parameters themselves."""
    return {name: site.logits for name, site in sites_of(module).items()}


def weight_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return all parameters of a supernet but the logits, those that are trained alone: weights, norms and steps."""
    logits = {id(site.logits) for site in sites_of(module).values()}
    return [x for x in module.parameters() if id(x) not in logits and x.requires_grad]


def set_coefficients(module: nn.Module, coefficients: Mapping[str, Tensor], mixing: Mixing = "weights") -> None:
    r"""Set what the next forwards of a supernet mix with.

    Sites that are not named compute in float, at full width; so an empty mapping gives the network itself. A tensor is
    rounded in the share in which somebody stores it as integers, its maker or a reader:

    .. math:: p = 1 - (1 - p_{written}) \prod_r (1 - p_{read,r})

    Then readers that would take it in float see it rounded as well. Gradients flow back to coefficients that ask for
    them. Set them anew for every backward: what one call computes here serves one graph.

    Args:
        module: a supernet or a copy of it.
        coefficients: site -> (candidates,), not negative, usually with the sum 1.
        mixing: of sites that choose a precision.

    Raises:
        ValueError: a site is not there, or has another number of candidates.
    """
    sites = sites_of(module)
    for name, given in coefficients.items():
        if name not in sites or given.shape != sites[name].logits.shape:
            expected = tuple(sites[name].logits.shape) if name in sites else "no such site"
            raise ValueError(f"Coefficients of '{name}' have the shape {tuple(given.shape)}, expected: {expected}")
    for name, site in sites.items():
        site.coefficients = coefficients.get(name)
        if isinstance(site, PrecisionSite):
            site.mixing = mixing
    _set_shares([part for part in module.modules() if isinstance(part, StoredTensor)], sites)


def _set_shares(stored: list[StoredTensor], sites: Mapping[str, Site]) -> None:
    """Tell each tensor in which share it is stored as integers; those that are known to be 0 or 1 become numbers."""
    found = [(one, share) for one in stored if (share := _share(one, sites)) is not None]
    for one in stored:
        one.share = 0.0
    constant = [(one, share) for one, share in found if not share.requires_grad]
    values = torch.stack([share for _, share in constant]).tolist() if constant else []
    for one, share in found:
        one.share = share
    for (one, _), value in zip(constant, values, strict=True):
        if value in (0.0, 1.0):
            one.share = value


def _share(stored: StoredTensor, sites: Mapping[str, Site]) -> Tensor | None:
    """Return in which share a tensor is stored as integers; None if nobody can ask for it."""
    left = None
    for name, kind in ((stored.tensor, "writes"), *((reader, "reads") for reader in stored.readers)):
        site = sites.get(name)
        if isinstance(site, PrecisionSite) and site.coefficients is not None:
            other = 1 - (site.coefficients * (site.writes if kind == "writes" else site.reads)).sum()
            left = other if left is None else left * other
    return None if left is None else 1 - left
