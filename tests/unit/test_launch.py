"""Launching a kernel on a GPU is an entry of its own: where it is the larger part, it is the kernel's time."""

from hwcomp.devices.launch import FEW, LAUNCH, LAUNCH_IN_GRAPH, MANY, RUNS, TRIVIAL_US, launch_feed, launch_model
from hwcomp.devices.local import LocalDevice
from hwcomp.devices.verbs import AgentDevice
from hwcomp.errors import DeviceError
from hwcomp.kernel import parse

QUEUED_US, CAPTURED_US, WAITED_US = 6.0, 1.5, 21.0
ALONE_US = {"small/Relu": 22.0, "large/Conv": 321.0}
"""Profiled while the processor waits."""


class Gpu(AgentDevice):
    """A GPU whose times are known: a launch takes 6 us, with waiting 21 us."""

    name = "gpu"

    def __init__(self, *, captures: bool = True) -> None:
        super().__init__("cuda")
        self.captures = captures
        self._real, self.asked = LocalDevice(), list[str]()

    def ask(self, verb, fields, blobs=()):
        raise NotImplementedError

    def _about(self, model, verb, feed, threads, options):
        self.asked.append(verb)
        if verb == "time":
            known = {launch_model(count, in_graph=graph): (count, graph) for count in (FEW, MANY) for graph in (0, 1)}
            count, in_graph = known[model]
            if in_graph and not self.captures:
                raise DeviceError("It has none.")
            return {"us": [40.0 + count * (CAPTURED_US if in_graph else QUEUED_US)] * options["runs"]}, []
        times = dict.fromkeys(("launch0/Sin", "launch1/Sin"), WAITED_US) if model == launch_model(MANY) else ALONE_US
        samples = {name: [us] * options["runs"] for name, us in times.items()}
        answer = {"samples": samples, "per_run": dict.fromkeys(times, 1.0), "us": [500.0] * options["runs"]}
        return answer, [b""]

    def close(self) -> None:
        pass


def test_a_kernel_takes_what_it_computes_or_what_its_launch_takes() -> None:
    device = Gpu()
    times = {owner.name: us for owner, us in device.kernel_times(b"model", {}, 1, 7, 1).items()}
    assert times == {"small": QUEUED_US, "large": 321.0 - WAITED_US + TRIVIAL_US}
    assert device.launches_us() == {LAUNCH.key: QUEUED_US, LAUNCH_IN_GRAPH.key: CAPTURED_US}
    assert sorted(device.asked) == ["profile"] * 2 + ["time"] * 4, "launching is measured once"


def test_a_provider_that_captures_no_graphs() -> None:
    assert Gpu(captures=False).launches_us() == {LAUNCH.key: QUEUED_US}


def test_the_trivial_network_runs_as_many_kernels_as_it_says() -> None:
    with LocalDevice() as device:
        owners = device.kernel_times(launch_model(FEW), launch_feed(), 1, RUNS, 1)
        assert device.launches_us() == {}
    assert {owner.name for owner in owners} == {f"launch{index}" for index in range(FEW)}


def test_the_entry_is_a_kernel_of_the_store() -> None:
    assert parse(LAUNCH.key) == LAUNCH
    assert parse(LAUNCH_IN_GRAPH.key) == LAUNCH_IN_GRAPH
