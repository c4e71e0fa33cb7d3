"""A device whose times are known: what profiling makes of them can be checked exactly, which no real device allows."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from hwcomp.cost import CostTable
from hwcomp.devices.base import Device
from hwcomp.devices.facts import DeviceFacts, DeviceState
from hwcomp.errors import DeviceLost
from hwcomp.kernel import BOUNDARIES, Kernel, Kernels
from hwcomp.lowering.onnxruntime import Array, Feed, Owner
from hwcomp.provenance import Provenance
from hwcomp.space import Edge, SearchSpace, Site, conversion
from hwcomp.subject import Subject

FACTS = DeviceFacts(
    machine="aarch64", cpu="Cortex-A72", isa=("asimd",), cores=4, governor=None, clock_mhz=None, temperature_c=None,
    runtimes={"onnxruntime": "1.31.1"}, python="3.11", numpy="2.4",
)  # fmt: skip


@dataclass
class KnownDevice(Device):
    """Takes exactly what a table says, times the speed of the machine at that moment.

    Attributes:
        truth: microseconds of everything.
        name: of the device.
        provenance: of its times.
        slowness: (verb, calls of that verb so far, assignment) -> factor.
        alive: calls that it answers before it is lost.
        asked: verb and assignment of every call.
        lost: set once it is lost.
    """

    truth: CostTable
    name: str = "known"
    provenance: Provenance = "measured"
    slowness: Callable[[str, int, Mapping[str, str]], float] = lambda *_: 1.0
    alive: float = float("inf")
    known_facts: DeviceFacts = FACTS
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    lost: threading.Event = field(default_factory=threading.Event)

    def facts(self) -> DeviceFacts:
        return self.known_facts

    def state(self) -> DeviceState:
        self._check_alive()
        return DeviceState(load=None, clock_mhz=None, temperature_c=None, governor="performance")

    def time_block(self, model: bytes, feed: Feed, threads: int, runs: int | None = None) -> list[float]:
        assignment, slow = self._asked("time", model)
        return [slow * self.truth.predict_us(assignment)] * (runs or 5)

    def kernel_times(self, model: bytes, feed: Feed, threads: int, runs: int, warmup: int) -> dict[Owner, float]:
        assignment, slow = self._asked("profile", model)
        times = {
            Owner(kind="site", name=site.name): slow * self.truth.site_us[site.name][assignment[site.name]]
            for site in self.truth.space.sites
        }
        for edge in self.truth.space.edges:
            if conversion(edge, assignment):
                times[Owner(kind="tensor", name=edge.tensor)] = slow * self.truth.conversion_us(edge, assignment)
        return times

    def run(self, model: bytes, feed: Feed, threads: int) -> list[Array]:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is held."""

    def _check_alive(self) -> None:
        if len(self.asked) >= self.alive:
            self.lost.set()
            raise DeviceLost(f"'{self.name}' is gone.")

    def _asked(self, verb: str, model: bytes) -> tuple[dict[str, str], float]:
        self._check_alive()
        assignment = json.loads(model)
        count = sum(one == verb for one, _ in self.asked)
        self.asked.append((verb, assignment))
        return assignment, self.slowness(verb, count, assignment)


@pytest.fixture
def known_device() -> type[KnownDevice]:
    return KnownDevice


@pytest.fixture
def chain_subject() -> Subject:
    """Return six operators one after the other, all different, that are lowered to their assignment."""
    names = [f"s{index}" for index in range(6)]
    tensors = ["x", *names]

    def kernel(index: int, choice: str) -> Kernel:
        return Kernel(op="conv2d", scheme=choice, inputs=((1, 8 + index, 4, 4),), output=(1, 8 + index, 4, 4))

    return Subject(
        space=SearchSpace(
            sites=tuple(Site(name=name, op="conv2d", candidates=("float", "int8")) for name in names),
            edges=tuple(
                Edge(tensor=tensor, elements=100 + index, readers=(reader,))
                for index, (tensor, reader) in enumerate(zip(tensors, [*names, "output"], strict=True))
            ),
        ),
        kernels=Kernels(
            sites={n: {c: kernel(i, c) for c in ("float", "int8")} for i, n in enumerate(names)},
            tensors={
                tensor: {
                    op: Kernel(op=op, scheme="uint8", inputs=((100 + index,),), output=(100 + index,))
                    for op in BOUNDARIES
                }
                for index, tensor in enumerate(tensors)
            },
        ),
        feed={},
        lower=lambda assignment: json.dumps(dict(assignment)).encode(),
    )


@pytest.fixture
def chain_truth(chain_subject: Subject) -> CostTable:
    """Return what the operators of the chain take: 11 to 16 us in float, 4 to 9 in integers."""
    space = chain_subject.space
    return CostTable(
        space=space,
        site_us={site.name: {"float": 11.0 + i, "int8": 4.0 + i} for i, site in enumerate(space.sites)},
        quantize_us={edge.tensor: 1.0 + i / 10 for i, edge in enumerate(space.edges)},
        dequantize_us={edge.tensor: 2.0 + i / 10 for i, edge in enumerate(space.edges)},
    )
