"""Tidies an edited copy of a program."""

from hwcomp.program import Program, finish


def finished(program: Program) -> Program:
    """Return the program after recording shapes, in eval mode so that no statistics move; each module's mode stays."""
    training = [module for module in program.module.modules() if module.training]
    program.module.eval()
    program = finish(program)
    for module in training:
        module.training = True
    return program
