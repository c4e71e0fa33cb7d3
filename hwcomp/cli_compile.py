"""The command ``hwcomp compile``: options in; no logic. Heavy imports happen inside the command."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hwcomp.cli_options import Model, TargetName, Threads, TuningDatabase
from hwcomp.cli_profile import StorePath

_budget = partial(typer.Option, rich_help_panel="Budget")
_training = partial(typer.Option, rich_help_panel="Methods that train")
_search = partial(typer.Option, rich_help_panel="The differentiable search")


def compile(  # noqa: A001 - the verb of the field
    model: Model,
    target: TargetName = "host",
    latency: Annotated[str | None, _budget(help="Budget with its unit: 4ms, 350us.")] = None,
    speedup: Annotated[str | None, _budget(help="Budget as a ratio to the float network: 2x.")] = None,
    max_drop: Annotated[
        float | None,
        _budget(help="Points of the metric that may be lost (1.0 if no other budget is given)."),
    ] = None,
    calibration: Annotated[int, typer.Option(min=1, help="Number of calibration inputs.")] = 64,
    threads: Threads = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Output folder; build/NAME-TARGET if not given.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not hwcomp's.")] = False,
    ranges: Annotated[str, typer.Option(help="Activation ranges by mse, percentile or minmax.")] = "mse",
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest on stdout, and nothing else.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; measure and write nothing.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="Measure there: ssh://\\[user@]host[:port]; this machine if it is the target.")
    ] = None,
    runtime: Annotated[
        str, typer.Option(help="onnxruntime; or tvm: a library of its own, in float, faster the more weights are zero.")
    ] = "auto",
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of the whole network on a GPU: float32, float16, bfloat16, int8, weight8 or weight4; the fastest "
            "that is accurate enough if not given."
        ),
    ] = None,
    database: TuningDatabase = None,
    store: StorePath = None,
    method: Annotated[
        str,
        typer.Option(
            help="post_training; one that removes channels and trains: uniform_pruning, latency_pruning, "
            "soft_filter_pruning, asymptotic_soft_filter_pruning; one that removes weights and trains: "
            "magnitude_pruning, score_pruning; or precision and channels at once: differentiable."
        ),
    ] = "post_training",
    prune_rate: Annotated[float | None, _training(help="Share of the channels to remove, 0 to below 1.")] = None,
    density: Annotated[
        str | None,
        _training(metavar="SHARE", help="Share of the weights that stay, above 0 to 1, for methods that remove them."),
    ] = None,
    pattern: Annotated[
        str,
        _training(help="How they lie: in blocks of output x input channels (4x1, 1x1, 1x4), or 2of4."),
    ] = "4x1",
    epochs: Annotated[
        int | None,
        _training(help="Of training; 10 if neither these nor minutes are given."),
    ] = None,
    minutes: Annotated[float | None, _training(help="Of training: the schedule is planned to end then.")] = None,
    learning_rate: Annotated[float | None, _training(help="The highest; the method's own if not given.")] = None,
    clip: Annotated[
        float | None,
        _training(help="Largest norm of all gradients; the method's own if not given."),
    ] = None,
    mixed_precision: Annotated[str, _training(help="Of training: no, or bf16 where the processor has it.")] = "no",
    importance: Annotated[
        str | None,
        _training(help="l1, l2, group_l2, batchnorm_scale, taylor, random_control or FILE.py:FUNCTION."),
    ] = None,
    steps: Annotated[
        int,
        _training(help="Channels are removed in so many steps, with training after each."),
    ] = 1,
    from_scratch: Annotated[bool, _training("--from-scratch", help="Start training from fresh weights.")] = False,
    recovery: Annotated[
        float,
        _training(help="Share of soft pruning's training after the zero filters were removed; papers: 0."),
    ] = 0.3,
    paper: Annotated[
        bool,
        _training("--paper", help="Soft pruning of each layer for itself, to compare with papers."),
    ] = False,
    tensorboard: Annotated[Path | None, _training(help="Folder for curves of the training, for TensorBoard.")] = None,
    estimator: Annotated[
        str,
        _search(help="How the search gets its gradients: a name of docs/estimators.md, or FILE.py:CLASS."),
    ] = "weight_mixture",
    latency_term: Annotated[
        str,
        _search(help="How latency enters the search: a name of docs/estimators.md, or FILE.py:CLASS."),
    ] = "lagrangian",
    search_share: Annotated[float, _search(help="Share of the training that the search takes.")] = 0.5,
    filter_share: Annotated[
        float,
        _search(help="Share of a layer's filters that may be more precise than the rest; 0 for none."),
    ] = 0.25,
    fixed_widths: Annotated[
        bool,
        _search("--fixed-widths", help="All channels stay: the search is for precision alone."),
    ] = False,
    sparse: Annotated[
        bool,
        _search("--sparse", help="The search may also leave out weights, where that is faster."),
    ] = False,
    search_level: Annotated[
        str,
        _search(help="bilevel: choices learn from batches of their own; single: from those of the weights."),
    ] = "bilevel",
    search_order: Annotated[int, _search(help="2: the search looks through a step of the weights.")] = 1,
    weight_noise: Annotated[
        float,
        _search(help="Share of the rounded weights that get noise in training instead of being rounded."),
    ] = 0.0,
    controls: Annotated[
        bool,
        _search("--controls", help="Also train what the search must beat, and take the best."),
    ] = False,
    seeds: Annotated[int, _search(help="Trainings of each configuration, with --controls.")] = 3,
    pareto: Annotated[int | None, _search(help="So many networks up to the budget, from one search.")] = None,
) -> None:
    """Compile a network for a target, measure it, and write an artifact with the proof."""
    from hwcomp import commands

    options = commands.CompileOptions(
        target=target, latency=latency, speedup=speedup, max_drop=max_drop, calibration=calibration, threads=threads,
        seed=seed, out=out, force=force, ranges=ranges, dry_run=dry_run, device=device, runtime=runtime,
        precision=precision, database=database, store=store, method=method, prune_rate=prune_rate, density=density,
        pattern=pattern, epochs=epochs, minutes=minutes, learning_rate=learning_rate, clip=clip,
        mixed_precision=mixed_precision, importance=importance, steps=steps, from_scratch=from_scratch, paper=paper,
        recovery=recovery, tensorboard=tensorboard, estimator=estimator, latency_term=latency_term,
        search_share=search_share, filter_share=filter_share, fixed_widths=fixed_widths, sparse=sparse,
        search_level=search_level, search_order=search_order, weight_noise=weight_noise, controls=controls,
        seeds=seeds, pareto=pareto,
    )  # fmt: skip
    commands.compile_model(model, options, as_json=as_json)
