"""Ask ONNX Runtime's real CUDA provider, without a GPU, whether it has a kernel for every operator of our files.

    python benchmarks/gpu_placement.py [--wheel onnxruntime_gpu-....whl] [NAME ...]

The wheel (250 MB) is downloaded if none is given. Beside it lie empty libraries of CUDA (`empty_cuda`), so that the
provider starts; each version of each network is then opened as hwcomp opens it on a GPU, and once more as a CUDA graph,
which the provider refuses if the processor keeps a part. Nothing is run, and nothing is timed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from common import ROOT, save
from empty_cuda import write_empty

from hwcomp.artifact import TVM
from hwcomp.config import CompileConfig
from hwcomp.console import Reporter
from hwcomp.default_passes import default_passes
from hwcomp.design import designed_assignments
from hwcomp.job import Job
from hwcomp.prepared import prepare_for_search
from hwcomp.program import Program, run_passes
from hwcomp.quick_subject import quick_subject
from hwcomp.stages import Stages, cache_root
from hwcomp.target import load
from hwcomp.tracing import trace
from hwcomp.uniform.forms import whole_network_target
from hwcomp.uniform.versions import Version, versions_for_gpu
from hwcomp.workload import load_workload

NAMES = ("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "vit_tiny")
VERSION = "1.31.1"

ASKING = """
import json, sys
from collections import Counter
import onnx, onnxruntime as ort

found = {}
for path in sys.argv[1:]:
    said = {}
    for graph in ("0", "1"):
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        try:
            providers = [("CUDAExecutionProvider", {"enable_cuda_graph": graph}), "CPUExecutionProvider"]
            session = ort.InferenceSession(path, options, providers=providers, enable_fallback=0)
        except Exception as error:
            said["graph" if graph == "1" else "error"] = str(error).splitlines()[0]
            continue
        assert "CUDAExecutionProvider" in session.get_providers()
        ours, strays = Counter(), Counter()
        for part in session.get_provider_graph_assignment_info():
            (ours if part.ep_name == "CUDAExecutionProvider" else strays).update(n.op_type for n in part.get_nodes())
        if graph == "0":
            said.update(kernels=sum(ours.values()), operators=dict(ours), on_processor=dict(strays))
        else:
            said["graph"] = "captured"
    found[path] = said
print(json.dumps(found))
"""


def main() -> None:
    """Ask for all networks, print a line for each version, and save what was answered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME")
    parser.add_argument("--wheel", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = options.wheel or downloaded(folder)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "runtime")
        provider = folder / "runtime" / "onnxruntime" / "capi" / "libonnxruntime_providers_cuda.so"
        write_empty(provider, folder / "cuda")
        rows = [row for network in options.names for row in answers(network, folder)]
    save("gpu_placement", {"runtime": f"onnxruntime-gpu {VERSION}", "compute": "9.0", "versions": rows})


def downloaded(folder: Path) -> Path:
    """Return the wheel of the runtime, from the package index."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    subprocess.run([*command, f"onnxruntime-gpu=={VERSION}"], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def answers(network: str, folder: Path) -> list[dict[str, Any]]:
    """Return where the provider would run the operators of each version of a network, and print it."""
    paths: dict[str, Version] = {}
    for number, version in enumerate(files_of(network)):
        path = folder / f"{network}{number}.onnx"
        path.write_bytes(version.content)
        paths[str(path)] = version
    environment = {**os.environ, "PYTHONPATH": str(folder / "runtime"), "LD_LIBRARY_PATH": str(folder / "cuda")}
    command = [sys.executable, "-c", ASKING, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"ONNX Runtime did not start beside the empty libraries: {done.stderr[-1500:]}")
    rows = []
    for path, said in json.loads(done.stdout).items():
        row = {"network": network, "version": paths[path].name, **said}
        told = said.get("error") or f"{said['kernels']} on the GPU, on the processor {said['on_processor'] or 'none'}"
        print(f"{network}: {paths[path].name}: {told}; CUDA graph: {said.get('graph')}")
        rows.append(row)
    return rows


def files_of(network: str) -> list[Version]:
    """Return the versions of a network that ONNX Runtime's CUDA provider runs."""
    workload = load_workload(str(ROOT / "examples" / "imagenet_shapes" / f"model.py:{network}"))
    target, reporter, stages = load("gpu"), Reporter(), Stages(cache_root())
    traced = trace(workload.model, workload.example_inputs)
    whole = whole_network_target(target)
    program = run_passes(traced, default_passes(whole))
    stage_config = CompileConfig(target="gpu", calibration=4)
    prepared = prepare_for_search(workload, program, whole, stage_config, stages, reporter)
    assert target.gpu is not None
    made = []
    for precision in ("float32", "float16", "weight8", "weight4"):
        config = CompileConfig(target="gpu", precision=precision, runtime="onnxruntime")
        job = Job(
            workload=workload, network=traced, original=program, target=target, config=config, stages=stages,
            reporter=reporter,
        )  # fmt: skip
        offered = versions_for_gpu(job, target.gpu, program, prepared, timed=False).offered
        made += [version for version in offered if version.provider == "cuda" and version.runtime != TVM]
    return [*made, *searched_files(traced)]


def searched_files(network: Program) -> list[Version]:
    """Return files as methods that search every operator make them: all in halves, and in turns with float32."""
    subject = quick_subject(network, load("gpu"))
    designed = designed_assignments(subject.space)
    told = {"float16": ", operator by operator", "alternating 0": " in turns with float32"}
    return [
        Version(
            runtime="onnxruntime",
            provider="cuda",
            content=subject.lower(designed[name]),
            precision="float16",
            what=what,
        )
        for name, what in told.items()
    ]


if __name__ == "__main__":
    main()
