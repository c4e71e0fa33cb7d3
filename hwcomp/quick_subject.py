"""A network as something to measure, of whose values nothing is asked."""

from collections.abc import Sequence

import torch

from hwcomp.calibration import activation_ranges, observe
from hwcomp.default_passes import default_passes
from hwcomp.lowering.onnx_export import export_float
from hwcomp.program import Pass, Program, run_passes
from hwcomp.subject import Subject, subject_of
from hwcomp.target import Target


def quick_subject(network: Program, target: Target, more: Sequence[Pass] = ()) -> Subject:
    """Return a traced network as something to measure; its ranges are those of one random input.

    Args:
        network: as traced.
        target: that it is lowered for.
        more: passes behind the default ones.
    """
    program = run_passes(network, [*default_passes(target), *more])
    generator = torch.Generator().manual_seed(0)
    inputs = tuple(
        torch.randn(x.shape, generator=generator) if x.is_floating_point() else x for x in program.example_inputs
    )
    seen = observe(program, [inputs])
    params = activation_ranges(program, seen, "minmax", target.activation)
    return subject_of(program, target, export_float(program), seen, params, inputs)
