"""Two choices that rest on measured accuracy: what output distance stands for a point, and no equalisation.

    HWCOMP_CIFAR10=cifar10_jpeg.npz python benchmarks/accuracy_choices.py

Networks are rounded in PyTorch, everything in integers, with weights of 8 down to 3 bits; distance is measured on the
calibration inputs, points on other training samples, not augmented (never on test data). Equalisation moves range from
the rows of one convolution to the columns of the next ([Nagel2019]_, section 4.1); it is tried on the same networks at
8 bits.
"""

import copy
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from common import ROOT, save
from torch import Tensor, nn

from hwcomp.calibration import activation_ranges, observe
from hwcomp.default_passes import default_passes
from hwcomp.fix import fix, plan
from hwcomp.kernels import search_space
from hwcomp.ops import anchor, module_of, op_of, tail_of
from hwcomp.program import Inputs, Program, run_passes
from hwcomp.target import load
from hwcomp.tracing import trace
from hwcomp.workload import Workload, load_workload, samples

CALIBRATION, LABELLED = 32, 2000
BITS = (8, 7, 6, 5, 4, 3)


def rounded(program: Program, inputs: list[tuple[Tensor, ...]], bits: int, ranges: Any = "mse") -> Program:
    """Return a program with everything in integers."""
    program = run_passes(program, default_passes(load("x86_64"))[-1:])
    seen = observe(program, inputs)
    params = activation_ranges(program, seen, ranges, "uint8")
    everywhere = search_space(program).everywhere("int8")
    return fix(program, plan(program, everywhere, params, seen, bits))


def distance(reference: Program, changed: Program, inputs: list[tuple[Tensor, ...]]) -> float:
    """Return the relative distance of the outputs."""
    with torch.no_grad():
        moved = [changed.module(*x) - reference.module(*x) for x in inputs]
        scale = [reference.module(*x) for x in inputs]
    return float(torch.cat(moved).norm() / torch.cat(scale).norm())


def accuracy(program: Program, batches: list[tuple[Tensor, Tensor]]) -> float:
    """Return top-1 accuracy in percent."""
    with torch.no_grad():
        hits = sum(int((program.module(x).argmax(1) == y).sum()) for x, y in batches)
    return 100.0 * hits / sum(len(y) for _, y in batches)


def equalised(program: Program) -> Program:
    """Return a program in which consecutive convolutions share their ranges evenly."""
    result = program.fork()
    for node in result.nodes:
        readers = list(node.users)
        if op_of(node) != "conv2d" or len(readers) != 1 or op_of(readers[0]) != "conv2d":
            continue
        first, second = copy.deepcopy(module_of(node)), copy.deepcopy(module_of(readers[0]))
        assert first is not None
        assert second is not None
        if tail_of(first) in (None, "relu"):
            _share(anchor(first), anchor(second))
            result.module.add_submodule(str(node.target), first)
            result.module.add_submodule(str(readers[0].target), second)
    result.module.recompile()
    return replace(result)


def _share(first: nn.Module, second: nn.Module) -> None:
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    if second.groups not in (1, second.in_channels):
        return
    columns = second.weight.data if second.groups > 1 else second.weight.data.transpose(0, 1)
    scale = (first.weight.data.flatten(1).abs().amax(1) / columns.flatten(1).abs().amax(1)).sqrt().clamp(1e-2, 1e2)
    first.weight.data /= scale.view(-1, 1, 1, 1)
    if first.bias is not None:
        first.bias.data /= scale
    second.weight.data *= scale.view(-1, 1, 1, 1) if second.groups > 1 else scale.view(1, -1, 1, 1)


def networks() -> Iterator[tuple[str, Workload]]:
    """Give the networks: trained ones first."""
    specs = ["digits/model.py", "cifar10/model.py"] if "HWCOMP_CIFAR10" in os.environ else ["digits/model.py"]
    shapes = [f"imagenet_shapes/model.py:{name}" for name in ("mobilenet_v2", "resnet50")]
    for spec in [*specs, *shapes]:
        yield spec, load_workload(os.fspath(ROOT / "examples" / spec))


def drawn(workload: Workload) -> tuple[list[Inputs], list[tuple[Inputs, Tensor]]]:
    """Return calibration inputs, and labelled samples that are none of them; no samples where there are no labels."""
    plain = workload.calibration_data or workload.train_data
    assert plain is not None
    reader = samples(plain() or [], workload.example_inputs)
    inputs = [x for x, _ in islice(reader, CALIBRATION)]
    if workload.validation_data is not None:
        reader = samples(workload.validation_data() or [], workload.example_inputs)
    return inputs, [(x, y) for x, y in islice(reader, LABELLED) if y is not None]


def main() -> None:
    """Measure, print and save."""
    points: dict[str, Any] = {}
    equalisation: dict[str, Any] = {}
    for spec, workload in networks():
        program = run_passes(trace(workload.model, workload.example_inputs), default_passes(load("x86_64"))[:-1])
        inputs, labelled = drawn(workload)
        even = equalised(program)
        equalisation[spec] = {
            ranges: {
                "plain": distance(program, rounded(program, inputs, 8, ranges), inputs),
                "equalised": distance(program, rounded(even, inputs, 8, ranges), inputs),
            }
            for ranges in ("minmax", "mse")
        }
        print(spec, "equalisation", equalisation[spec])
        if not labelled:
            continue
        batch = (torch.cat([x[0] for x, _ in labelled]), torch.cat([y for _, y in labelled]))
        before = accuracy(program, [batch])
        points[spec] = []
        for bits in BITS:
            changed = rounded(program, inputs, bits)
            row = {
                "bits": bits,
                "distance": distance(program, changed, inputs),
                "drop": before - accuracy(changed, [batch]),
            }
            points[spec].append(row)
            print(spec, row)
    save("accuracy_choices", {"distance_and_points": points, "equalisation": equalisation})


if __name__ == "__main__":
    main()
