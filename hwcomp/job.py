"""One compilation, as all of its parts know it."""

from dataclasses import dataclass, replace

from hwcomp.config import Budget, CompileConfig
from hwcomp.console import Reporter
from hwcomp.program import Program
from hwcomp.stages import Stages
from hwcomp.target import Target
from hwcomp.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is compiled, for what, how, and where results are kept and shown.

    Attributes:
        workload: the network as it was given, and its data.
        network: it as traced, with all of its layers.
        original: the same after the default passes: what every other network is compared with.
        target: what it is compiled for.
        config: what was asked for.
        stages: results of earlier runs.
        reporter: shows progress.
    """

    workload: Workload
    network: Program
    original: Program
    target: Target
    config: CompileConfig
    stages: Stages
    reporter: Reporter

    @property
    def threads(self) -> int:
        """Threads of the runtime."""
        return self.config.threads or self.target.hardware.cores

    def under(self, budget: Budget) -> "Job":
        """Return the same compilation under another budget."""
        return replace(self, config=self.config.model_copy(update={"budget": budget}))
