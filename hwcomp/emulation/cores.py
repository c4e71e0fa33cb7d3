"""The ARM cores that can be emulated, and what the runtime is shown of them.

A runtime chooses its kernels by what the system says of the core: ``/proc/cpuinfo``, the flags that the emulator gives,
and the sizes of the caches. Those of the machine that emulates would choose other kernels, or crash the runtime.
"""

from dataclasses import dataclass
from pathlib import Path

from hwcomp.errors import InputError

ARM = "0x41"
BASE_FLAGS = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
ARMV82_FLAGS = f"{BASE_FLAGS} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True, kw_only=True, slots=True)
class Core:
    """One kind of core.

    Attributes:
        name: as the emulator knows it.
        part: the number by which the Linux kernel shows it (Arm's technical reference manuals, MIDR_EL1).
        flags: instruction sets, as the Linux kernel names them.
        l1_bytes: data cache.
        l2_bytes: next cache, of the usual board.
    """

    name: str
    part: str
    flags: str
    l1_bytes: int
    l2_bytes: int


CORES = {
    core.name: core
    for core in (
        Core(name="cortex-a53", part="0xd03", flags=BASE_FLAGS, l1_bytes=32 * 1024, l2_bytes=512 * 1024),
        Core(name="cortex-a55", part="0xd05", flags=ARMV82_FLAGS, l1_bytes=32 * 1024, l2_bytes=128 * 1024),
        Core(name="cortex-a72", part="0xd08", flags=BASE_FLAGS, l1_bytes=32 * 1024, l2_bytes=1024 * 1024),
        Core(name="cortex-a76", part="0xd0b", flags=ARMV82_FLAGS, l1_bytes=64 * 1024, l2_bytes=512 * 1024),
    )
}


def core(name: str | None) -> Core:
    """Return a core by name.

    Raises:
        InputError: it cannot be emulated; the ones that can are named.
    """
    if name not in CORES:
        found = f"core '{name}'" if name else "a target without a core"
        raise InputError(
            f"Only {', '.join(CORES)} can be emulated; found {found}: set `core` under [hardware] of the target, or "
            "take one of the arm targets."
        )
    return CORES[name]


def write_view(kind: Core, guest: Path, folder: Path) -> None:
    """Write the root folder that a process on such a core sees: the guest's files, and a description of the core.

    Args:
        kind: of core.
        guest: root folder with the guest's files, beside ``folder``'s parent.
        folder: to write to; what is there is kept or overwritten.
    """
    for path in sorted(guest.iterdir()):
        link = folder / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(Path("..") / ".." / guest.name / path.name)
    cpu = "sys/devices/system/cpu"
    texts = {
        "proc/cpuinfo": _cpuinfo(kind),
        f"{cpu}/possible": "0\n",
        f"{cpu}/present": "0\n",
        f"{cpu}/online": "0\n",
    }
    for index, (level, what, size) in enumerate(((1, "Data", kind.l1_bytes), (2, "Unified", kind.l2_bytes))):
        cache = f"{cpu}/cpu0/cache/index{index}"
        texts |= {f"{cache}/level": f"{level}\n", f"{cache}/type": f"{what}\n", f"{cache}/size": f"{size // 1024}K\n"}
        texts |= {f"{cache}/shared_cpu_list": "0\n", f"{cache}/shared_cpu_map": "1\n"}
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _cpuinfo(kind: Core) -> str:
    lines = {
        "processor": "0",
        "BogoMIPS": "100.00",
        "Features": kind.flags,
        "CPU implementer": ARM,
        "CPU architecture": "8",
        "CPU variant": "0x0",
        "CPU part": kind.part,
        "CPU revision": "3",
    }
    return "".join(f"{name}\t: {value}\n" for name, value in lines.items()) + "\n"
