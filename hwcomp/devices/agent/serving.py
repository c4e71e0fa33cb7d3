"""Answers requests until there are no more, and leaves nothing behind."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import tempfile
import threading

from .verbs import Agent
from .wire import Refused, pack, read_message


def serve(kept: tempfile.TemporaryDirectory[str] | None = None) -> None:
    """Answer requests until `bye` or the end of stdin.

    Args:
        kept: where all that comes is kept, which is removed at the end; a folder of its own if not given.
    """
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else prints cannot get between the messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the host is interrupted, and says what comes of it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with kept or tempfile.TemporaryDirectory(prefix="hwcomp-agent-") as folder:
        tempfile.tempdir = folder  # so that nothing outlives the agent
        threading.Thread(target=_end_with_host, args=(folder,), daemon=True).start()
        agent, verb = Agent(folder), ""
        while verb != "bye":
            try:
                message = read_message(sys.stdin.buffer)
            except Refused as error:  # where the next message begins is not known any more
                out.write(pack({"id": None, "ok": False, "error": str(error), "kind": error.kind}, []))
                break
            if message is None:
                break
            verb = str(message[0].get("verb"))
            header, blobs = agent.handle(*message)
            for part in (pack(header, blobs), *blobs):
                out.write(part)
            out.flush()
        out.close()


def _end_with_host(folder: str) -> None:
    """End at once when the host is gone, even in the middle of a block: the work is done again, maybe right here."""
    poll = select.poll()
    poll.register(0, 0)  # only that the other side hung up
    poll.poll()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
