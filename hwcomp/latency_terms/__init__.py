"""What a latency budget adds to the loss of a search: one term per file, found by file name.

To add one, write ``hwcomp/latency_terms/something.py`` with a class that derives from `LatencyTerm`, and
``TERM = ThatClass``; its fields are its options. See ``docs/estimators.md``. The contract tests find it by themselves.
Users name a class of their own as ``path/to/file.py:Class``.
"""

from hwcomp.latency_terms._gradients import slopes, total_gradients
from hwcomp.latency_terms._interface import LatencyTerm
from hwcomp.latency_terms._load import load_latency_term

__all__ = ["LatencyTerm", "load_latency_term", "slopes", "total_gradients"]
