"""A device whose agent is reached through a child process; a connection that is lost is made again."""

import threading
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from hwcomp.devices.agent.providers import CPU
from hwcomp.devices.asking import Answer
from hwcomp.devices.connection import Connection, Lost, NoProtocol
from hwcomp.devices.facts import DeviceFacts
from hwcomp.devices.verbs import AgentDevice
from hwcomp.errors import DeviceError, DeviceLost


class PipeDevice(AgentDevice):
    """Asks over a connection that the subclass makes.

    Attributes:
        waits_s: how long to wait before each new attempt; none: a lost connection is the end.
    """

    waits_s: tuple[float, ...] = ()

    def __init__(self, name: str, provider: str = CPU) -> None:
        super().__init__(provider)
        self.name = name
        self._connection: Connection | None = None
        self._closed = threading.Event()

    @abstractmethod
    def connect(self) -> Connection:
        """Return a new connection to an agent that waits for requests.

        Raises:
            DeviceLost: there is no way there now.
            DeviceError: there is no use in trying again.
        """

    def ask(self, verb: str, fields: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> Answer:
        """Return the answer to one request, which is asked again on a new connection if the old one is lost."""
        reasons: list[str] = []
        for wait_s in (0.0, *self.waits_s):
            try:
                return self._connected(wait_s).ask(verb, fields, blobs)
            except NoProtocol as error:  # noqa: PERF203 - an attempt takes seconds
                self._drop()
                raise self.disbelieved(str(error)) from error
            except (Lost, DeviceLost) as error:
                self._drop()
                reasons.append(str(error).rstrip("."))
                is_over = self._closed.is_set() or self._facts is None
                if is_over and isinstance(error, DeviceLost):
                    raise  # closed, or never there: more likely a wrong address than a bad moment
                if is_over:
                    break
        times = f" {len(reasons)} times in a row" if len(reasons) > 1 else ""
        raise DeviceLost(f"The device '{self.name}' was lost{times} while it had to '{verb}': {reasons[-1]}.")

    def close(self) -> None:
        """End the connection for good."""
        self._closed.set()
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self, wait_s: float) -> Connection:
        """Return the connection; make it, after a while, if there is none."""
        connection = self._connection
        if connection is None:
            if self._closed.wait(wait_s):
                raise DeviceLost(f"The device '{self.name}' was closed.")
            connection = self.connect()
            try:
                self._check_same(self._facts_in(connection.ask("hello", {}, [])))
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        if self._closed.is_set():  # by another thread, while the connection was being made
            self._drop()
            raise DeviceLost(f"The device '{self.name}' was closed.")
        return connection

    def _check_same(self, found: DeviceFacts) -> None:
        """Check that a new connection leads to the device that was there before."""
        known = self._facts or found
        if (known.fingerprint, known.runtime) != (found.fingerprint, found.runtime):
            raise DeviceError(
                f"Behind '{self.name}' there was '{known.fingerprint}' with {known.runtime}; after the connection was "
                f"made again there is '{found.fingerprint}' with {found.runtime}: measure each under its own address."
            )
        self._facts = found
