"""Models timed against each other on one device.

The speed of a machine shifts in steps, and ONNX Runtime's worker threads spin after a run and slow every other session:
so only one session is alive at a time, and models take turns in short blocks, the order reversed every other round.
"""

from collections.abc import Callable, Mapping

from hwcomp.devices.base import Device
from hwcomp.lowering.onnxruntime import Feed
from hwcomp.measurement import Comparison


def compare(
    device: Device,
    models: Mapping[str, bytes],
    feed: Feed,
    threads: int,
    rounds: int,
    progress: Callable[[], None] = lambda: None,
) -> Comparison:
    """Time models against each other; the first one is the control.

    Args:
        device: where.
        models: name -> ONNX model.
        feed: input name -> array.
        threads: for the runtime.
        rounds: blocks of each model.
        progress: called after every block.
    """
    blocks: dict[str, list[list[float]]] = {name: [] for name in models}
    runs: dict[str, int] = {}
    for index in range(rounds):
        order = list(models) if index % 2 == 0 else list(models)[::-1]
        for name in order:
            block = device.time_block(models[name], feed, threads, runs.get(name))
            runs[name] = len(block)
            blocks[name].append(block)
            progress()
    return Comparison(blocks_us=blocks, threads=threads, provenance=device.provenance)
