"""What a step makes smaller: the user's loss, and the distance from a teacher."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.program import Inputs, flatten
from hwcomp.train.config import TrainConfig
from hwcomp.workload import Loss

IGNORED = -100
"""The label that PyTorch's cross-entropy leaves out."""


class Objective(Protocol):
    """What is made smaller: a scalar with gradient, a mean over the samples."""

    def __call__(self, model: nn.Module, inputs: Inputs, targets: Any) -> Tensor:
        """Return the objective of a model on a batch; targets are None where the data has none."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TaskObjective:
    """The user's loss, mixed with the distance from a teacher; see `task_objective`."""

    loss: Loss | None
    teacher: nn.Module | None
    share: float
    temperature: float

    def __call__(self, model: nn.Module, inputs: Inputs, targets: Any) -> Tensor:
        """Return the objective of a model on a batch."""
        outputs = forward(model, inputs)
        if self.teacher is None or (self.share == 0 and targets is not None):
            return self._task(outputs, targets)
        if any(p.device != inputs[0].device for p in islice(self.teacher.parameters(), 1)):
            self.teacher.to(inputs[0].device)
        with torch.no_grad():
            wanted = forward(self.teacher, inputs)
        if is_class_logits(outputs, targets):
            imitation = divergence(outputs, wanted, self.temperature)
        else:
            imitation = relative_error(flatten(outputs), flatten(wanted))
        if targets is None or self.loss is None or self.share == 1:
            return imitation
        return (1 - self.share) * self._task(outputs, targets) + self.share * imitation

    def _task(self, outputs: Any, targets: Any) -> Tensor:
        if targets is None or self.loss is None:
            missing = "batches have no targets" if targets is None else "is no loss"
            raise InputError(f"The {missing} and there is no teacher; give (inputs, targets), or train from a teacher.")
        if self.loss is F.cross_entropy:
            _check_labels(outputs, targets)
        try:
            value: Any = self.loss(outputs, targets)
        except Exception as error:
            raise InputError(f"The loss failed on a batch: {type(error).__name__}: {error}") from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"The loss must return one number as a tensor, a mean over the batch; found {found}.")
        if torch.is_grad_enabled() and not value.requires_grad:
            raise InputError(
                "The loss has no gradient; compute it from the outputs with PyTorch, without .item() or .detach()."
            )
        return value.reshape(())


def task_objective(loss: Loss | None, teacher: nn.Module | None, config: TrainConfig) -> TaskObjective:
    r"""Return the usual objective: the loss of the task, and self-distillation where a teacher is given.

    .. math:: (1 - w) \, L(f(x), y) + w \, T^2 \, KL(softmax(t(x) / T) \,\|\, softmax(f(x) / T))

    with the weight :math:`w` (``config.distill``), the temperature :math:`T`, the model :math:`f` and the teacher
    :math:`t` ([Hinton2015]_). The Kullback-Leibler divergence is for class logits, (N, K) or (N, K, ...), which are
    known by their targets: integers (N,) or (N, ...). For other outputs it is replaced by the squared error relative to
    the variance of the teacher's outputs. Without targets only the error to the teacher counts.

    Args:
        loss: of outputs and targets, or None to learn from the teacher alone.
        teacher: usually the network before it was made smaller; it is copied and never trained.
        config: weight and temperature.

    Raises:
        InputError: neither a loss nor a teacher is given.
    """
    if loss is None and teacher is None:
        raise InputError("There is nothing to learn from; give a loss, a teacher or both.")
    if teacher is not None:
        teacher = deepcopy(teacher).eval().requires_grad_(requires_grad=False)
    return TaskObjective(loss=loss, teacher=teacher, share=config.distill, temperature=config.temperature)


def forward(model: nn.Module, inputs: Inputs) -> Any:
    """Return the outputs of a model, in float32 and in the usual layout also where it computed otherwise.

    Raises:
        InputError: the model fails on the inputs.
    """
    try:
        return _widened(model(*inputs))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise InputError(f"The model fails on a batch of shape {shapes}: {type(error).__name__}: {error}") from error


def _widened(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        widened = outputs.float() if outputs.dtype in {torch.float16, torch.bfloat16} else outputs
        return widened.contiguous()
    if type(outputs) in {tuple, list}:
        return type(outputs)(_widened(item) for item in outputs)
    if type(outputs) is dict:
        return {name: _widened(item) for name, item in outputs.items()}
    return outputs


def is_class_logits(outputs: Any, targets: Any) -> bool:
    """Return whether outputs are logits (N, K, ...) of integer labels (N, ...)."""
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor) or targets.is_floating_point():
        return False
    return outputs.ndim >= 2 and outputs.shape[1] > 1 and targets.shape == outputs.shape[:1] + outputs.shape[2:]


def divergence(logits: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    r"""Return :math:`T^2 KL(teacher \| student)` of logits (N, K, ...), a mean over all but the classes."""
    student = F.log_softmax(logits / temperature, 1)
    teacher = F.log_softmax(wanted / temperature, 1)
    return temperature**2 * F.kl_div(student, teacher, reduction="none", log_target=True).sum(1).mean()


def relative_error(outputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Return the mean squared error of each output relative to the variance of the wanted one; a mean over outputs."""
    pairs = [(a, b) for a, b in zip(outputs, wanted, strict=True) if a.is_floating_point()]
    errors = [F.mse_loss(a, b) / b.var(correction=0).clamp_min(1e-12) for a, b in pairs]
    return torch.stack(errors).mean()


def _check_labels(outputs: Any, targets: Any) -> None:
    """Name labels without a class; on an accelerator PyTorch itself would bring the process down."""
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor) or targets.is_floating_point():
        return
    if outputs.ndim < 2 or targets.ndim != outputs.ndim - 1:
        return
    counted = targets[targets != IGNORED]
    if counted.numel():
        low, high = (int(x) for x in torch.aminmax(counted))
        if low < 0 or high >= outputs.shape[1]:
            raise InputError(
                f"The labels range from {low} to {high}, but the model has {outputs.shape[1]} outputs; labels must be "
                f"0 to {outputs.shape[1] - 1}."
            )
