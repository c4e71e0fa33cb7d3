r"""What one step of a search makes smaller.

Bilevel, to first order ([Liu2019]_): on one batch the weights learn the task under coefficients that are constants; on
another batch the logits :math:`\alpha` learn the task and the latency under weights that are constants,

.. math:: \min_\alpha \; \phi\big( L_{held}(w, \alpha), \; E[T](\alpha) / B \big), \qquad
          \min_w \; L_{train}(w, \alpha)

with the expected latency E[T] of the joint table, the budget B and a latency term :math:`\phi`. Both gradients are of
one step, so processes share them as they share any other.

Single-level ([Cai2020b]_): one batch teaches both, in one backward pass where the coefficients can be differentiated.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hwcomp.estimators import Draw, Estimator
from hwcomp.joint_cost import JointTable
from hwcomp.latency_terms import LatencyTerm, slopes, total_gradients
from hwcomp.program import Inputs
from hwcomp.search.unrolled import Unrolled
from hwcomp.search_options import Level
from hwcomp.supernet import WidthSite, logits_of, set_coefficients, sites_of, weight_parameters
from hwcomp.train.objective import Objective
from hwcomp.train.processes import Processes

Half = tuple[Inputs, Any]
"""One batch: inputs and targets."""


@dataclass(kw_only=True, slots=True)
class Clock:
    """Where a search is; the training's hooks move it.

    Attributes:
        progress: how much is done, 0 to 1.
        step: steps that are done.
        rate: learning rate of the weights in the last step.
        gradients: of the task's loss by the logits in this step, as the estimator gave them.
    """

    progress: float = 0.0
    step: int = 0
    rate: float = 0.0
    gradients: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Relaxation:
    """The objective of a search step; for two levels batches come in pairs, see `hwcomp.search.paired_data`.

    Attributes:
        task: what the network is for.
        estimator: of the gradient of the logits.
        term: joins task and latency.
        joint: latency of every choice.
        budget_us: latency that the expectation is to have.
        warmup: share of the search in which only the weights learn.
        order: 1, or 2 to look through one step of the weights, see `hwcomp.search.unrolled`.
        weight_decay: of the weights' optimiser.
        seed: of the estimator's draws; all processes draw alike, so that their logits stay equal.
        level: whether the logits learn from batches of their own.
        clock: where the search is.
    """

    task: Objective
    estimator: Estimator
    term: LatencyTerm
    joint: JointTable
    budget_us: float
    warmup: float
    order: int
    weight_decay: float
    seed: int
    level: Level = "bilevel"
    clock: Clock = field(default_factory=Clock)

    def __call__(self, model: nn.Module, inputs: Inputs, targets: Any) -> Tensor:
        """Return the task's loss on the first batch, whose gradient for the logits is that of the second batch."""
        logits, draw = logits_of(model), self._draw(inputs[0].device)
        if self.level == "single":
            return self._single(model, logits, draw, (inputs, targets))
        half = len(inputs) // 2
        train, held = (inputs[:half], targets[0]), (inputs[half:], targets[1])
        learned = self._choices(model, logits, draw, train, held) if self.has_begun else torch.zeros(())
        return self._for_weights(model, self.estimator.coefficients(logits, draw), train) + learned

    def _for_weights(self, model: nn.Module, coefficients: Mapping[str, Tensor], batch: Half) -> Tensor:
        """Return the task's loss with coefficients that are constants."""
        set_coefficients(model, {name: c.detach() for name, c in coefficients.items()}, self.estimator.mixing)
        return self.task(model, *batch)

    def _single(self, model: nn.Module, logits: Mapping[str, Tensor], draw: Draw, batch: Half) -> Tensor:
        """Return the task's loss on a batch, which has the gradients of weights and logits."""
        coefficients = self.estimator.coefficients(logits, draw)
        if not self.has_begun:
            return self._for_weights(model, coefficients, batch)
        if not all(c.requires_grad for c in coefficients.values()):
            learned = self._choices(model, logits, draw, batch, batch)
            return self._for_weights(model, coefficients, batch) + learned
        found: list[float] = []  # what the loss is worth in the latency term is known only after the forward pass
        for c in coefficients.values():
            register: Any = c.register_hook
            register(lambda gradient: found[0] * gradient)
        set_coefficients(model, coefficients, self.estimator.mixing)
        loss = self.task(model, *batch)
        slope, by_latency, _ = slopes(self.term, loss.item(), logits, self._ratio_of(model))
        found.append(slope)
        self.clock.gradients = {}
        return loss + _zero_with_gradients(logits, by_latency)

    @property
    def has_begun(self) -> bool:
        """Whether the choices learn already."""
        return self.clock.progress >= self.warmup

    def _draw(self, device: torch.device) -> Draw:
        seed = int.from_bytes(hashlib.sha256(f"{self.seed} {self.clock.step}".encode()).digest()[:7], "little")
        return Draw(progress=self.clock.progress, generator=torch.Generator(device).manual_seed(seed))

    def _choices(self, model: nn.Module, logits: Mapping[str, Tensor], draw: Draw, train: Half, held: Half) -> Tensor:
        """Return zero, with the gradient of task and latency for the logits."""
        self.clock.gradients, value = self._by_task(model, logits, draw, train, held)
        ratio_of = self._ratio_of(model)
        return _zero_with_gradients(
            logits, total_gradients(self.term, self.clock.gradients, value, logits, ratio_of)[0]
        )

    def _ratio_of(self, model: nn.Module) -> Callable[[Mapping[str, Tensor]], Tensor]:
        """Return the function of the probabilities that is the expected latency by the budget."""
        return lambda p: expected_us(self.joint, model, p) / self.budget_us

    def _by_task(
        self, model: nn.Module, logits: Mapping[str, Tensor], draw: Draw, train: Half, held: Half
    ) -> tuple[dict[str, Tensor], float]:
        """Return the gradient of the task's loss on the held batch by the logits, and the loss."""

        def loss_on(half: Half) -> Callable[[Mapping[str, Tensor]], Tensor]:
            def loss(coefficients: Mapping[str, Tensor]) -> Tensor:
                set_coefficients(model, coefficients, self.estimator.mixing)
                return self.task(model, *half)

            return loss

        if self.order == 1:
            return self.estimator.gradients(loss_on(held), logits, draw)
        step = Unrolled(
            weights=weight_parameters(model),
            rate=self.clock.rate,
            weight_decay=self.weight_decay,
            average=Processes().averaged,
        )
        return step.gradients(self.estimator, loss_on(train), loss_on(held), logits, draw)


def _zero_with_gradients(logits: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> Tensor:
    """Return zero, whose gradient for the logits is the given one."""
    value = torch.stack([(gradients[name].detach() * tensor).sum() for name, tensor in logits.items()]).sum()
    return value - value.detach()


def probabilities(model: nn.Module) -> dict[str, Tensor]:
    """Return the probabilities of every site's candidates, without gradient."""
    return {name: logits.detach().softmax(0) for name, logits in logits_of(model).items()}


def expected_us(joint: JointTable, model: nn.Module, p: Mapping[str, Tensor]) -> Tensor:
    """Return the expected latency of a supernet in microseconds, differentiable.

    Args:
        joint: latencies.
        model: the supernet, whose sites tell what is chosen there.
        p: site -> probabilities of its candidates.
    """
    sites = sites_of(model)
    widths = {site.group: (site.widths, p[name]) for name, site in sites.items() if isinstance(site, WidthSite)}
    schemes = {name: p[name] for name, site in sites.items() if not isinstance(site, WidthSite)}
    return joint.expected_us(schemes, widths)
