"""Which layers become sparse where one density is given for all of them."""

import pytest
import torch
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.scheme import Sparse
from hwcomp.search.sparse_sites import SparseSites, sparse_sites
from hwcomp.tracing import trace

BLOCKS = Sparse(rows=4, density=0.1)


def found(model: nn.Module, *shape: int, sparse: Sparse = BLOCKS) -> SparseSites:
    return sparse_sites(trace(model.eval(), (torch.zeros(shape),)), sparse)


class Net(nn.Module):
    """A stem of two branches, a depthwise convolution, and two heads of which one does much."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
        self.wise, self.point, self.thin = (
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.Conv2d(8, 8, 1),
            nn.Conv2d(8, 2, 1),
        )
        self.hidden, self.small, self.large = nn.Linear(8, 64), nn.Linear(64, 4), nn.Linear(64, 256)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.point(self.wise(self.left(x) + self.right(x)))
        y = torch.relu(self.hidden(x.mean((2, 3)) + self.thin(x).mean()))
        return self.small(y), self.large(y)


def test_all_but_first_convolutions_small_classifiers_and_what_cannot_be() -> None:
    sites = found(Net(), 1, 3, 4, 4)
    assert sites.sites == ("point", "hidden", "large")
    reasons = {note.site: note.reason.removeprefix("stays dense: ") for note in sites.dense}
    assert {name: reason.split(" of ")[0] for name, reason in reasons.items()} == {
        "left": "it is the first convolution",
        "right": "it is the first convolution",
        "wise": "its channels are in 8 groups",
        "thin": "no pattern fits its weight",
        "small": f"the last layer does only {256 / 23232:.1%}",
    }


def test_in_a_perceptron_the_first_layer_becomes_sparse_too() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    assert found(model, 2, 16).sites == ("_0", "_2", "_4")
    assert found(model, 2, 16, sparse=Sparse(density=0.5, group=4)).sites == ("_0", "_2", "_4")
    assert found(model, 2, 16, sparse=Sparse(rows=8, density=0.5)).sites == ("_0", "_2")


def test_where_no_layer_is_left_the_reasons_are_told() -> None:
    with pytest.raises(InputError, match=r"can become sparse4x1:0.1 \(_0: stays dense: it is the first convolution"):
        found(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), 1, 3, 8, 8)
    with pytest.raises(InputError, match="it has no layers with weights"):
        found(nn.Sequential(nn.ReLU()), 1, 3, 8, 8)
