"""Networks in which every precision and width is there at once, on one set of weights, and how they are trained."""

from hwcomp.supernet.build import Supernet, Widths, supernet
from hwcomp.supernet.coefficients import logits_of, set_coefficients, sites_of, weight_parameters
from hwcomp.supernet.fixed import learned_params, quantised
from hwcomp.supernet.gates import insert_width_choices
from hwcomp.supernet.precision import Mixing, PrecisionSite
from hwcomp.supernet.site import Site
from hwcomp.supernet.trained import weights_to_source
from hwcomp.supernet.width import WidthSite

__all__ = [
    "Mixing",
    "PrecisionSite",
    "Site",
    "Supernet",
    "WidthSite",
    "Widths",
    "insert_width_choices",
    "learned_params",
    "logits_of",
    "quantised",
    "set_coefficients",
    "sites_of",
    "supernet",
    "weight_parameters",
    "weights_to_source",
]
