"""Times an artifact against something else, in interleaved rounds."""

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import EncodeError
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from hwcomp import artifact
from hwcomp.console import Reporter
from hwcomp.devices import CPU, EMULATED, LOCAL, open_device
from hwcomp.devices.agent.libraries import inputs_of, is_library
from hwcomp.devices.compare import compare
from hwcomp.errors import InputError
from hwcomp.lowering.onnxruntime import Feed
from hwcomp.matching import check_gpus
from hwcomp.measurement import Comparison
from hwcomp.sessions import open_model, zeros_for
from hwcomp.target import load


def compare_artifacts(
    folder: Path, against: Path | None, rounds: int, threads: int | None, device: str, reporter: Reporter
) -> Comparison:
    """Time an artifact against another artifact or ONNX file; alone if there is nothing to compare with.

    Args:
        folder: the artifact.
        against: what it is compared with.
        rounds: blocks of each.
        threads: of the runtime; those that the artifact was compiled for if not given.
        device: where, see `hwcomp.devices.open_device`.
        reporter: prints progress.

    Raises:
        InputError: one of them cannot be read, or their inputs differ, or the device cannot be used.
    """
    manifest = artifact.read(folder)
    threads = threads or manifest.target.threads
    path = artifact.model_path(folder)
    models: dict[str, Path] = {}
    if against is not None:
        models[str(against)] = against if against.suffix == ".onnx" else artifact.model_path(against)
        if not models[str(against)].is_file():
            raise InputError(f"No file '{against}'; give an artifact folder or an .onnx file.")
    models[str(folder)] = path
    feed = random_feed(path)
    for name, model in models.items():
        wanted = {item.name: tuple(item.shape) for item in open_model(model, 1).get_inputs()}
        if wanted != {key: value.shape for key, value in feed.items()}:
            raise InputError(f"'{name}' takes inputs {wanted}; the artifact takes others, so they cannot be compared.")
    stage = reporter.stage("Bench")
    contents = {name: whole_model(model) for name, model in models.items()}
    target = load(manifest.target.name) if device == EMULATED else None
    with open_device(device, target, manifest.target.provider) as place:
        found = place.facts()
        if manifest.target.provider != CPU:
            check_gpus(place)
        with stage.bar("interleaved runs", total=rounds * len(models)) as bar:
            timed = compare(place, contents, feed, threads, rounds, bar.advance)
        for remark in place.remarks():
            stage.note(remark)
    if device != LOCAL:
        stage.done(f"{device}: {found.fingerprint}, {found.runtime}")
    for name in models:
        m = timed.measurement(name)
        stage.done(
            f"{name}: {m.median_us / 1e3:.3f} ms {m.provenance} (p10 {m.p10_us / 1e3:.3f}, p90 {m.p90_us / 1e3:.3f}, "
            f"{m.runs} runs, {threads} threads)"
        )
    if against is not None:
        low, high = np.percentile(timed.ratios(str(folder)), [10, 90])
        stage.done(f"{timed.speedup(str(folder)):.2f}x faster than {against} (p10 {low:.2f}, p90 {high:.2f} of rounds)")
    return timed


def whole_model(path: Path) -> bytes:
    """Return a model in one piece, with the weights that lie in files beside it.

    Raises:
        InputError: it is larger than a message can be.
    """
    content = path.read_bytes()
    if is_library(content):
        return content
    model = onnx.load_model_from_string(content)
    if not any(uses_external_data(tensor) for tensor in model.graph.initializer):
        return content
    load_external_data_for_model(model, str(path.parent))
    try:
        return bytes(model.SerializeToString())
    except (ValueError, EncodeError) as error:
        raise InputError(f"'{path}' with its weights is larger than 2 GB, which cannot be sent to a device.") from error


def random_feed(model: Path) -> Feed:
    """Return random inputs for a model, by name."""
    generator = np.random.default_rng(0)
    feed = {}
    for item in inputs_of(str(model)) if is_library(str(model)) else open_model(model, 1).get_inputs():
        zeros = zeros_for(item)
        drawn = generator.standard_normal(item.shape)
        feed[item.name] = drawn.astype(np.float32) if zeros.dtype == np.float32 else zeros
    return feed
