"""Puts what a compilation found into a manifest, with the reason of every choice."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from hwcomp.attempt import Attempt
from hwcomp.benches import Bench
from hwcomp.benches.base import Final
from hwcomp.config import CompileConfig
from hwcomp.cost import CostTable
from hwcomp.entries import Profile
from hwcomp.fingerprint import environment
from hwcomp.manifest import (
    BudgetReport,
    Compiled,
    ConversionReport,
    EntryReport,
    LatencyUs,
    Manifest,
    PointReport,
    ReachReport,
    RuntimeReport,
    SearchReport,
    SiteReport,
    TargetReport,
    TrainingReport,
    Version,
    WidthReport,
)
from hwcomp.prepared import Prepared
from hwcomp.scheme import FLOAT, is_sparse, sparse_of, writes_integers
from hwcomp.search.knapsack import Sensitivity, solve
from hwcomp.space import Site
from hwcomp.workload import Workload


def summarise_result(
    workload: Workload, config: CompileConfig, attempt: Attempt, front: Sequence[Manifest] = ()
) -> Manifest:
    """Return the manifest of a finished compilation, without the hashes of files that are not written yet."""
    prepared, bench, table, final = attempt.prepared, attempt.bench, attempt.table, attempt.final
    sensitivity, shrunk = attempt.sensitivity, attempt.shrunk
    budget, target = config.budget, prepared.target
    fastest = solve(table, Sensitivity(weights={}, tensors={}))
    return Manifest(
        name=workload.name,
        target=TargetReport(
            name=target.name,
            description=target.description,
            activation=target.activation,
            threads=final.compiled.threads,
            provider=target.provider,
        ),
        runtime=RuntimeReport(name=target.runtime, version=environment()["onnxruntime"]),
        method=config.method,
        seed=config.seed,
        budget=BudgetReport(kind=budget.kind, value=budget.value, max_drop=budget.max_drop, met=final.met),
        baseline=Version(
            latency_us=LatencyUs.of(final.baseline),
            accuracy=None if final.accuracy is None else final.accuracy.baseline,
            size_bytes=len(prepared.plain),
        ),
        compiled=Compiled(
            latency_us=LatencyUs.of(final.compiled),
            accuracy=None if final.accuracy is None else final.accuracy.compiled,
            size_bytes=len(final.candidate.model),
            predicted_latency_us=final.predicted_us,
            output_distance=final.candidate.distance,
        ),
        speedup=final.speedup,
        speedup_rounds=final.ratios,
        reach=ReachReport(
            float_us=bench.float_us,
            fastest_us=table.predict_us(fastest) if fastest else bench.float_us,
            table_error=table.error,
            held_out=table.held_out,
            provenance=table.provenance,
        ),
        sites=_sites(prepared, bench, table, sensitivity, final),
        conversions=_conversions(table, final),
        widths=[] if final.is_plain else [WidthReport(group=g, kept=k, channels=c) for g, k, c in shrunk.reduced],
        training=[TrainingReport(**asdict(record)) for record in shrunk.history],
        search=[SearchReport(**asdict(record)) for record in shrunk.search],
        contest=[EntryReport(**asdict(entry)) for entry in shrunk.contest],
        front=[
            PointReport(
                number=number, latency_us=one.compiled.latency_us, speedup=one.speedup, accuracy=one.compiled.accuracy
            )
            for number, one in enumerate(front, 1)
        ],
        notes=[*shrunk.notes, *bench.remarks(), *_notes(prepared, final, table)],
        calibration=prepared.data.source,
        assignment={name: choice for name, choice in final.candidate.assignment.items() if choice != FLOAT},
        environment=environment(),
        files={},
    )


def _notes(prepared: Prepared, final: Final, table: CostTable) -> list[str]:
    notes = [*(f"{note.site}: {note.reason}" for note in prepared.program.notes), *table.notes]
    if final.is_plain:
        notes.insert(0, "Nothing that keeps the accuracy was faster: the artifact is the float network, unchanged.")
    return notes


def _sites(
    prepared: Prepared, bench: Bench, table: CostTable, sensitivity: Sensitivity, final: Final
) -> list[SiteReport]:
    chosen = final.candidate.assignment
    declined = {note.site: note.reason for note in prepared.program.notes}
    scale = table.correction * final.baseline.median_us / bench.float_us  # the machine may be faster or slower by now
    compiled = _scaled(final.profile, final.compiled.median_us) if final.profile is not None else None
    reports = []
    for site in prepared.space.sites:
        choice = chosen.get(site.name, FLOAT)
        predicted = scale * table.site_us[site.name][choice]
        before = scale * table.site_us[site.name][FLOAT]
        unmeasured = before if final.is_plain else predicted
        after = unmeasured if compiled is None else compiled.get(site.name, 0.0)
        reports.append(
            SiteReport(
                name=site.name,
                op=site.op,
                choice=choice,
                reason=_reason(site, choice, table, sensitivity, chosen, declined.get(site.name)),
                latency_us=after,
                baseline_latency_us=before,
                predicted_latency_us=predicted,
                sensitivity=_sensitivity(site, choice, sensitivity),
            )
        )
    return reports


def _scaled(profile: Profile, whole_us: float) -> dict[str, float]:
    """Return the times of a profile's sites, scaled so that all kernels add up to a run without the profiler."""
    scale = whole_us / profile.total_us
    return {name: us * scale for name, us in profile.site_us.items()}


