"""Stand-ins: NVIDIA's driver and its tool, and a provider of ONNX Runtime, which the processor plays.

Everything else is real: agents are processes, and models run in ONNX Runtime.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwcomp.devices.connection import Connection
from hwcomp.devices.pipe import PipeDevice
from hwcomp.devices.ssh import READY, loader

NVML = """
import json, os

plan = json.loads(open(os.environ["FAKE_NVML"]).read())
if plan.get("absent"):
    raise ImportError("no pynvml")
NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0


class NVMLError(Exception):
    pass


class Memory:
    def __init__(self, total):
        self.total = total


def nvmlInit():
    global plan
    plan = json.loads(open(os.environ["FAKE_NVML"]).read())
    if "error" in plan:
        raise NVMLError(plan["error"])


def nvmlSystemGetDriverVersion(): return b"580.95.05"
def nvmlSystemGetCudaDriverVersion(): return plan.get("cuda", 13000)
def nvmlDeviceGetCount(): return len(plan["gpus"])
def nvmlDeviceGetHandleByIndex(number): return plan["gpus"][number]
def nvmlDeviceGetName(gpu): return gpu["name"]
def nvmlDeviceGetUUID(gpu): return gpu.get("uuid", "GPU-0")
def nvmlDeviceGetCudaComputeCapability(gpu): return tuple(gpu.get("compute", (9, 0)))
def nvmlDeviceGetMemoryInfo(gpu): return Memory(141 * 2**30)
def nvmlDeviceGetClockInfo(gpu, kind): return gpu.get("clock", 1980)
def nvmlDeviceGetMaxClockInfo(gpu, kind): return 1980
def nvmlDeviceGetCurrentClocksThrottleReasons(gpu): return gpu.get("reasons", 1)


def nvmlDeviceGetTemperature(gpu, kind):
    if "temperature" not in gpu:
        raise NVMLError("Not Supported")
    return gpu["temperature"]
"""

SMI = """#!/bin/sh
if [ -z "$1" ]; then echo "| NVIDIA-SMI 550.54   Driver Version: 550.54   CUDA Version: 12.4 |"; exit 0; fi
cat "$FAKE_SMI"
exit "$FAKE_SMI_CODE"
"""

H200 = {"name": "NVIDIA H200", "uuid": "GPU-aaaa"}
T4 = {"name": "Tesla T4", "uuid": "GPU-bbbb", "compute": [7, 5]}

STAND_IN = (
    (
        'CPU: "CPUExecutionProvider", CUDA: "CUDAExecutionProvider"',
        'CPU: "AzureExecutionProvider", CUDA: "CPUExecutionProvider"',
    ),
    ('PLACE = "cuda"', 'PLACE = "cpu"'),
)
"""What makes ONNX Runtime's processor play the GPU in a copy of the agent."""


class Child(PipeDevice):
    """An agent that is a child of this process."""

    def __init__(self, path: Path, environment: dict[str, str], provider: str = "cuda") -> None:
        super().__init__("child", provider)
        self.command = [sys.executable, "-W", "ignore", str(path)]
        self.environment = environment

    def connect(self) -> Connection:
        return Connection(self.command, self.environment)


class Sent(Child):
    """An agent that came through a pipe, as over ssh."""

    def connect(self) -> Connection:
        content = Path(self.command[-1]).read_bytes()
        connection = Connection([sys.executable, "-W", "ignore", "-c", loader(content)], self.environment)
        assert connection.skip_to(f"{READY}\n".encode(), 100, 60.0)
        connection.send(content)
        return connection


class Driver:
    """A stand-in of NVIDIA's driver, for processes that are started in its environment."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.plan_path, self.smi_path = folder, folder / "plan.json", folder / "smi.csv"
        (folder / "pynvml.py").write_text(NVML)
        self.set(absent=True)

    def set(self, *gpus: dict[str, Any], **plan: object) -> None:
        self.plan_path.write_text(json.dumps({"gpus": gpus, **plan}))

    def add_smi(self, text: str, code: int = 0) -> None:
        tool = self.folder / "bin" / "nvidia-smi"
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(SMI)
        tool.chmod(0o755)
        self.smi_path.write_text(text)
        self.code = code

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "PYTHONPATH": str(self.folder), "FAKE_NVML": str(self.plan_path), "FAKE_SMI": str(self.smi_path),
            "FAKE_SMI_CODE": str(getattr(self, "code", 0)),
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "HWCOMP_PATIENCE": "0",
        }  # fmt: skip
        return {**{key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}, **own}


def network() -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    w = numpy_helper.from_array(np.arange(16, dtype=np.float32).reshape(4, 4), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="a/MatMul"),
        helper.make_node("Softsign", ["m"], ["y"], name="b/Op"),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [w])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


FEED = {"x": np.array([[1.0, -2.0, 3.0, -4.0]], np.float32)}


def refusal(error: type[Exception], ask: Callable[[], object]) -> str:
    with pytest.raises(error) as refused:
        ask()
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


Open = Callable[..., Child]
