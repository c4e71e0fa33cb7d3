"""Models, loaded: by ONNX Runtime on the processor or on a GPU, or as a library of TVM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from .captured import Captured
from .carried import installed, kernels
from .engines import cache_options
from .libraries import Library, is_library, signature
from .providers import CPU, CUDA, PROVIDERS, TENSORRT, check_provider, gpu_trouble
from .wire import Header, Refused, Source, first_line
from .wishes import Wishes, wishes_of

PLACE = "cuda"
"""Where tensors of a session on a GPU lie, as ONNX Runtime names it."""

KERNEL_SUFFIX = "_kernel_time"
"""What ONNX Runtime adds to a node's name, where its profile tells how long the node's kernel took."""


def open_session(source: Source, threads: int, folder: str | None = None, provider: str = CPU) -> Any:
    """Load a model, with the library of operators that it carries.

    It is profiled into ``folder`` if that is given, beside its optimised graph without weights. Where a GPU is asked
    for, that computes, or nothing does.
    """
    if is_library(source):
        if folder is not None:
            raise Refused("a library of TVM keeps no times of its kernels; time the whole network")
        if provider != CPU and signature(source).get("device") != "cuda":
            raise Refused("the library runs on the processor, and a GPU was asked for: compile it for that target")
        return Library(source, threads)
    import onnxruntime as ort  # noqa: PLC0415 - heavy; `hello` tells where it is missing

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    if folder is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "64")
    library = kernels(source)
    try:
        if library is not None:
            options.register_custom_ops_library(installed(library))
        if provider == CPU:
            return ort.InferenceSession(source, options, providers=[PROVIDERS[CPU]])
        wishes = wishes_of(source) or Wishes(provider)
        session = _gpu_session(source, options, provider, wishes, captured=folder is None and wishes.graph)
        return Captured(session, PLACE) if folder is None and wishes.graph else session
    except Refused:
        raise
    except Exception as error:  # ONNX Runtime raises classes of its own that share no base
        raise gpu_trouble(error) or Refused(f"ONNX Runtime cannot load the model: {first_line(error)}") from error


def _gpu_session(source: Source, options: Any, provider: str, wishes: Wishes, *, captured: bool) -> Any:
    """Return a session on a GPU, without ONNX Runtime's habit to go on with the processor if that fails."""
    import onnxruntime as ort  # noqa: PLC0415 - see above

    check_provider(provider)
    # ONNX Runtime would turn float biases behind Q/DQ pairs into integers, which TensorRT takes no more than CUDA does
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    given = {PROVIDERS[provider]: replace(wishes, provider=provider, graph=captured).options()}
    if provider == TENSORRT:
        given[PROVIDERS[provider]].update(cache_options(source))
        options.optimized_model_filepath = ""  # what TensorRT compiled cannot be written
    for name in (CUDA, CPU):
        if PROVIDERS[name] in ort.get_available_providers():
            given.setdefault(PROVIDERS[name], {})
    session = ort.InferenceSession(source, options, providers=list(given.items()), enable_fallback=0)
    if PROVIDERS[provider] not in session.get_providers():
        raise Refused(
            f"{PROVIDERS[provider]} of ONNX Runtime {ort.__version__} there did not start, so that the processor would "
            "compute: a library of CUDA, cuDNN or TensorRT that it needs is missing; run `pip install "
            "'onnxruntime-gpu[cuda,cudnn]'` there, for TensorRT `pip install 'tensorrt-cu13<11'`",
            "gpu",
        )
    return session


def runner(session: Any, feed: Header, provider: str) -> Callable[[], Any]:
    """Return what runs a model once; for a GPU its inputs lie there already, and its outputs stay there."""
    if isinstance(session, (Captured, Library)):
        return session.runner(feed)
    if provider == CPU:
        return lambda: session.run(None, feed)
    return _bound(session, feed, PLACE)


def _bound(session: Any, feed: Header, place: str) -> Callable[[], Any]:
    import onnxruntime as ort  # noqa: PLC0415 - see above

    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, place, 0))
    for item in session.get_outputs():
        binding.bind_output(item.name, place)

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()  # a run ends when the GPU is done, not when all kernels are launched

    return run
