"""What an assignment costs, one model per file; the file's name is the model's name.

To add one, write a file with a frozen dataclass that satisfies `hwcomp.cost.CostModel`, that is
``cost_table(space, kernels) -> CostTable``, and make its last line ``COST_MODEL = ClassName``. State in its docstring
the formula, the units and the source, and give the table an honest ``provenance`` and ``error``. The contract tests
pick a model up by themselves if its fields without a default are among ``target``, ``facts`` and ``threads``.
"""
