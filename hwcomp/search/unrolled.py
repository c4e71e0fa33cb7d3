r"""The gradient of the choices through one step of the weights: DARTS to second order.

.. math:: \nabla_\alpha L_{held}(w', \alpha)
          - \xi \frac{\nabla_\alpha L_{train}(w^+, \alpha) - \nabla_\alpha L_{train}(w^-, \alpha)}{2R}, \quad
          w' = w - \xi (\nabla_w L_{train}(w, \alpha) + \lambda w), \quad
          w^\pm = w \pm R \, \nabla_{w'} L_{held}(w', \alpha), \quad R = \frac{0.01}{\| \nabla_{w'} L_{held} \|}

Source: eqs. 7 and 8 of [Liu2019]_. The momentum of the weights' optimiser is left out. It takes five passes where the
first order takes one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from hwcomp.estimators import Draw, Estimator

Loss = Callable[[Mapping[str, Tensor]], Tensor]
RADIUS = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class Unrolled:
    """How the weights step.

    Attributes:
        weights: of the network; they are changed on the way and put back.
        rate: of the weights' optimiser.
        weight_decay: likewise.
        average: of gradients over the processes, so that all look through the same step; their shares of a batch are
            taken to be equal.
    """

    weights: Sequence[Tensor]
    rate: float
    weight_decay: float
    average: Callable[[Sequence[Tensor]], list[Tensor]] = list

    def gradients(
        self, estimator: Estimator, train: Loss, held: Loss, logits: Mapping[str, Tensor], draw: Draw
    ) -> tuple[dict[str, Tensor], float]:
        """Return the gradient of the held-out loss by every logit, and its value; every pass uses the same draw."""
        fixed = {name: c.detach() for name, c in estimator.coefficients(logits, again(draw)).items()}
        step = self._by_weights(train, fixed)
        with self._moved([g + self.weight_decay * w for g, w in zip(step, self.weights, strict=True)], -self.rate):
            first, value = estimator.gradients(held, logits, again(draw))
            direction = self._by_weights(held, fixed)
        norm = torch.stack([(d * d).sum() for d in direction]).sum().sqrt()
        radius = RADIUS / max(float(norm), 1e-12)
        found = []
        for sign in (1.0, -1.0):
            with self._moved(direction, sign * radius):
                found.append(estimator.gradients(train, logits, again(draw))[0])
        above, below = found
        scale = self.rate / (2 * radius)
        return {name: first[name] - scale * (above[name] - below[name]) for name in first}, value

    def _by_weights(self, loss: Loss, coefficients: Mapping[str, Tensor]) -> list[Tensor]:
        return self.average(
            torch.autograd.grad(loss(coefficients), list(self.weights), allow_unused=True, materialize_grads=True)
        )

    @contextmanager
    def _moved(self, direction: Sequence[Tensor], share: float) -> Iterator[None]:
        kept = [w.detach().clone() for w in self.weights]
        with torch.no_grad():
            for w, d in zip(self.weights, direction, strict=True):
                w.add_(d, alpha=share)
        try:
            yield
        finally:
            with torch.no_grad():
                for w, before in zip(self.weights, kept, strict=True):
                    w.copy_(before)


def again(draw: Draw) -> Draw:
    """Return a draw whose numbers are those that the given one will give."""
    generator = torch.Generator(draw.generator.device)
    generator.set_state(draw.generator.get_state())
    return Draw(progress=draw.progress, generator=generator)
