"""Gradients of the loss by the logits of a search: one estimator per file, found by file name.

To add one, write ``hwcomp/estimators/something.py`` with a class that derives from `Estimator`, and
``ESTIMATOR = ThatClass``; its fields are its options. See ``docs/estimators.md``. The contract tests find it by
themselves. Users name a class of their own as ``path/to/file.py:Class``.
"""

from hwcomp.estimators._interface import Coefficients, Draw, Estimator, Logits, Loss, Mixing
from hwcomp.estimators._load import load_estimator

__all__ = ["Coefficients", "Draw", "Estimator", "Logits", "Loss", "Mixing", "load_estimator"]
