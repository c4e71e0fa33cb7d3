"""Object files of the kernels, compiled by TVM for the instruction set of a target."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwcomp.errors import InputError, LoweringError
from hwcomp.sparse_kernels.format import ROWS
from hwcomp.stages import Stages, digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Vectors:
    """The vectors of an instruction set, and what LLVM calls it.

    Attributes:
        flags: all of an isa list that are needed, as the Linux kernel names them.
        lanes: floats of a vector.
        registers: vectors that the processor holds.
        triple: machine, as LLVM names it.
        cpu: oldest processor that has the instructions, as LLVM and GCC name it.
    """

    flags: frozenset[str]
    lanes: int
    registers: int
    triple: str
    cpu: str

    def vectors(self, rows: int) -> int:
        """Return how many vectors of pixels a tile may have, beside one that is read and one broadcast weight."""
        return max(1, min(MAX_VECTORS, (self.registers - 2) // rows))


MAX_VECTORS = 4
"""Vectors of a tile; more do not help, and the last one of a plane would waste more."""

INSTRUCTION_SETS = (
    Vectors(flags=frozenset({"avx512f"}), lanes=16, registers=32, triple="x86_64-unknown-linux-gnu", cpu="x86-64-v4"),
    Vectors(
        flags=frozenset({"avx2", "fma"}), lanes=8, registers=16, triple="x86_64-unknown-linux-gnu", cpu="x86-64-v3"
    ),
    Vectors(flags=frozenset({"asimd"}), lanes=4, registers=32, triple="aarch64-unknown-linux-gnu", cpu="generic"),
)
"""Widest first."""


def vectors_of(isa: Sequence[str]) -> Vectors:
    """Return the widest vectors that a target has.

    Raises:
        InputError: it has none that there are kernels for.
    """
    for one in INSTRUCTION_SETS:
        if one.flags <= set(isa):
            return one
    known = ", ".join("+".join(sorted(one.flags)) for one in INSTRUCTION_SETS)
    raise InputError(f"There are sparse kernels for {known}; the target has {', '.join(isa) or 'none of them'}.")


def tile_object(vectors: Vectors, stages: Stages) -> bytes:
    """Return the object file of all tiles of `hwcomp.sparse_kernels.tir_tile`; it is kept in the cache.

    Raises:
        LoweringError: TVM has no code generator for the machine.
    """
    import tvm  # noqa: PLC0415 - heavy, and needed only where kernels are compiled

    key = digest("tiles", tvm.__version__, vectors.triple, vectors.cpu, vectors.lanes)
    return stages.blob("tiles", key, lambda: _compile(vectors))


def _compile(vectors: Vectors) -> bytes:
    import tvm  # noqa: PLC0415 - see above
    from tvm import tirx  # noqa: PLC0415
    from tvm.tirx.build import codegen_build  # noqa: PLC0415

    from hwcomp.sparse_kernels.tir_tile import tile, tile_name  # noqa: PLC0415 - imports TVM

    shapes = [(rows, n, adds) for rows in ROWS for n in range(1, vectors.vectors(rows) + 1) for adds in (False, True)]
    functions = {tile_name(rows, n, adds=adds): tile(rows, n, vectors.lanes, adds=adds) for rows, n, adds in shapes}
    target = tvm.target.Target({"kind": "llvm", "mtriple": vectors.triple, "mcpu": vectors.cpu})
    # no MakePackedAPI: the functions keep the calling convention of C, and need nothing of TVM when they run
    lowering = tvm.ir.transform.Sequential(
        [
            tirx.transform.BindTarget(target.with_host(target)),
            tirx.transform.StmtSimplify(),
            tirx.transform.FlattenBuffer(),
            tirx.transform.VectorizeLoop(),
            tirx.transform.UnrollLoop(),
            tirx.transform.StmtSimplify(),
            tirx.transform.LowerIntrin(),
        ]
    )
    try:
        module = codegen_build(lowering(tvm.IRModule(functions)), target)
    except ValueError as error:
        raise LoweringError(f"This build of TVM cannot compile for {vectors.triple}: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiles.o"
        module.write_to_file(str(path), "o")
        return path.read_bytes()
