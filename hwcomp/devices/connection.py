"""A process that speaks the agent's protocol on its stdin and stdout, with a time limit on everything."""

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hwcomp.devices.agent.wire import Refused, header_bytes, pack, parse_header
from hwcomp.devices.checks import printable

TIMEOUT_S = {"hello": 120.0, "put": 120.0, "time": 900.0, "profile": 900.0, "run": 900.0, "state": 60.0}
"""How long an answer may take to begin. Boards are slow; that a connection is gone is noticed much sooner."""

STALL_S = 60.0
SLOWEST_BYTES_PER_S = 32_000
GRACE_S = 3.0
KEPT_BYTES = 8_000
CHUNK_BYTES = 2**16


class Lost(Exception):  # noqa: N818 - caught by whoever knows the device's name
    """The process ended or stalled; the text says how, to be read behind the name of the device."""


class NoProtocol(Exception):  # noqa: N818 - likewise
    """What came is no message, or not the answer to what was asked."""


class Connection:
    """One running agent process; one thread asks, any may close."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - no shell reads it
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the host, which then closes this
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._input, self._output, self._errors = self._process.stdin, self._process.stdout, self._process.stderr
        os.set_blocking(self._input.fileno(), False)
        self._said = b""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._requests = 0
        self._busy, self._closed = threading.Lock(), False

    def ask(self, verb: str, fields: Mapping[str, Any], blobs: Sequence[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """Send one request and return its answer.

        Raises:
            Lost: the process ended or stalled.
            NoProtocol: the answer is no message, or answers something else.
        """
        with self._busy:
            self._requests += 1
            self._write(pack({**fields, "id": self._requests, "verb": verb}, list(blobs)), *blobs)
            try:
                size = header_bytes(self._read(4, TIMEOUT_S[verb]))
                header, sizes = parse_header(self._read(size))
            except Refused as error:
                raise NoProtocol(str(error)) from error
            if header.get("id") != self._requests:
                raise NoProtocol(f"request {header.get('id')!r} where {self._requests} was asked")
            return header, [self._read(size) for size in sizes]

    def send(self, data: bytes) -> None:
        """Send bytes that are no request."""
        with self._busy:
            self._write(data)

    def skip_to(self, marker: bytes, limit: int, patience_s: float) -> bool:
        """Read up to and including a line; return whether it came within so many bytes."""
        with self._busy:
            seen = b""
            while not seen.endswith(marker) and len(seen) < limit:
                seen += self._read(1, patience_s)
            return seen.endswith(marker)

    def ended(self) -> tuple[int, str]:
        """Return the exit code of a process that closed its output, and the end of what it said on stderr."""
        try:
            code = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._kill()
            code = self._process.wait()
        self._listener.join(1.0)
        return code, self._said.decode(errors="replace").strip()

    def close(self) -> None:
        """End the process, politely if it is not busy with an answer."""
        self._closed = True
        if self._busy.acquire(blocking=False):
            try:
                self._input.close()  # the agent ends at the end of its input
                self._process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                pass
            finally:
                self._busy.release()
        self._kill()
        self._process.wait()
        with self._busy:
            self._input.close()
            self._output.close()
            self._listener.join(1.0)
            self._errors.close()

    def _write(self, *parts: bytes) -> None:
        """Send bytes; as long as some are taken now and then, it goes on."""
        self._check_open()
        poll = select.poll()
        poll.register(self._input, select.POLLOUT)
        for part in parts:
            view = memoryview(part)
            while view:
                if not poll.poll(STALL_S * 1e3):
                    raise Lost(f"it took nothing for {STALL_S:.0f} s")
                try:
                    view = view[os.write(self._input.fileno(), view[:CHUNK_BYTES]) :]
                except BlockingIOError:
                    continue
                except OSError as error:
                    raise Lost(self._last_words()) from error

    def _read(self, count: int, patience_s: float = STALL_S) -> bytes:
        """Return exactly so many bytes; the first must come within ``patience_s``, the rest at a bearable speed."""
        self._check_open()
        data, poll = bytearray(), select.poll()
        poll.register(self._output, select.POLLIN)
        deadline = time.monotonic() + patience_s + count / SLOWEST_BYTES_PER_S
        while len(data) < count:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not poll.poll(left_s * 1e3):
                raise Lost(f"it did not answer for {patience_s:.0f} s")
            chunk = os.read(self._output.fileno(), min(count - len(data), 2**20))
            if not chunk:
                raise Lost(self._last_words())
            data += chunk
        return bytes(data)

    def _check_open(self) -> None:
        if self._closed:
            raise Lost("it was closed")

    def _last_words(self) -> str:
        code, said = self.ended()
        lines = [line for line in said.splitlines() if line.strip()]
        return f"its agent ended with code {code}" + (f" ({printable(lines[-1])})" if lines else "")

    def _kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # with the helpers that it may have started

    def _listen(self) -> None:
        """Keep the end of stderr, so that a process that talks a lot neither blocks nor fills anything."""
        while chunk := os.read(self._errors.fileno(), CHUNK_BYTES):
            self._said = (self._said + chunk)[-KEPT_BYTES:]
