"""How long a version of a network takes where it is not measured: by the best table of the target, or the roofline.

A table that was measured on such a GPU, here, imported, or shipped with hwcomp, is of ONNX Runtime's CUDA provider, in
float32 and in halves. Versions that it does not know are then not predicted: what is measured and what is on paper
are never compared.
"""

from dataclasses import dataclass, replace

from hwcomp.artifact import TVM
from hwcomp.cost import CostTable
from hwcomp.cost_models.roofline import Roofline
from hwcomp.job import Job
from hwcomp.kernels import kernels_of, search_space
from hwcomp.known_tables import KnownTables
from hwcomp.program import Program
from hwcomp.provenance import Provenance
from hwcomp.scheme import FLOAT16
from hwcomp.store import Store
from hwcomp.subject import network_hash
from hwcomp.uniform.forms import ONNXRUNTIME, whole_network_target
from hwcomp.uniform.versions import Version

ON_PAPER = "the roofline's, which knows neither runtimes nor zeros"
NO_TABLE = "The table that was measured on such a GPU has float32 and float16 of ONNX Runtime's CUDA provider alone."


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """Predicts latencies of versions.

    Attributes:
        job: the compilation.
        program: with the choices of the versions among its own.
        table: that was measured on such a GPU; None for the roofline.
        source: of the predictions, in words.
    """

    job: Job
    program: Program
    table: CostTable | None
    source: str

    @classmethod
    def of(cls, job: Job, program: Program) -> "Predictor":
        """Return what is known of the target."""
        table, source = None, ON_PAPER
        if job.target.gpu is not None and job.config.runtime != TVM:
            space, kernels = search_space(job.original), kernels_of(job.original, job.target.activation)
            tables = KnownTables(target=job.target, store=Store(job.config.store), threads=job.config.threads)
            known = tables.best(space, kernels, network_hash(space, kernels))
            if known.table.provenance != "analytic":
                table, source = known.table, f"of a table, {known.source}"
        return cls(job=job, program=program, table=table, source=source)

    @property
    def provenance(self) -> Provenance:
        """What kind of numbers these are."""
        return "analytic" if self.table is None else self.table.provenance

    def on_paper(self) -> "Predictor":
        """Return the same by the roofline."""
        return replace(self, table=None, source=ON_PAPER)

    def predicted_us(self, version: Version) -> tuple[float, float] | None:
        """Return the microseconds of a version and their relative error; None where a table does not know it."""
        if self.table is None:
            return self._on_paper(version)
        is_known = version.runtime == ONNXRUNTIME and version.provider == self.job.target.provider and not version.what
        if not is_known or version.precision not in ("float32", "float16"):
            return None
        assignment = self.table.space.everywhere(FLOAT16.name) if version.precision == "float16" else {}
        return self.table.predict_us(assignment), self.table.error

    def _on_paper(self, version: Version) -> tuple[float, float]:
        job = self.job
        target = job.target if job.target.gpu is None else whole_network_target(job.target)
        space, kernels = search_space(self.program), kernels_of(self.program, target.activation)
        inside = version.precision if version.precision in ("float32", "bfloat16") else "float16"
        table = Roofline(target=target, threads=job.threads, precision=inside).cost_table(space, kernels)
        if version.provider == "tensorrt":  # it computes conversions in the kernels beside them
            free = dict.fromkeys(table.quantize_us, 0.0)
            table = replace(table, quantize_us=free, dequantize_us=free)
        return table.predict_us(version.assignment), table.error
