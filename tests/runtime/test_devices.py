"""Devices as processes that speak the agent's protocol: what they answer is checked, whatever they answer."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from archives import write_archive
from onnx import TensorProto, helper, numpy_helper

from hwcomp.benching import whole_model
from hwcomp.devices import connection, open_device
from hwcomp.devices.base import Device
from hwcomp.devices.compare import compare
from hwcomp.devices.connection import Connection
from hwcomp.devices.local import LocalDevice
from hwcomp.devices.pipe import PipeDevice
from hwcomp.devices.pool import check_alike, share
from hwcomp.errors import DeviceError, DeviceLost, InputError, LoweringError

FAKE = """
import json, sys, time

sys.path.insert(0, sys.argv[1])
from hwcomp_agent import wire

lie, out = sys.argv[2], sys.stdout.buffer
HELLO = {"protocol": 1, "machine": "m", "cpu": "c", "isa": [], "cores": 1, "governor": None, "clock_mhz": None,
         "temperature_c": None, "runtimes": {"onnxruntime": "1"}, "python": "3", "numpy": "2"}
STATE = {"load": 0.0, "clock_mhz": None, "temperature_c": None, "governor": None, "temperature_limit_c": None}
while (message := wire.read_message(sys.stdin.buffer)) is not None:
    request, blobs = message
    answer, sent = {"id": request["id"], "ok": True}, []
    if request["verb"] == "hello":
        answer.update(HELLO)
    elif request["verb"] == "state":
        answer.update(STATE)
    if request["verb"] in ("put", "hello", "state") and "always" not in lie:
        out.write(wire.pack(answer, sent))
    else:
        exec(lie)
        text = json.dumps({**answer, "blobs": [len(blob) for blob in sent]}).encode()
        out.write(len(text).to_bytes(4, "big") + text + b"".join(sent))
    out.flush()
"""

TELL = "answer.update(json.loads(sys.argv[3]))"


class Child(PipeDevice):
    """An agent that is a child of this process."""

    def __init__(self, *command: object, waits_s: tuple[float, ...] = ()) -> None:
        super().__init__("child")
        self.command, self.waits_s = [sys.executable, *map(str, command)], waits_s

    def connect(self) -> Connection:
        return Connection(self.command)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent, as it is sent."""
    return write_archive(tmp_path_factory.mktemp("agent") / "agent.zip")


