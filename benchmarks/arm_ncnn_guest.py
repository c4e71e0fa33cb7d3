"""Runs inside the emulator: ncnn on the networks of its own benchmark, with marks around one run of each.

Weights are empty and inputs constant, as in the benchmark whose latencies are published; one thread; a
first run warms up.
"""

import ctypes
import re
import sys
from pathlib import Path

import ncnn

MARK, BEGIN, END = 0x48435750, 1, 3
SHAPE = re.compile(r"^Input\s+.*?\b0=(\d+) 1=(\d+) 2=(\d+)", re.MULTILINE)
SIZES = {"yolo-fastest-1.1": 320, "vision_transformer": 384}
"""Sides of inputs that the .param file does not tell, as the benchmark has them."""


def mark(operation: int, tag: int) -> None:
    """Tell the counting plugin where a run begins or ends."""
    libc.prctl(ctypes.c_int(MARK), *map(ctypes.c_ulong, (operation, tag, 0, 0)))


def shape_of(path: Path) -> tuple[int, int, int]:
    """Return width, height and channels of a network's input."""
    found = SHAPE.search(path.read_text())
    return tuple(map(int, found.groups())) if found else (SIZES[path.stem], SIZES[path.stem], 3)


def run(net: "ncnn.Net", image: "ncnn.Mat") -> None:
    """Run a network once."""
    extractor = net.create_extractor()
    extractor.input(net.input_names()[0], image)
    code, _ = extractor.extract(net.output_names()[0])
    if code != 0:
        raise SystemExit(f"ncnn cannot run it: {code}")


def count(path: Path, tag: int) -> None:
    """Count one run of one network."""
    net = ncnn.Net()
    net.opt.num_threads = 1
    if net.load_param(str(path)) != 0 or net.load_model(ncnn.DataReaderFromEmpty()) != 0:
        raise SystemExit(f"ncnn cannot load {path}")
    image = ncnn.Mat(*shape_of(path))
    image.fill(0.01)
    run(net, image)
    mark(BEGIN, tag)
    run(net, image)
    mark(END, tag)


libc = ctypes.CDLL(None)
if __name__ == "__main__":
    for index, name in enumerate(sys.argv[1:]):
        count(Path(name), index)
        print(index, flush=True)