def _sensitivity(site: Site, choice: str, sensitivity: Sensitivity) -> float:
    """Return the distance that the choice causes, or for a float site the one that its first scheme would."""
    scheme = choice if choice != FLOAT else next(iter(site.candidates[1:]), FLOAT)
    tensor = sensitivity.tensors.get(site.name, 0.0) if writes_integers(scheme) else 0.0
    return sensitivity.weights.get(site.name, {}).get(scheme, 0.0) + tensor


def _reason(
    site: Site,
    choice: str,
    table: CostTable,
    sensitivity: Sensitivity,
    chosen: Mapping[str, str],
    declined: str | None,
) -> str:
    if declined is not None:
        return declined
    if (dense := _why_dense(site, choice, table, chosen)) is not None:
        return dense
    if choice != FLOAT or len(site.candidates) == 1:
        return ""
    scheme = site.candidates[1]
    changed = dict(chosen) | {site.name: scheme}
    moved = _sensitivity(site, scheme, sensitivity)
    extra = table.predict_us(changed) - table.predict_us(chosen)
    if extra >= 0:
        return f"{scheme} would add {extra:.0f} us, conversions included"
    return f"{scheme} would save {-extra:.0f} us but move the outputs by {moved**0.5:.3f}"


def _why_dense(site: Site, choice: str, table: CostTable, chosen: Mapping[str, str]) -> str | None:
    """Return why a layer with zeros is computed with them; None for other layers.

    A sparse kernel takes about as much longer as it has more weights, which tells the density that would do.
    """
    scheme = next((candidate for candidate in site.candidates if is_sparse(candidate)), None)
    if scheme is None or is_sparse(choice):
        return None
    extra = table.predict_us(dict(chosen) | {site.name: scheme}) - table.predict_us(chosen)
    own = table.correction * table.site_us[site.name][scheme]
    sparse = sparse_of(scheme)
    if sparse is None or extra < 0:
        return None
    density = sparse.density * (own - extra) / own if own > 0 else 0.0
    wins = f"it would pay below a density of {density:.2g}" if density > 0 else "at any density"
    return f"{scheme} would add {extra:.0f} us, conversions included; {wins}"


def _conversions(table: CostTable, final: Final) -> list[ConversionReport]:
    """Return every tensor that is converted, with its measured time, or the table's."""
    if final.is_plain:
        return []
    if final.profile is not None:
        scale = final.compiled.median_us / final.profile.total_us
        times = final.profile.tensor_us.items()
        return [ConversionReport(tensor=name, latency_us=us * scale) for name, us in times]
    chosen = final.candidate.assignment
    found = []
    for edge in table.space.edges:
        latency_us = table.conversion_us(edge, chosen)
        if latency_us > 0:
            found.append(ConversionReport(tensor=edge.tensor, latency_us=latency_us))
    return found
