"""Graph passes, one per file, found by file name.

To add one, write ``passes/do_something.py``: a frozen dataclass whose fields are its options, with ``preserves`` and
``__call__(program) -> PassResult``, docstring *before -> after*, and as its last line ``PASS = DoSomething``. Work on
``program.fork()``, never on the argument, and finish with `hwcomp.program.finish`. The contract tests find it by
themselves; to put it in the default flow, add it to the list in ``hwcomp/pipeline.py``.
"""
