"""Several devices at once: work is shared out, and what a dead device had to do goes to the others."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from hwcomp.devices.base import Device
from hwcomp.errors import DeviceError, DeviceLost

Task = TypeVar("Task")
Result = TypeVar("Result")


def check_alike(devices: Sequence[Device]) -> None:
    """Check that devices may fill one table: their latencies must be those of one kind of device.

    Raises:
        DeviceError: two differ; the sentence says in what.
    """
    first, *others = devices
    for device in others:
        for what, one, two in zip(
            ("device", "runtime", "provenance"), _identity(first), _identity(device), strict=True
        ):
            if one != two:
                raise DeviceError(
                    f"'{first.name}' and '{device.name}' cannot fill one table, their {what} differs: '{one}' and "
                    f"'{two}'; profile them one after the other."
                )


def _identity(device: Device) -> tuple[str, str, str]:
    facts = device.facts()
    return facts.fingerprint, facts.runtime, device.provenance


def share(
    devices: Sequence[Device],
    tasks: Sequence[Task],
    work: Callable[[Device, Task], Result],
    say: Callable[[str], None],
) -> Iterator[tuple[Task, Result]]:
    """Carry out tasks on devices, each on the next one that is free, and yield every result as it comes.

    Args:
        devices: that any task may be given to; a device is given one task at a time.
        tasks: in the order in which they are begun.
        work: carries out one task; it is called in a thread of each device.
        say: is told in one sentence when a device is lost.

    Raises:
        DeviceLost: all devices are lost; every result that there was has been yielded.
        Exception: whatever else ``work`` raises; it ends the sharing.
    """
    if len(devices) == 1:  # in this thread, where Ctrl-C comes
        for task in tasks:
            yield task, work(devices[0], task)
        return
    shared = _Shared(tasks, work)
    shared = _Shared(tasks, work)
    threads = [threading.Thread(target=shared.serve, args=(device,), daemon=True) for device in devices]
    for thread in threads:
        thread.start()
    try:
        yield from _collected(shared, len(devices), len(tasks), say)
    except GeneratorExit:
        raise  # who asked has had enough, but may go on with the devices
    except BaseException:
        for device in devices:
            device.close()  # ends what they still do: it is of no use
        raise
    finally:
        shared.stop()
        for thread in threads:
            thread.join()


def _collected(
    shared: "_Shared[Task, Result]", devices: int, tasks: int, say: Callable[[str], None]
) -> Iterator[tuple[Task, Result]]:
    """Yield results until all are there; tell of devices that are lost."""
    left, alive = tasks, devices
    while left:
        news = shared.news.get()
        if isinstance(news, _Done):
            left -= 1
            yield news.task, news.result
            continue
        if not isinstance(news.error, DeviceLost):
            raise news.error
        alive -= 1
        if not alive:
            raise DeviceLost(
                f"All {devices} devices were lost with {left} of {tasks} tasks left; what was done is kept. The last: "
                f"{news.error}"
            ) from news.error
        say(f"{news.error} Its share goes to the others.")


@dataclass(frozen=True, slots=True)
class _Done(Generic[Task, Result]):
    task: Task
    result: Result


@dataclass(frozen=True, slots=True)
class _Failed:
    error: Exception


class _Shared(Generic[Task, Result]):
    """Tasks that wait, and news of those that were done; all threads look at one of these."""

    def __init__(self, tasks: Sequence[Task], work: Callable[[Device, Task], Result]) -> None:
        self.news: queue.SimpleQueue[_Done[Task, Result] | _Failed] = queue.SimpleQueue()
        self._work = work
        self._waiting, self._running, self._stopped = deque(tasks), 0, False
        self._change = threading.Condition()

    def serve(self, device: Device) -> None:
        """Work for one device until nothing is left that could still come back to it."""
        while (task := self._next()) is not None:
            try:
                result = self._work(device, task[0])
            except DeviceLost as error:
                self._end(task[0])
                self.news.put(_Failed(error))
                return
            except Exception as error:  # noqa: BLE001 - raised again where the results are awaited
                self._end()
                self.news.put(_Failed(error))
                return
            self._end()
            self.news.put(_Done(task[0], result))

    def stop(self) -> None:
        """Begin no more tasks."""
        with self._change:
            self._stopped = True
            self._change.notify_all()

    def _next(self) -> tuple[Task] | None:
        """Wait for a task: while one is running elsewhere it may yet come back."""
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._stopped or not self._running)
            if self._stopped or not self._waiting:
                return None
            self._running += 1
            return (self._waiting.popleft(),)

    def _end(self, *given_back: Task) -> None:
        with self._change:
            self._running -= 1
            self._waiting.extendleft(given_back)
            self._change.notify_all()
