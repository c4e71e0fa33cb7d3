"""What `hwcomp doctor` says of the size of the space."""

import torch
from rich.console import Console
from torch import nn

from hwcomp import target
from hwcomp.console import Reporter
from hwcomp.default_passes import default_passes
from hwcomp.diagnosis import report_space, with_split_layers
from hwcomp.groups import width_groups
from hwcomp.kernels import search_space
from hwcomp.program import run_passes
from hwcomp.space import SearchSpace, Site
from hwcomp.tracing import trace


def told(model: nn.Module, *candidates: int) -> str:
    """Return the line about a network whose operators have so many candidates of precision."""
    sites = tuple(
        Site(name=str(n), op="conv2d", candidates=tuple(map(str, range(count)))) for n, count in enumerate(candidates)
    )
    console = Console(width=300, color_system=None)
    with console.capture() as capture:
        groups = width_groups(trace(model, (torch.zeros(1, 3, 8, 8),)))
        space = SearchSpace(sites=sites, edges=())
        report_space(space, groups, Reporter(console), space)
    return capture.get()


def test_space_is_counted_by_precision_and_with_widths() -> None:
    """8 widths of 64 channels and 4 of 32, beside 10 times 10 precisions: 3200 networks."""
    model = nn.Sequential(nn.Conv2d(3, 64, 1), nn.ReLU(), nn.Conv2d(64, 32, 1), nn.ReLU(), nn.Conv2d(32, 4, 1))
    text = told(model, 10, 10, 1)
    assert "10^2 assignments of precision to 2 operators; about 10^4 with widths: 2 groups of channels, " in text
    assert "4 to 8 widths each in multiples of 8 (an estimate: " in text


def test_wide_groups_have_no_more_widths_than_a_search_takes() -> None:
    """16 of 1024 channels."""
    model = nn.Sequential(nn.Conv2d(3, 1024, 1), nn.ReLU(), nn.Conv2d(1024, 4, 1))
    assert "about 10^1 with widths: 1 group of channels, 16 widths each" in told(model, 1)


def test_network_of_one_layer_has_nothing_to_remove() -> None:
    """Its outputs are the network's."""
    assert "10^1 assignments of precision to 1 operators; no channels that could be removed" in told(
        nn.Conv2d(3, 8, 1), 10
    )


def test_layers_of_two_precisions_are_counted_where_they_are_possible() -> None:
    """The second layer is wide enough; the first is narrower than two fast blocks, and the last one makes the outputs.

    The wide one may also have two schemes.
    """
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 32, 1), nn.ReLU(), nn.Conv2d(32, 4, 1))
    network = trace(model.eval(), (torch.zeros(1, 3, 8, 8),))
    space, groups = search_space(run_passes(network, default_passes(target.load("x86_64")))), width_groups(network)
    assert with_split_layers(space, network, groups, 0.0) == space
    split = with_split_layers(space, network, groups, 0.25)
    further = {
        now.name: now.candidates[len(before.candidates) :]
        for before, now in zip(space.sites, split.sites, strict=True)
        if now != before
    }
    assert further == {"_2": ("float:0.25+int8",)}
    console = Console(width=300, color_system=None)
    with console.capture() as capture:
        report_space(space, groups, Reporter(console), split)
    assert f"; at most 10^{split.size_log10:.0f} with two in one layer, which 1 could have; about 10^" in capture.get()
