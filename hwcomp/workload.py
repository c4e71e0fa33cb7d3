"""model.py -> Workload: the network, and what the user can tell about it."""

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from hwcomp.errors import InputError
from hwcomp.program import Inputs, flatten

DATA = ("train_data", "eval_data", "calibration_data", "validation_data")
"""What a model.py may give; each is a function that gives batches."""

Batches = Callable[[], Iterable[Any] | None]
Loss = Callable[[Any, Any], Tensor]
Metric = Callable[[Any, Any], float]


def top1(outputs: Tensor, targets: Tensor) -> float:
    """Return the share of rows whose largest output is the target's, in percent.

    Args:
        outputs: (N, classes).
        targets: (N,) class indices.
    """
    return 100.0 * float((outputs.argmax(1) == targets).float().mean())


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A network and its data, checked.

    Attributes:
        name: for folders and reports.
        model: in eval mode, float32, on the CPU.
        example_inputs: positional arguments of its forward; they fix all shapes.
        train_data: gives batches (inputs, targets), or None.
        eval_data: likewise, for the final number alone.
        calibration_data: gives batches of inputs, with or without targets, or None.
        validation_data: gives labelled batches to choose by, which ``train_data`` does not hold; None to take some of
            ``train_data``.
        loss: of outputs and targets.
        metric: of outputs and targets, larger is better, averaged over batches by their size.
    """

    name: str
    model: nn.Module
    example_inputs: Inputs
    train_data: Batches | None = None
    eval_data: Batches | None = None
    calibration_data: Batches | None = None
    validation_data: Batches | None = None
    loss: Loss = F.cross_entropy
    metric: Metric = top1


def load_workload(spec: str) -> Workload:
    """Load ``path/to/model.py`` or ``path/to/model.py:factory``.

    Raises:
        InputError: no such file, an error in it, nothing usable in it; the sentence says what to do.
    """
    path_text, _, factory_name = spec.partition(":")
    factory_name = factory_name or "model"
    module = execute_file(Path(path_text))
    factory = getattr(module, factory_name, None)
    if factory is None:
        functions = [name for name, value in vars(module).items() if inspect.isfunction(value) and name[0] != "_"]
        raise InputError(
            f"{path_text} has no '{factory_name}': define a function {factory_name}() that returns the nn.Module"
            + (f", or name one of its functions as {path_text}:NAME ({', '.join(functions)})." if functions else ".")
        )
    model = _call(factory, f"{factory_name}() in {path_text}") if not isinstance(factory, nn.Module) else factory
    inputs = getattr(module, "example_inputs", None)
    if inputs is None:
        raise InputError(
            f"{path_text} has no 'example_inputs': set it to a tuple of tensors, as its forward takes them."
        )
    if callable(inputs):
        inputs = _call(inputs, f"example_inputs() in {path_text}")
    folder = Path(path_text).resolve().parent.name
    name = folder if factory_name == "model" else factory_name
    optional: dict[str, Any] = {k: getattr(module, k) for k in ("loss", "metric") if callable(getattr(module, k, None))}
    data: dict[str, Any] = {key: getattr(module, key, None) for key in DATA}
    return checked(Workload(name=name, model=model, example_inputs=inputs, **optional, **data), spec)


def checked(workload: Workload, origin: str) -> Workload:
    """Return the workload in eval mode after checking that it can be compiled.

    Raises:
        InputError: it is not a float32 module on the CPU with finite weights and a tuple of tensors as inputs.
    """
    model: Any = workload.model
    inputs: Any = workload.example_inputs
    if not isinstance(model, nn.Module):
        raise InputError(f"The model of {origin} is a {type(model).__name__}; it must be a torch.nn.Module.")
    if isinstance(inputs, Tensor):
        inputs = (inputs,)
    if not isinstance(inputs, (tuple, list)) or not inputs or not all(isinstance(x, Tensor) for x in inputs):
        raise InputError(f"The example inputs of {origin} must be a tuple of tensors; found {type(inputs).__name__}.")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        _check_tensor(tensor, f"'{name}' of the model")
    for index, tensor in enumerate(inputs):
        _check_tensor(tensor, f"example input {index}")
    changed = {"example_inputs": tuple(inputs), "model": model.eval()}
    return Workload(**(vars(workload) | changed))


def _check_tensor(tensor: Tensor, what: str) -> None:
    if tensor.device.type != "cpu":
        raise InputError(f"{what} is on device '{tensor.device}'; move the model and its inputs to the CPU first.")
    if tensor.is_floating_point() and tensor.dtype != torch.float32:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise InputError(f"{what} is {kind}; hwcomp starts from float32: call model.float() and give float32 inputs.")
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{what} holds NaN or infinity; the checkpoint is damaged or training diverged.")


def execute_file(path: Path) -> ModuleType:
    """Return the module of a Python file of the user's; what lies beside the file can be imported by it.

    Raises:
        InputError: there is no such file, or it cannot be imported.
    """
    if not path.is_file():
        raise InputError(f"No file '{path}'; give the path of a model.py (`hwcomp init` writes one).")
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"hwcomp_workload_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"'{path}' is not a Python file; give the path of a model.py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # torch.jit and inspect find a class's source through here
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise InputError(f"{path}, line {error.lineno}: syntax error: {error.msg}.") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{path} cannot be imported: {located(error, path)}") from error
    return module


def _call(function: Callable[[], Any], what: str) -> Any:
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise InputError(f"{what} failed: {located(error, None)}") from error


def located(error: BaseException, path: Path | None) -> str:
    """Return an error of the user's code in words, with the last line of a file, or of any, that raised it."""
    everywhere = traceback.extract_tb(error.__traceback__)
    frames = [f for f in everywhere if path is None or Path(f.filename).resolve() == path.resolve()]
    where = f" (line {frames[-1].lineno} of {Path(frames[-1].filename).name})" if frames else ""
    return f"{type(error).__name__}: {error}{where}."


