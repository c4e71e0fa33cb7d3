"""What a compilation would do: told, and not done."""

from hwcomp.config import CompileConfig
from hwcomp.console import Reporter
from hwcomp.cost_models.roofline import Roofline
from hwcomp.job import Job
from hwcomp.kernels import kernels_of, search_space
from hwcomp.pipeline import trace_workload, transformed
from hwcomp.search.knapsack import Sensitivity, solve
from hwcomp.stages import Stages, cache_root
from hwcomp.target import Gpu, load
from hwcomp.uniform.forms import check_precision, offered
from hwcomp.workload import Workload


def plan_of(workload: Workload, config: CompileConfig, reporter: Reporter) -> None:
    """Print what a compilation would do, without measuring or writing anything.

    Raises:
        InputError: the target has not the precision that was asked for.
    """
    target = load(config.target)
    network = trace_workload(workload, reporter)
    program = transformed(network, target, reporter)
    if target.gpu is not None and config.method == "post_training":
        job = Job(
            workload=workload, network=network, original=program, target=target, config=config,
            stages=Stages(cache_root()), reporter=reporter,
        )  # fmt: skip
        reporter.stage("Plan").done(versions_planned(job, target.gpu))
        return
    space = search_space(program)
    threads = config.threads or target.hardware.cores
    table = Roofline(target=target, threads=threads).cost_table(space, kernels_of(program, target.activation))
    fastest = solve(table, Sensitivity(weights={}, tensors={}))
    smallest = table.predict_us(fastest) if fastest is not None else table.predict_us({})
    measured = "it would be measured here" if target.local else "no such device is here: estimates would stand"
    reporter.stage("Plan").done(
        f"budget: {config.budget}; {len(space.free)} operators to choose for, 10^{space.size_log10:.0f} assignments; "
        f"float about {table.predict_us({}) / 1e3:.3f} ms, fastest about {smallest / 1e3:.3f} ms (analytic, "
        f"+-{100 * table.error:.0f} %); {measured}. Dry run: nothing was measured or written."
    )


def versions_planned(job: Job, gpu: Gpu) -> str:
    """Return in words which versions of a network would be made for a GPU.

    Raises:
        InputError: it has not the precision that was asked for.
    """
    check_precision(job)
    device = job.config.device
    names = "; ".join(form.name for form in offered(job, gpu, timed=device is not None))
    how = "compared on paper: no device is given" if device is None else f"timed in turn on {device}"
    return (
        f"budget: {job.config.budget}; the whole network in one precision, {how}: {names}. "
        "Dry run: nothing was measured or written."
    )
