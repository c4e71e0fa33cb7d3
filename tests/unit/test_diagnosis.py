"""What `hwcomp doctor` says of the size of the space."""

import torch
from rich.console import Console
from torch import nn

from hwcomp.console import Reporter
from hwcomp.diagnosis import report_space
from hwcomp.groups import width_groups
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
        report_space(SearchSpace(sites=sites, edges=()), groups, Reporter(console))
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
