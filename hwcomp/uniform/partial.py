"""8-bit integers where they cost little: the operators that they would harm most stay in halves."""

from collections.abc import Mapping
from dataclasses import replace

from hwcomp.job import Job
from hwcomp.prepared import Prepared
from hwcomp.search.knapsack import Sensitivity
from hwcomp.search.sensitivity import sensitivity
from hwcomp.uniform.judging import Judge
from hwcomp.uniform.versions import Version, Versions, rebuilt

LEFT_OUT = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Shares of the operators that are left in halves, tried one after the other."""

INPUTS = 4


def with_partial_integers(job: Job, prepared: Prepared, made: Versions, judge: Judge) -> Versions:
    """Return the versions, and where int8 throughout is not accurate enough one that is, if any.

    The operators that stay in halves are those whose rounding alone, of weight and output, moves the network's output
    most; as few as of `LEFT_OUT` suffice, on held-out samples where there are any.

    Args:
        job: the compilation.
        prepared: the network, calibrated.
        made: its versions.
        judge: of what they compute on this processor.
    """
    whole = next((one for one in made.offered if one.precision == "int8"), None)
    if whole is None or judge.is_accurate_here(whole):
        return made
    stage = job.reporter.stage("Sense")
    with stage.bar("rounding one part at a time") as bar:
        found = sensitivity(
            prepared.program, prepared.data.inputs[:INPUTS], prepared.params, prepared.seen,
            prepared.target.weight_bits, progress=bar.share,
        )  # fmt: skip
    for share in LEFT_OUT:
        version = _without_the_worst(prepared, whole, found, share)
        if version is not None and judge.is_accurate_here(version):
            stage.done(f"8-bit integers are accurate enough{version.what}")
            return replace(made, offered=[*made.offered, version])
    stage.done("8-bit integers are not accurate enough, not even with half of the operators in halves")
    return made


def _without_the_worst(prepared: Prepared, whole: Version, found: Sensitivity, share: float) -> Version | None:
    """Return int8 without a share of its operators, those that are most sensitive; None if that leaves out none."""
    by_harm = sorted(whole.assignment, key=lambda site: _harm(site, found), reverse=True)
    count = round(share * len(by_harm))
    if count == 0:
        return None
    kept: Mapping[str, str] = {site: whole.assignment[site] for site in by_harm[count:]}
    told = f" but {count} of {len(by_harm)} operators"
    return rebuilt(whole, prepared.lower(kept), kept, f"{whole.what}{told}")


def _harm(site: str, found: Sensitivity) -> float:
    return max(found.weights.get(site, {}).values(), default=0.0) + found.tensors.get(site, 0.0)
