"""What ``hwcomp verify`` does: run an artifact on a device, compare with the host, and say what was found."""

from pathlib import Path

from rich.console import Console

from hwcomp import artifact
from hwcomp.console import Reporter, Stage
from hwcomp.devices import CPU, EMULATED, open_device
from hwcomp.matching import check_gpus
from hwcomp.target import load
from hwcomp.verification import SCALAR_LIMIT, Verification
from hwcomp.verification import verify as compare

SHOWN_SHARE = 0.005


def verify(folder: Path, device: str, target: str | None) -> int:
    """Compare, print, and return the exit code: 1 if the device computes something else.

    Args:
        folder: the artifact.
        device: "local", "ssh://[user@]host[:port]" or "emulated".
        target: whose core is emulated; the artifact's own if not given.

    Raises:
        InputError: the artifact or the device cannot be used.
    """
    console = Console()
    manifest = artifact.read(folder)
    emulated = load(target or manifest.target.name) if device == EMULATED else None
    stage = Reporter(console).stage("Verify")
    with open_device(device, emulated, CPU if emulated else manifest.target.provider) as place:
        if place.facts().provider != CPU:
            check_gpus(place)
        with stage.bar(f"running on {device}", total=None):
            found = compare(folder, place)
    _show(found, stage, device)
    return 0 if found.agrees else 1


def _show(found: Verification, stage: Stage, device: str) -> None:
    stage.done(f"{device}: {found.fingerprint}, {found.runtime}")
    stage.done(("" if found.agrees else "[red]") + found.sentence() + ("" if found.agrees else "[/red]"))
    if found.mix is None:
        return
    shares = {name: share for name, share in found.mix.shares().items() if share >= SHOWN_SHARE}
    parts = ", ".join(
        f"{name} {100 * share:.0f} %" for name, share in sorted(shares.items(), key=lambda pair: -pair[1])
    )
    stage.done(f"{found.mix.total / 1e6:.1f} million instructions in a run: {parts}")
    if found.scalar:
        stage.done(
            f"[yellow]warning: scalar fall-back: {100 * found.mix.scalar_share:.0f} % of the arithmetic is scalar "
            f"float (more than {100 * SCALAR_LIMIT:.0f} %), so some operator has no vector code there[/yellow]"
        )
