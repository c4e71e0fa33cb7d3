"""TVM's instructions for tensor cores, loaded in seconds."""

import importlib
import inspect
import sys
import types

PARSER, INTRINSICS = "tvm.tirx.script.parser.entry", "tvm.s_tir.tensor_intrin"


def load_intrinsics() -> None:
    """Import TVM's definitions of tensor instructions, which its schedules import when they first need them.

    There are some 500 functions in TVM's script, and for each the parser asks for the calling frames with their source
    lines, for which Python looks through all loaded modules, frame by frame: two minutes beside PyTorch. The lines only
    serve functions inside of classes, and these are in none, so the parser gets frames without lines meanwhile.
    """
    parser = importlib.import_module(PARSER)
    without_lines = types.SimpleNamespace(**{**vars(inspect), "stack": _frames})
    parser.inspect = without_lines  # type: ignore[attr-defined]  # in this one module of TVM, nowhere else
    try:
        importlib.import_module(INTRINSICS)
    finally:
        parser.inspect = inspect  # type: ignore[attr-defined]


def _frames() -> list[inspect.FrameInfo]:
    """Return the frames of the callers as `inspect.stack` does, without their source lines."""
    found: list[inspect.FrameInfo] = []
    frame: types.FrameType | None = sys._getframe(1)  # noqa: SLF001 - of the caller, as `inspect.stack` does
    while frame is not None:
        code = frame.f_code
        found.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
        frame = frame.f_back
    return found
