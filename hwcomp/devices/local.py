"""This machine: the agent's verbs, called in this process."""

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, final

from hwcomp.devices.agent.providers import CPU
from hwcomp.devices.agent.verbs import Agent
from hwcomp.devices.asking import Answer
from hwcomp.devices.verbs import AgentDevice
from hwcomp.lowering.onnxruntime import Feed


@final
class LocalDevice(AgentDevice):
    """This machine."""

    name = "local"

    def __init__(self, provider: str = CPU) -> None:
        super().__init__(provider)
        self._agent = Agent(tempfile.gettempdir())

    def ask(self, verb: str, fields: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> Answer:
        """Carry out one request here."""
        return self._agent.handle({"id": 0, "verb": verb, **fields}, list(blobs))

    def close(self) -> None:
        """Nothing is held."""

    def _about(self, model: bytes, verb: str, feed: Feed, threads: int, options: Mapping[str, Any]) -> Answer:
        """Ask about a model, which is there already: it need not travel, nor be hashed or written to the disk."""
        self._agent.models = {"it": model}
        provider = self.provider_of(model)
        fields, arrays = self._fields("it", feed, threads, options, provider)
        try:
            return self._good(verb, self.ask(verb, fields, arrays), provider)
        finally:
            self._agent.models = {}