def split_batch(batch: Any) -> tuple[Inputs, Any]:
    """Return (inputs, targets) of a batch; targets are None for a batch of inputs alone.

    A tensor is the one input; a pair is (inputs, targets); a dict is split into its values but "label" or "target".
    """
    if isinstance(batch, Tensor):
        return (batch,), None
    if isinstance(batch, dict):
        targets = [batch[key] for key in ("targets", "target", "labels", "label") if key in batch]
        inputs = [value for key, value in batch.items() if key not in ("targets", "target", "labels", "label")]
        return flatten(inputs), targets[0] if targets else None
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return flatten(batch[0]), batch[1]
    return flatten(batch), None


def _guarded(batches: Iterable[Any], name: str) -> Iterator[Any]:
    try:
        yield from batches
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name} failed while it was read: {located(error, None)}") from error


def samples(batches: Iterable[Any], example: Inputs, name: str = "the data") -> Iterator[tuple[Inputs, Any]]:
    """Cut batches of any size into pieces of the example's batch size; what is left over is dropped.

    Args:
        batches: tensors, pairs (inputs, targets) or dicts.
        example: inputs as the network takes them.
        name: of the data, for errors.

    Raises:
        InputError: the data fails while it is read, or a batch does not fit the example inputs.
    """
    size = example[0].shape[0] if example[0].ndim else 1
    for batch in _guarded(batches, name):
        inputs, targets = split_batch(batch)
        shapes = [tuple(x.shape[1:]) for x in inputs]
        wanted = [tuple(x.shape[1:]) for x in example]
        kinds = [str(x.dtype).removeprefix("torch.") for x in inputs]
        if kinds != [str(x.dtype).removeprefix("torch.") for x in example]:
            found = ", ".join(kinds) or type(batch).__name__
            raise InputError(f"A batch of {name} has inputs of type {found}; give them as the example inputs are.")
        if shapes != wanted:
            raise InputError(
                f"A batch of {name} has inputs of shape {shapes} (without the batch); the model takes {wanted}."
            )
        for start in range(0, inputs[0].shape[0] - size + 1, size):
            cut = slice(start, start + size)
            yield tuple(x[cut] for x in inputs), None if targets is None else targets[cut]