@pytest.fixture
def liar(archive: Path, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Make a device whose agent runs a line of code on every answer that matters."""
    (tmp_path / "fake.py").write_text(FAKE)
    made = []

    def make(lie: str = TELL, **told: object) -> Child:
        made.append(Child(tmp_path / "fake.py", archive, lie, json.dumps(told)))
        return made[-1]

    yield make
    for device in made:
        device.close()


@pytest.fixture
def child(archive: Path) -> Iterator[Child]:
    with Child(archive, waits_s=(0.0,)) as device:
        yield device


def network(op: str = "Relu") -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    w = numpy_helper.from_array(np.arange(16, dtype=np.float32).reshape(4, 4), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="a/MatMul"),
        helper.make_node(op, ["m"], ["y"], name="b/Op"),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [w])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


FEED = {"x": np.array([[1.0, -2.0, 3.0, -4.0]], np.float32)}


def profile_answer(**changes: object) -> dict[str, object]:
    return {"samples": {"n": [1, 1, 1]}, "per_run": {"n": 1.0}, "us": [10.0, 11.0, 12.0], **changes}


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([10.0, float("nan"), 10.0], "times that are no list of numbers"),
        ([10.0, float("inf"), 10.0], "times that are no list of numbers"),
        ([10.0, -1.0, 10.0], "-1.0 us as the time of a run"),
        ([10.0, 0.0, 10.0], "0.0 us as the time of a run"),
        ([10.0, 3.7e9, 10.0], "3700000000.0 us as the time of a run"),
        ([10.0, 10.0], "2 times for 3 runs"),
        ([], "times that are no list of numbers"),
        ([True, True, True], "times that are no list of numbers"),
        (["10", "10", "10"], "times that are no list of numbers"),
        ("10 10 10", "times that are no list of numbers"),
        (None, "times that are no list of numbers"),
    ],
)
def test_times_that_cannot_be_are_refused(liar: Callable[..., Child], times: object, said: str) -> None:
    with pytest.raises(DeviceError, match="which cannot be right: nothing that it measures is used") as caught:
        liar(us=times).time_block(b"model", FEED, 1, runs=3)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"samples": {"n": [-1, 1, 1]}}, "-1 us as the duration of node 'n'"),
        ({"samples": {"n": [float("nan")]}}, "durations of node 'n' that are no list of numbers"),
        ({"samples": {"n": []}}, "durations of node 'n' that are no list of numbers"),
        ({"samples": {"n": [300, 300, 300]}}, "nodes that take 300 us in a run that takes 11 us"),
        ({"per_run": {"n": 1000.0}}, "nodes that take 1000 us in a run that takes 11 us"),
        ({"per_run": {"n": -1}}, "-1 executions of node 'n'"),
        ({"per_run": {"m": 1}}, "a profile without durations"),
        ({"samples": {}, "per_run": {}}, "a profile without durations"),
        ({"us": [0.0, 0.0, 0.0]}, "0.0 us as the time of a run"),
        ({"us": None}, "times that are no list"),
        ({}, "an optimised graph that cannot be read"),
    ],
)
def test_profiles_that_cannot_be_are_refused(liar: Callable[..., Child], changes: Any, said: str) -> None:
    device = liar(TELL + "; sent.append(b'no graph')", **profile_answer(**changes))
    with pytest.raises(DeviceError, match="which cannot be right") as caught:
        device.kernel_times(b"model", FEED, 1, runs=3, warmup=1)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ("answer['id'] = 99", "request 99 where 2 was asked"),
        ("answer['id'] = None", "request None where 2 was asked"),
        ("out.write(b'\\xff\\xff\\xff\\xff')", "a header of 4294967295 bytes"),
        ("out.write(b'Welcome to the board! ')", "a header of 1466264675 bytes"),
        ("out.write(b'\\0\\0\\0\\0')", "a header of 0 bytes"),
        ("out.write(b'\\0\\0\\0\\4null')", "a header that is no object"),
        ("out.write(b'\\0\\0\\0\\4{{{{')", "a header that is not JSON"),
        ("out.write(b'\\0\\0\\1\\0' + b'[' * 256)", "a header that is not JSON"),
        ("t = b'{\"blobs\": [-1]}'; out.write(len(t).to_bytes(4, 'big') + t)", "a blob that is not of"),
        ("t = b'{\"blobs\": [9999999999]}'; out.write(len(t).to_bytes(4, 'big') + t)", "a blob that is not of"),
        ("t = b'{\"blobs\": \"many\"}'; out.write(len(t).to_bytes(4, 'big') + t)", "list of blobs is wrong"),
        ("answer.update(outputs=[{'dtype': 'float32', 'shape': [3]}]); sent.append(b'1234')", "4 bytes as an output"),
        ("answer.update(outputs=[{'dtype': 'object', 'shape': [1]}]); sent.append(b'12345678')", "type 'object'"),
        ("answer.update(outputs=[{'dtype': 'float32', 'shape': 'x'}]); sent.append(b'1234')", "shape 'x'"),
        ("answer.update(outputs=7); sent.append(b'1234')", "outputs without descriptions"),
        ("answer.update(ok=False, kind='missing')", "again and again that it does not have a model"),
    ],
)
def test_answers_that_make_no_sense_are_refused(liar: Callable[..., Child], lie: str, said: str) -> None:
    with pytest.raises(DeviceError, match="which cannot be right") as caught:
        liar(lie).run(b"model", FEED, 1)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"protocol": 2}, "protocol 2, where 1 is spoken here"),
        ({"protocol": None}, "protocol None, where 1"),
        ({"cores": "many"}, "field 'cores'"),
        ({"isa": 3}, "field 'isa'"),
        ({"runtimes": None}, "field 'runtimes'"),
    ],
)
def test_facts_that_make_no_sense_are_refused(liar: Callable[..., Child], told: Any, said: str) -> None:
    with pytest.raises(DeviceError, match="which cannot be right") as caught:
        liar("'always'; " + TELL, **told).facts()
    assert said in str(caught.value)


def test_a_real_device_cannot_claim_to_be_simulated(liar: Callable[..., Child]) -> None:
    facts = liar("'always'; " + TELL, simulated="arm_cortex_a72").facts()
    assert facts.simulated is None
    assert facts.fingerprint == "cpu: c | isa:  | cores: 1"


def test_what_a_device_says_cannot_reach_the_terminal_as_it_is(liar: Callable[..., Child]) -> None:
    device = liar(ok=False, kind="runtime", error="\x1b[2Jfine\nhwcomp: all is well" + "!" * 1000)
    with pytest.raises(LoweringError, match="fine hwcomp: all is well") as caught:
        device.time_block(b"model", FEED, 1)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_a_device_that_does_not_answer(liar: Callable[..., Child], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.TIMEOUT_S, "time", 0.2)
    with pytest.raises(DeviceLost, match="did not answer for 0 s"):
        liar("time.sleep(60)").time_block(b"model", FEED, 1)


def test_a_device_that_stops_in_the_middle_of_an_answer(liar: Callable[..., Child]) -> None:
    with pytest.raises(DeviceLost, match=r"its agent ended with code 7 \(SystemExit"):
        liar("out.write(b'\\0\\0'); out.flush(); print('SystemExit', file=sys.stderr); sys.exit(7)").run(b"m", FEED, 1)


def test_all_devices_are_one_protocol(child: Child) -> None:
    """What is measured through a process is what is measured here: same numbers, same owners."""
    with LocalDevice() as here:
        for device in (here, child):
            (out,) = device.run(network(), FEED, 1)
            np.testing.assert_array_equal(out, np.maximum(FEED["x"] @ np.arange(16).reshape(4, 4), 0))
            assert {owner.name for owner in device.kernel_times(network(), FEED, 1, 7, 1)} == {"a", "b"}
            assert len(device.time_block(network(), FEED, 1, runs=8)) == 8
            assert 7 <= len(device.time_block(network(), FEED, 1)) <= 300
        assert child.facts() == here.facts() or child.facts().clock_mhz != here.facts().clock_mhz
        check_alike([here, child])
        timed = compare(child, {"relu": network(), "sigmoid": network("Sigmoid")}, FEED, 1, rounds=3)
    assert [len(blocks) for blocks in timed.blocks_us.values()] == [3, 3]
    assert timed.measurement("relu").provenance == "measured"


@pytest.mark.parametrize("kind", ["local", "child"])
def test_models_and_inputs_that_the_runtime_refuses(child: Child, kind: str) -> None:
    device: Device = child if kind == "child" else LocalDevice()
    where = "^On the device 'child': " if kind == "child" else "^"
    with pytest.raises(LoweringError, match=where + "ONNX Runtime cannot load the model: "):
        device.time_block(b"no model", FEED, 1)
    with pytest.raises(LoweringError, match=where):
        device.run(network(), {"x": np.zeros((9, 9), np.float32)}, 1)
    with pytest.raises(LoweringError, match="'threads' must be a whole number"):
        device.run(network(), FEED, 0)
    assert len(device.time_block(network(), FEED, 1, runs=7)) == 7


def test_an_agent_that_was_killed_is_started_again(child: Child) -> None:
    child.time_block(network(), FEED, 1, runs=7)
    child._connection._kill()
    assert len(child.time_block(network(), FEED, 1, runs=7)) == 7


def test_an_agent_that_dropped_a_model_is_sent_it_again(tmp_path: Path) -> None:
    """An agent with room for one model only."""
    small = write_archive(tmp_path / "small.zip", ("KEPT_BYTES = 2**30", "KEPT_BYTES = 1"))
    with Child(small) as device:
        for op in ("Relu", "Sigmoid", "Relu", "Sigmoid"):
            assert len(device.time_block(network(op), FEED, 1, runs=7)) == 7


def test_a_closed_device_stays_closed(child: Child) -> None:
    child.facts()
    child.close()
    child.close()
    with pytest.raises(DeviceLost, match="was closed"):
        child.time_block(network(), FEED, 1)


def test_closing_ends_a_device_that_is_at_work(liar: Callable[..., Child]) -> None:
    device = liar("time.sleep(600)")
    device.facts()
    closer = threading.Timer(0.3, device.close)
    closer.start()
    with pytest.raises(DeviceLost):
        device.time_block(b"model", FEED, 1)
    closer.join()


def test_devices_share_work_and_keep_what_was_done_when_all_are_lost(archive: Path) -> None:
    devices = [Child(archive) for _ in range(2)]
    done: dict[int, int] = {}
    said: list[str] = []

    def work(device: Child, task: int) -> int:
        if task >= 4:
            device.close()
        return len(device.time_block(network(), FEED, 1, runs=7 + task))

    with pytest.raises(InputError, match=r"All 2 devices were lost with 16 of 20 tasks left; what was done is kept"):
        done.update(share(devices, range(20), work, said.append))
    assert done == {task: 7 + task for task in range(4)}
    assert len(said) == 1
    assert "Its share goes to the others." in said[0]


def test_an_idle_device_is_there_for_what_comes_back_at_the_end(archive: Path) -> None:
    devices = [Child(archive) for _ in range(2)]
    attempts: list[int] = []

    def work(device: Child, task: int) -> int:
        """The last task is lost by whoever takes it first, long after the other one has nothing to do."""
        if task == 1:
            attempts.append(task)
            if len(attempts) == 1:
                time.sleep(1.0)
                device.close()
        return len(device.time_block(network(), FEED, 1, runs=7))

    said: list[str] = []
    assert dict(share(devices, range(2), work, said.append)) == {0: 7, 1: 7}
    assert (len(attempts), len(said)) == (2, 1)
    for device in devices:
        device.close()


def test_an_error_of_the_work_itself_ends_the_sharing(archive: Path) -> None:
    devices = [Child(archive) for _ in range(2)]

    def work(device: Child, task: int) -> None:
        device.time_block(b"no model" if task == 3 else network(), FEED, 1, runs=7)

    with pytest.raises(LoweringError, match="cannot load the model"):
        list(share(devices, range(100), work, pytest.fail))
    with pytest.raises(DeviceLost, match="was closed"):
        devices[0].state()


def test_who_stops_listening_can_go_on_with_the_devices(archive: Path) -> None:
    devices = [Child(archive) for _ in range(2)]
    for _ in share(devices, range(100), lambda device, _: device.time_block(network(), FEED, 1, runs=7), pytest.fail):
        break
    for device in devices:
        assert len(device.time_block(network(), FEED, 1, runs=7)) == 7
        device.close()


def test_devices_that_differ_do_not_fill_one_table(liar: Callable[..., Child]) -> None:
    with pytest.raises(DeviceError, match=r"cannot fill one table, their device differs: 'cpu: .*' and 'cpu: c"):
        check_alike([LocalDevice(), liar()])
    with pytest.raises(DeviceError, match="their runtime differs: 'onnxruntime 1' and 'onnxruntime 2'"):
        check_alike([liar(), liar("'always'; " + TELL, runtimes={"onnxruntime": "2"})])


def test_devices_by_name() -> None:
    assert open_device("local").name == "local"
    for name in ("", "Local", "ssh:board", "emulated"):
        with pytest.raises(InputError, match="is no device; give local, ssh://"):
            open_device(name)


def test_models_with_weights_in_other_files_travel_whole(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(network())
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    assert whole_model(tmp_path / "m.onnx") != (tmp_path / "m.onnx").read_bytes()
    (tmp_path / "whole.onnx").write_bytes(network())
    assert whole_model(tmp_path / "whole.onnx") == network()
    content = whole_model(tmp_path / "m.onnx")
    (tmp_path / "w.bin").unlink()
    with LocalDevice() as device:
        np.testing.assert_array_equal(device.run(content, FEED, 1), device.run(network(), FEED, 1))
