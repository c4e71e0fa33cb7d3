"""How the networks of a compilation are trained."""

from hwcomp.data import validation_samples
from hwcomp.job import Job
from hwcomp.search.recovery import Recovery


def recovery_of(job: Job) -> Recovery:
    """Return what trains the networks of a compilation; nothing but validation samples is read yet.

    Raises:
        InputError: the validation samples do not fit the model.
    """
    config = job.config
    return Recovery(
        workload=job.workload,
        validation=validation_samples(job.workload, config.calibration),
        options=config.shrinking,
        folder=job.stages.root / "training",
        seed=config.seed,
        reporter=job.reporter,
        taught=not config.shrinking.from_scratch,
    )
