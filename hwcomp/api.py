"""The Python interface: ``hwcomp.compile`` and ``hwcomp.trace``."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn

from hwcomp.config import Budget, CompileConfig, Fastest, Method, Shrinking
from hwcomp.console import Reporter
from hwcomp.pipeline import Result, compile_workload
from hwcomp.program import Inputs, Program
from hwcomp.search_options import SearchOptions
from hwcomp.tracing import trace as _trace
from hwcomp.workload import Loss, Metric, Workload, checked, top1

Data = Iterable[Any] | Callable[[], Iterable[Any] | None] | None


def trace(model: nn.Module, example_inputs: Inputs) -> Program:
    """Trace a network into the program that passes work on; see `hwcomp.tracing.trace`."""
    return _trace(model, example_inputs)


def compile(  # noqa: A001, PLR0913 - the verb of the field; keywords only
    model: nn.Module,
    example_inputs: Inputs,
    *,
    target: str = "host",
    budget: Budget | None = None,
    calibration: Data = None,
    train: Data = None,
    evaluate: Data = None,
    loss: Loss = F.cross_entropy,
    metric: Metric = top1,
    validation: Data = None,
    method: Method = "post_training",
    shrinking: Shrinking | None = None,
    searching: SearchOptions | None = None,
    out: str | Path | None = None,
    threads: int | None = None,
    seed: int = 0,
    force: bool = False,
    name: str | None = None,
    reporter: Reporter | None = None,
) -> Result:
    """Compile a network for a target and prove its speed.

    Args:
        model: float32, on the CPU; it is not changed.
        example_inputs: tensors as its forward takes them; they fix batch and image size.
        target: name, alias or path of a target; "host" is this machine.
        budget: ``hwcomp.Latency("4ms")``, ``hwcomp.Speedup("2x")`` or ``hwcomp.Fastest(max_drop=1.0)``, the default.
        calibration: batches of inputs, or a function that gives them; generated if there is neither this nor train.
        train: batches (inputs, targets); some are held out to choose by.
        evaluate: batches (inputs, targets) for the final number alone.
        loss: of outputs and targets, for methods that train.
        metric: of outputs and targets, larger is better.
        validation: batches (inputs, targets) to choose by, that train does not hold; some of train if None.
        method: what makes the network faster, see `hwcomp.config.Method`.
        shrinking: options of the methods that train.
        searching: options of ``method="differentiable"``.
        out: folder of the artifact; build/NAME-TARGET if None.
        threads: of the runtime; all cores if None.
        seed: of everything random.
        force: write into a folder that is not hwcomp's.
        name: of the network, in reports; its class if None.
        reporter: prints progress; silent if None.

    Raises:
        InputError: something that was given cannot be used.
        BudgetError: the budget cannot be met; the fastest point reached is in the output folder.
    """
    workload = Workload(
        name=name or type(model).__name__.lower(),
        model=model,
        example_inputs=example_inputs,
        train_data=_batches(train),
        eval_data=_batches(evaluate),
        calibration_data=_batches(calibration),
        validation_data=_batches(validation),
        loss=loss,
        metric=metric,
    )
    config = CompileConfig(
        target=target,
        budget=budget or Fastest(),
        method=method,
        shrinking=shrinking or Shrinking(),
        searching=searching or SearchOptions(),
        threads=threads,
        seed=seed,
        force=force,
        out=None if out is None else Path(out),
    )
    return compile_workload(checked(workload, "hwcomp.compile"), config, reporter)


def _batches(data: Data) -> Callable[[], Iterable[Any] | None] | None:
    if data is None or callable(data):
        return data
    return lambda: data
