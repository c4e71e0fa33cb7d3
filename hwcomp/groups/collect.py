"""Channels -> width groups: those that live in the same places form one group."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from hwcomp.groups.call import tensors_in
from hwcomp.groups.ledger import Classes, Ledger, Slot
from hwcomp.groups.model import Groups, Ids, Member, WidthGroup
from hwcomp.groups.shadow import core, numbers, vector
from hwcomp.program import Note, Program

NO_UNIT = -1


def collect(program: Program, ledger: Ledger, values: dict[str, Any], classes: Classes) -> Groups:
    """Return the groups of settled channels."""
    slots = {**ledger.slots, **_bare_slots(ledger, classes)}
    maker = _first_makers(slots, classes)
    signature = _signatures(slots, values, classes)
    made = np.flatnonzero((maker < np.iinfo(np.int64).max) & classes.removable)
    order = made[np.argsort(maker[made], kind="stable")]
    _, start, kind = np.unique(signature[order], return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(start))[kind.reshape(-1)]
    sizes = np.bincount(rank, minlength=len(start))
    alone = sizes[rank] < 2
    kept = np.flatnonzero(~alone)
    kept = kept[np.argsort(rank[kept], kind="stable")]
    units = np.full(len(classes.reason), NO_UNIT, dtype=np.int64)
    units[order[kept]] = np.arange(len(kept))
    counts = sizes[sizes > 1]
    sites = [_site_of(slots, maker[order[kept[at]]]) for at in np.cumsum(counts) - counts]
    layers = {str(node.target) for node in program.nodes if node.op == "call_module"}
    groups = _groups(slots, units[classes.labels], counts, _distinct(sites, program), layers)
    lonely = set(order[alone].tolist())
    return Groups(
        groups=groups,
        frozen=tuple(_frozen(slots, classes, lonely)),
        values=values,
        axes={key: slot.ids for key, slot in slots.items()},
        units=units[classes.labels],
    )


def _bare_slots(ledger: Ledger, classes: Classes) -> dict[tuple[str, int], Slot]:
    """Return the axis along which the channels of each bare parameter lie."""
    slots = {}
    for path, ids in ledger.parameters.items():
        channels = classes.of(ids)
        axes = [axis for axis in range(ids.ndim) if (channels != channels.take([0], axis)).any()]
        for axis in axes:
            slots[path, axis] = Slot(vector(ids, axis), "scales", path)
    return slots


def _first_makers(slots: dict[tuple[str, int], Slot], classes: Classes) -> Ids:
    """Return for each channel the first row that makes it, counted through all makers."""
    first = np.full(len(classes.reason), np.iinfo(np.int64).max)
    for number, slot in enumerate(slots.values()):
        if slot.role == "makes":
            np.minimum.at(first, classes.labels[slot.ids], (number << 32) + np.arange(len(slot.ids)))
    return first


def _site_of(slots: dict[tuple[str, int], Slot], maker: int) -> str:
    return list(slots.values())[int(maker) >> 32].site


def _signatures(slots: dict[tuple[str, int], Slot], values: dict[str, Any], classes: Classes) -> Ids:
    """Return a number for each channel, the same for those with the same count of entries in every place.

    It is the sum over places of count times a random 64-bit number of the place. Tensors are places too: so no tensor
    is left empty while each group keeps one channel.
    """
    random = np.random.default_rng(0)
    signature = np.zeros(len(classes.reason), dtype=np.uint64)
    places: list[Ids] = [slot.ids for slot in slots.values()]
    places += [numbers(core(ids)) for value in values.values() for ids in tensors_in(value) if _holds(ids)]
    for place in places:
        weight = random.integers(1, 1 << 63, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        np.add.at(signature, classes.labels[place.reshape(-1)], weight)
    return signature.view(np.int64)


def _holds(ids: Tensor) -> bool:
    return bool(ids.numel()) and bool(core(ids).any())


def _groups(
    slots: dict[tuple[str, int], Slot], units: Ids, counts: Ids, names: list[str], layers: set[str]
) -> tuple[WidthGroup, ...]:
    ends = np.cumsum(counts)
    members: list[list[Member]] = [[] for _ in names]
    for (path, axis), slot in slots.items():
        own = units[slot.ids]
        entries = np.flatnonzero(own != NO_UNIT)
        entries = entries[np.argsort(own[entries], kind="stable")]
        owner = np.searchsorted(ends, own[entries], side="right")
        for group in np.unique(owner).tolist():
            index = entries[owner == group].reshape(int(counts[group]), -1)
            module, _, tensor = path.rpartition(".")
            if module not in layers:
                module, tensor = path, ""
            members[group].append(
                Member(
                    module=module, tensor=tensor, axis=axis, role=slot.role,
                    index=tuple(tuple(row) for row in index.tolist()),
                )
            )  # fmt: skip
    return tuple(
        WidthGroup(name=name, channels=int(count), members=tuple(member))
        for name, count, member in zip(names, counts, members, strict=True)
    )


def _distinct(sites: list[str], program: Program) -> list[str]:
    """Return a name for each group: that of its site, with a number from the second group of a site on."""
    taken = {node.name for node in program.nodes}
    names: list[str] = []
    for site in sites:
        name, number = site, 0
        while name in names or (number and name in taken):
            number += 1
            name = f"{site}_{number}"
        names.append(name)
    return names


def _frozen(slots: dict[tuple[str, int], Slot], classes: Classes, lonely: set[int]) -> Iterator[Note]:
    """Give a note for each maker some of whose channels stay."""
    for (path, _), slot in slots.items():
        if slot.role != "makes" or path.endswith(".bias"):
            continue
        labels = classes.labels[slot.ids]
        stays = ~classes.removable[labels]
        alone = np.array([label in lonely for label in labels.tolist()])
        if stays.any():
            reason = classes.reasons[int(classes.reason[labels[stays]].min())]
            yield Note(site=slot.site, reason=_counted(int(stays.sum()), len(labels), reason))
        if alone.any():
            reason = "no other channel lives in the same places, and one has to stay"
            yield Note(site=slot.site, reason=_counted(int(alone.sum()), len(labels), reason))


def _counted(count: int, total: int, reason: str) -> str:
    return reason if count == total else f"{count} of {total} channels: {reason}"
