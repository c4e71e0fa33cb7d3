"""Times an artifact against something else, in interleaved rounds."""

from pathlib import Path

import numpy as np

from hwcomp import artifact
from hwcomp.console import Reporter
from hwcomp.devices import local
from hwcomp.errors import InputError
from hwcomp.lowering.onnxruntime import Feed, open_session
from hwcomp.measurement import Comparison

TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_}


def compare_artifacts(
    folder: Path, against: Path | None, rounds: int, threads: int | None, reporter: Reporter
) -> Comparison:
    """Time an artifact against another artifact or ONNX file; alone if there is nothing to compare with.

    Raises:
        InputError: one of them cannot be read, or their inputs differ.
    """
    manifest = artifact.read(folder)
    threads = threads or manifest.target.threads
    path = artifact.model_path(folder)
    models: dict[str, bytes | Path] = {}
    if against is not None:
        models[str(against)] = against if against.suffix == ".onnx" else artifact.model_path(against)
        if not Path(str(models[str(against)])).is_file():
            raise InputError(f"No file '{against}'; give an artifact folder or an .onnx file.")
    models[str(folder)] = path
    feed = random_feed(path)
    for name, model in models.items():
        wanted = {item.name: tuple(item.shape) for item in open_session(model, 1).get_inputs()}
        if wanted != {key: value.shape for key, value in feed.items()}:
            raise InputError(f"'{name}' takes inputs {wanted}; the artifact takes others, so they cannot be compared.")
    stage = reporter.stage("Bench")
    with stage.bar("interleaved runs", total=rounds * len(models)) as bar:
        timed = local.compare(models, feed, threads, rounds, bar.advance)
    for name in models:
        m = timed.measurement(name)
        stage.done(
            f"{name}: {m.median_us / 1e3:.3f} ms measured (p10 {m.p10_us / 1e3:.3f}, p90 {m.p90_us / 1e3:.3f}, "
            f"{m.runs} runs, {threads} threads)"
        )
    if against is not None:
        low, high = np.percentile(timed.ratios(str(folder)), [10, 90])
        stage.done(f"{timed.speedup(str(folder)):.2f}x faster than {against} (p10 {low:.2f}, p90 {high:.2f} of rounds)")
    return timed


def random_feed(model: Path) -> Feed:
    """Return random inputs for a model, by name."""
    generator = np.random.default_rng(0)
    feed = {}
    for item in open_session(model, 1).get_inputs():
        kind = TYPES.get(item.type)
        if kind is None or not all(isinstance(size, int) for size in item.shape):
            raise InputError(
                f"Input '{item.name}' has type {item.type} and shape {item.shape}, which cannot be made up."
            )
        drawn = generator.standard_normal(item.shape)
        feed[item.name] = drawn.astype(kind) if kind is np.float32 else np.zeros(item.shape, kind)
    return feed
