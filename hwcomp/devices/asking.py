"""What an agent is asked, and what comes of its answers: the part that all verbs share, however requests travel."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hwcomp.devices import checks
from hwcomp.devices.agent.providers import CPU
from hwcomp.devices.agent.wire import PROTOCOL, Refused
from hwcomp.devices.agent.wishes import wishes_of
from hwcomp.devices.base import Device
from hwcomp.devices.facts import DeviceFacts, parse_facts
from hwcomp.errors import DeviceError, DeviceMemoryError, LoweringError
from hwcomp.lowering.onnxruntime import Feed

SENDINGS = 4
"""A model is sent again when the agent that had it is gone, or had to drop it."""

Answer = tuple[dict[str, Any], list[bytes]]


class AskedDevice(Device):
    """Speaks the agent's protocol, without what single verbs mean; a subclass carries one request there and back.

    Attributes:
        provider: what computes there, see `hwcomp.devices.agent.providers`.
    """

    def __init__(self, provider: str = CPU) -> None:
        self.provider = provider
        self._facts: DeviceFacts | None = None

    @abstractmethod
    def ask(self, verb: str, fields: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> Answer:
        """Return the answer to one request as it came, whether it is good or bad news.

        Raises:
            DeviceError: the device is lost, or does not speak the protocol.
        """

    def facts(self) -> DeviceFacts:
        """Return what the device is, asked once."""
        if self._facts is None:
            self._facts = self._facts_in(self.ask("hello", {}))
        return self._facts

    def disbelieved(self, what: str) -> DeviceError:
        """Return the error for an answer that cannot be right."""
        return DeviceError(
            f"The device '{self.name}' answered {checks.printable(what)}, which cannot be right: nothing that it "
            "measures is used; look at the device and its agent."
        )

    def _facts_in(self, answer: Answer) -> DeviceFacts:
        """Return the facts in an answer to `hello`."""
        header, _ = self._good("hello", answer)
        if header.get("protocol") != PROTOCOL:
            raise self.disbelieved(f"protocol {header.get('protocol')!r}, where {PROTOCOL} is spoken here")
        try:
            return replace(parse_facts(header), provider=self.provider)
        except ValueError as error:
            raise self.disbelieved(str(error)) from error

    def _about(self, model: bytes, verb: str, feed: Feed, threads: int, options: Mapping[str, Any]) -> Answer:
        """Ask about a model, which is sent where the agent does not have it."""
        key = hashlib.sha256(model).hexdigest()
        provider = self.provider_of(model)
        fields, arrays = self._fields(key, feed, threads, options, provider)
        for _ in range(SENDINGS):
            header, blobs = self.ask(verb, fields, arrays)
            if header.get("ok") is True or header.get("kind") != "missing":
                return self._good(verb, (header, blobs), provider)
            self._good("put", self.ask("put", {"sha256": key}, [model]))
        raise self.disbelieved("again and again that it does not have a model it was sent")

    def provider_of(self, model: bytes) -> str:
        """Return what computes a model there: on a GPU the model may wish for a provider itself.

        Raises:
            LoweringError: its wish is damaged.
        """
        if self.provider == CPU:
            return CPU
        try:
            wishes = wishes_of(model)
        except Refused as error:
            raise LoweringError(f"The model cannot be used: {error}.") from error
        return self.provider if wishes is None else wishes.provider

    def _fields(
        self, key: str, feed: Feed, threads: int, options: Mapping[str, Any], provider: str
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Return the fields of a request about a model, and its inputs; one thread feeds a GPU."""
        described, arrays = describe(feed)
        fields = {"model": key, "feed": described, "threads": threads, **options}
        if provider != CPU:
            fields |= {"threads": 1, "provider": provider}
        return fields, arrays

    def _good(self, verb: str, answer: Answer, provider: str = CPU) -> Answer:
        """Return an answer that is good news, from what was asked to compute.

        Raises:
            LoweringError: the model or its inputs are at fault.
            DeviceError: the device is.
        """
        header, _ = answer
        is_about_model = verb in ("time", "profile", "run")
        if header.get("ok") is True:
            if is_about_model and provider != CPU and header.get("provider") != provider:
                raise self.disbelieved(f"by '{header.get('provider')}', where '{provider}' was asked to compute")
            return answer
        said = checks.printable(str(header.get("error", "nothing")))
        where = "" if self.name == "local" else f"On the device '{self.name}': "
        if header.get("kind") == "prerequisite":
            raise DeviceError(f"{where}{said}; run `pip install onnxruntime numpy` there.")
        if header.get("kind") == "memory":
            raise DeviceMemoryError(f"{where}{said}; give `example_inputs` of a smaller batch, or use a larger GPU.")
        if header.get("kind") == "gpu":
            raise DeviceError(f"{where}{said}.")
        if is_about_model:
            raise LoweringError(f"{where}{said}")
        raise DeviceError(f"{where}{said} (asked to '{verb}').")


def describe(feed: Feed) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return the descriptions of inputs, and their contents."""
    arrays = {name: np.ascontiguousarray(array) for name, array in feed.items()}
    described = [
        {"name": name, "dtype": str(array.dtype), "shape": list(feed[name].shape)} for name, array in arrays.items()
    ]
    return described, [array.tobytes() for array in arrays.values()]
