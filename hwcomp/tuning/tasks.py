"""The functions of a network that can be tuned."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from tvm_ffi import structural_hash

from hwcomp.lowering.relax_graph import operator
from hwcomp.lowering.relax_plans import is_plain
from hwcomp.lowering.relax_schedule import generated
from hwcomp.lowering.tvm import ENTRY


@dataclass(frozen=True, kw_only=True)
class Task:
    """A function that TVM generated.

    Attributes:
        key: the same for the same computation on tensors of the same shapes, however it is called.
        name: as TVM calls it.
        function: without a schedule.
        calls: how often the network calls it, under whatever names.
    """

    key: str
    name: str
    function: Any
    calls: int


def tasks_of(module: Any) -> list[Task]:
    """Return the functions of a Relax module that can be tuned, each once."""
    bindings = [binding for block in module[ENTRY].body.blocks for binding in block.bindings]
    calls = Counter(b.value.args[0].name_hint for b in bindings if operator(b.value) == "relax.call_tir")
    found: dict[str, Task] = {}
    for name, function in generated(module):
        if is_plain(function):
            key, known = key_of(function), found.get(key_of(function))
            total = calls[name.name_hint] + (known.calls if known else 0)
            found[key] = Task(key=key, name=name.name_hint, function=function, calls=total)
    return list(found.values())


def key_of(function: Any) -> str:
    """Return the key of a function that TVM generated."""
    return f"{structural_hash(function.without_attr('global_symbol')) % 2**64:016x}"
