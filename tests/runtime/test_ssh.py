"""Devices behind a real ssh server on this machine, with an agent that has ONNX Runtime and numpy and nothing else."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from ssh_server import MISSING, REASON, Server, free_port, key, make_python, wait_for

from hwcomp.devices import open_device
from hwcomp.devices.local import LocalDevice
from hwcomp.devices.pool import check_alike, share
from hwcomp.devices.ssh import SshDevice
from hwcomp.errors import DeviceError, DeviceLost, InputError, LoweringError

pytestmark = pytest.mark.skipif(MISSING, reason=REASON)


def network(size: int) -> bytes:
    """Return a product of matrices and what follows it, slower the larger."""
    weight = numpy_helper.from_array(np.eye(size, dtype=np.float32) * 2, "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name="first/MatMul"),
        helper.make_node("Sigmoid", ["y"], ["z"], name="second/Sigmoid"),
    ]
    inputs, outputs = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, size]) for name in "xz")
    graph = helper.make_graph(nodes, "g", [inputs], [outputs], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def feed(size: int) -> dict[str, Any]:
    return {"x": np.linspace(-1, 1, size * size, dtype=np.float32).reshape(size, size)}


def script(path: Path, interpreter: Path, *lines: str) -> Path:
    """Return a program that stands where Python is expected; its second argument is what should run there."""
    path.write_text("\n".join([f"#!{interpreter}", *lines, ""]))
    path.chmod(0o755)
    return path


@pytest.fixture
def device(server: Server, python: Path) -> Iterator[SshDevice]:
    with SshDevice(server.address(python), waits_s=(0.1, 0.5, 1.0)) as device:
        yield device


def test_the_agent_needs_no_more_than_the_runtime_and_numpy(python: Path) -> None:
    for package in ("torch", "onnx", "hwcomp", "pydantic"):
        done = subprocess.run([python, "-c", f"import {package}"], check=False, capture_output=True, env={}, cwd="/")
        assert done.returncode == 1


def test_a_device_over_ssh_does_what_this_machine_does(device: SshDevice) -> None:
    model, inputs = network(64), feed(64)
    with LocalDevice() as here:
        assert device.facts() == here.facts() or device.facts().fingerprint == here.facts().fingerprint
        check_alike([here, device])
        for there, same in zip(device.run(model, inputs, 1), here.run(model, inputs, 1), strict=True):
            np.testing.assert_array_equal(there, same)
        times = device.kernel_times(model, inputs, 1, runs=8, warmup=2)
        assert set(times) == set(here.kernel_times(model, inputs, 1, runs=8, warmup=2))
    assert {owner.name for owner in times} == {"first", "second"}
    assert len(device.time_block(model, inputs, 1, runs=9)) == 9
    assert len(device.time_block(model, inputs, 1)) >= 7
    assert device.state().load is not None


def test_models_are_sent_once_and_nothing_stays_there(server: Server, device: SshDevice) -> None:
    before = server.logins()
    for size in (8, 16, 8, 16):
        device.time_block(network(size), feed(size), 1, runs=7)
    (folder,) = server.temporary.glob("hwcomp-agent-*")
    assert len([path for path in folder.iterdir() if len(path.name) == 64]) == 2
    assert server.logins() == before + 1
    device.close()
    wait_for(lambda: not list(server.temporary.glob("hwcomp*")))


def test_a_cut_connection_is_made_again_and_the_work_done_again(server: Server, device: SshDevice) -> None:
    before = server.logins()

    def cut() -> None:
        wait_for(server.working)
        server.cut()

    cutter = threading.Thread(target=cut)
    cutter.start()
    times = device.time_block(network(1024), feed(1024), 1, runs=60)
    cutter.join()
    assert len(times) == 60
    assert server.logins() == before + 2
    folders = list(server.temporary.glob("hwcomp-agent-*"))
    wait_for(lambda: sum(folder.exists() for folder in folders) <= 1)  # the first agent did not work on


def test_a_server_that_comes_back_is_waited_for(server: Server, device: SshDevice) -> None:
    device.facts()
    server.stop()
    back = threading.Timer(0.3, server.start)
    back.start()
    assert len(device.time_block(network(8), feed(8), 1, runs=7)) == 7
    back.join()


def test_a_server_that_stays_away_is_lost(server: Server, device: SshDevice) -> None:
    device.facts()
    server.stop()
    with pytest.raises(DeviceLost, match=r"was lost 4 times in a row while it had to 'time'.*cannot be reached"):
        device.time_block(network(8), feed(8), 1, runs=7)


def test_another_device_behind_the_same_address_is_noticed(server: Server, python: Path, tmp_path: Path) -> None:
    """The second agent has another version of the runtime."""
    other = script(
        tmp_path / "board", python,
        "import onnxruntime, pathlib, sys",
        f"if pathlib.Path({str(tmp_path / 'swapped')!r}).exists(): onnxruntime.__version__ = '0.1'",
        "exec(sys.argv[2])",
    )  # fmt: skip
    with SshDevice(server.address(other), waits_s=(0.1, 0.5)) as device:
        device.time_block(network(8), feed(8), 1)
        (tmp_path / "swapped").touch()
        server.cut()
        with pytest.raises(DeviceError, match=r"there is .* with onnxruntime 0.1: measure each under its own address"):
            device.time_block(network(8), feed(8), 1)


def test_one_of_two_devices_dies_and_the_other_does_its_share(
    server: Server, make_server: Callable[..., Server], python: Path, use: Callable[..., Server]
) -> None:
    doomed = make_server()
    use(server)
    with (server.folder / "known").open("a") as known:
        known.write((doomed.folder / "known").read_text())
    shutil.copy(server.folder / "authorized", doomed.folder / "authorized")
    names = [server.address(python), doomed.address(python)]
    said: list[str] = []
    begun: list[int] = []
    dead = threading.Event()

    def work(device: Any, task: int) -> int:
        """The doomed one dies in its second task; the other waits for that, so that there is something left to do."""
        if device.name == names[0]:
            dead.wait()
        else:
            begun.append(task)
            if len(begun) == 2:
                doomed.stop()
                dead.set()
        return len(device.time_block(network(128), feed(128), 1, runs=10 + task))

    devices = [SshDevice(name, waits_s=(0.1,)) for name in names]
    try:
        results = dict(share(devices, range(12), work, said.append))
    finally:
        for device in devices:
            device.close()
    assert results == {task: 10 + task for task in range(12)}
    assert len(begun) == 2
    assert len(said) == 1
    assert names[1] in said[0]
    assert said[0].endswith("Its share goes to the others.")


def test_an_unknown_host_key_is_refused(server: Server, use: Callable[..., Server], python: Path) -> None:
    """Whatever options the user gives: the check cannot be switched off."""
    (server.folder / "known").write_text("")
    off = ("StrictHostKeyChecking=no", "StrictHostKeyChecking=accept-new", "NoHostAuthenticationForLocalhost=yes")
    for options in ((), *(("-o", option) for option in off)):
        use(server, *options)
        with pytest.raises(DeviceError, match=r"host key of .* is not known here; log in once by hand with `ssh -p"):
            SshDevice(server.address(python)).facts()
    assert (server.folder / "known").read_text() == ""


def test_a_changed_host_key_is_refused(server: Server, tmp_path: Path, python: Path) -> None:
    server.know(Path(f"{key(tmp_path / 'other')}.pub"))
    with pytest.raises(DeviceError, match=r"not the one that is known here.*ssh-keygen -lf.*ssh-keygen -R") as caught:
        SshDevice(server.address(python)).facts()
    assert "StrictHostKeyChecking" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refused_login(server: Server, use: Callable[..., Server], tmp_path: Path, python: Path) -> None:
    client = tmp_path / "client"
    text = (server.folder / "client").read_text()
    client.write_text(text.replace(f"{server.folder}/user", str(key(tmp_path / "stranger"))))
    use(server, "-F", str(client))
    with pytest.raises(DeviceError, match=r"refuses the login .*ssh-copy-id"):
        SshDevice(server.address(python)).facts()


def test_a_port_where_nobody_listens(server: Server) -> None:
    with pytest.raises(DeviceLost, match=r"'ssh://127.0.0.1:\d+' cannot be reached .*check that it is on"):
        open_device(f"ssh://127.0.0.1:{free_port()}").facts()


def test_a_device_without_python(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"no '/nowhere/python' on .*install Python there, or name another one"):
        SshDevice(server.address("/nowhere/python")).facts()
    (tmp_path / "text").write_text("no program")
    with pytest.raises(DeviceError, match=r"There is no '.*/text' on"):
        SshDevice(server.address(tmp_path / "text")).facts()


def test_a_python_that_is_too_old(server: Server, tmp_path: Path) -> None:
    """The first thing that runs there is a question for the version; this one answers as an old one would."""
    lines = ("import sys", "sys.version_info, sys.version = (3, 6, 9), '3.6.9 (default)'", "exec(sys.argv[2])")
    old = script(tmp_path / "python", Path(sys.executable), *lines)
    with pytest.raises(DeviceError, match=r"is Python 3.6.9; 3.9 or newer is needed"):
        SshDevice(server.address(old)).facts()


@pytest.mark.parametrize("missing", ["numpy", "onnxruntime"])
def test_a_python_without_the_runtime(server: Server, tmp_path: Path, missing: str) -> None:
    packages = [] if missing == "numpy" else ["numpy", "numpy.libs"]
    bare = make_python(tmp_path / "venv", *packages)
    with pytest.raises(DeviceError, match=f"has no {missing}; run `pip install onnxruntime numpy` there"):
        SshDevice(server.address(bare)).facts()


def test_a_shell_that_greets(make_server: Callable[..., Server], use: Callable[..., Server], python: Path) -> None:
    chatty = use(make_server('ForceCommand echo "Welcome!"; eval "$SSH_ORIGINAL_COMMAND"'))
    with SshDevice(chatty.address(python)) as device:
        assert device.facts().cores >= 1


def test_a_shell_that_never_stops_greeting(make_server: Callable[..., Server], use: Callable[..., Server]) -> None:
    with pytest.raises(DeviceError, match=r"prints more than a greeting"):
        SshDevice(use(make_server("ForceCommand yes")).address()).facts()


def test_an_agent_that_dies_says_its_last_words(server: Server, tmp_path: Path) -> None:
    lines = ("echo hwcomp-agent", "read line", "printf '\\033[31mout of memory\\n' >&2", "exit 3")
    dying = script(tmp_path / "python", Path("/bin/sh"), *lines)
    with pytest.raises(
        DeviceLost, match=r"lost while it had to 'hello': its agent ended with code 3 \(\S*out of memory"
    ):
        SshDevice(server.address(dying)).facts()


def test_a_model_that_the_runtime_refuses(device: SshDevice) -> None:
    with pytest.raises(LoweringError, match=r"On the device 'ssh.*ONNX Runtime cannot load the model"):
        device.time_block(b"no model", feed(8), 1)
    assert len(device.time_block(network(8), feed(8), 1, runs=7)) == 7


def test_bench_over_ssh(server: Server, python: Path, board: Path, cli: Any, tmp_path: Path) -> None:
    shutil.copytree(board, tmp_path / "artifact")
    out = cli.succeeds("bench", "artifact", "--rounds", 2, "--threads", 1, "--device", server.address(python))
    assert f"{server.address(python)}: cpu: " in out
    assert " ms measured (p10" in out
    assert "cannot be reached" in cli("bench", "artifact", "--device", f"ssh://127.0.0.1:{free_port()}").sentence()
    assert "no device; give local" in cli("bench", "artifact", "--device", "board").sentence()


def test_a_device_that_lies_over_ssh(server: Server, board: Path, cli: Any, tmp_path: Path) -> None:
    """It speaks the protocol well, and says that its runs take less than no time."""
    lines = (
        "import sys, time",
        "clock = time.perf_counter",
        "time.perf_counter = lambda: -clock()",
        "exec(sys.argv[2])",
    )
    liar = script(tmp_path / "liar", Path(sys.executable), *lines)
    shutil.copytree(board, tmp_path / "artifact")
    said = cli("bench", "artifact", "--rounds", 2, "--threads", 1, "--device", server.address(liar)).sentence()
    assert "which cannot be right: nothing that it measures is used" in said
    assert "us as the time of a run" in said


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("ssh://", "is not an address"),
        ("ssh://-oProxyCommand=touch", "cannot be a part of the address"),
        ("ssh://-l@board", "cannot be a part of the address"),
        ("ssh://me:secret@board", "with a password; use a key"),
        ("ssh://board:0", "not between 1 and 65535"),
        ("ssh://board:99999", "not between 1 and 65535"),
        ("ssh://board:port", "is not an address"),
        ("ssh://board/path", "is not an address"),
        ("ssh://bo ard", "cannot be a part of the address"),
        ("ssh://board?pyhton=python3", "options that are not known"),
        ("ssh://board?python=", "options that are not known"),
    ],
)
def test_addresses_that_make_no_sense(address: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        open_device(address)
    assert "secret" not in str(caught.value)


def test_options_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWCOMP_SSH_OPTIONS", "-F 'unclosed")
    with pytest.raises(InputError, match=r"HWCOMP_SSH_OPTIONS cannot be read"):
        open_device("ssh://board")


def test_a_path_with_spaces_and_quotes_reaches_the_device_whole(server: Server, tmp_path: Path, python: Path) -> None:
    odd = tmp_path / "it's a $(touch hole); folder"
    odd.mkdir()
    script(odd / "python", Path("/bin/sh"), f'exec {python} "$@"')
    with SshDevice(server.address(quote(str(odd / "python")))) as device:
        assert device.facts().cores >= 1
