"""The devices hwcomp knows, one TOML file each; the file's name is the target's name.

To add one, copy the nearest file here (or keep it anywhere and pass its path: ``--target ./my_board.toml``), change
the facts, and end every line that holds a number with a comment: the data sheet or manual it was read in,
``published:``, ``measured:`` or ``derived:`` with how, or ``assumption:`` with why. The fields are those of
`hwcomp.target.Target`; under ``[schemes]`` stand the operators, as named in `hwcomp.ops`, that the runtime computes in
each scheme of `hwcomp.scheme`. Nothing else is needed: the file is found by its name, and the contract tests check it.
"""

from hwcomp.target import available, load

__all__ = ["available", "load"]
