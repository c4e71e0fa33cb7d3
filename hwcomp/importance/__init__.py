"""How much each channel of a width group matters: one importance function per file, found by file name.

To add one, write ``hwcomp/importance/something.py`` with a function of the same name,
``something(module, group, gradients) -> scores``, and ``NEEDS_GRADIENTS = True`` if it reads the gradients; see
``docs/importance.md``. The contract tests find it by themselves. Users name a function of their own as
``path/to/file.py:function``.
"""

from hwcomp.importance._gradients import gather_gradients
from hwcomp.importance._load import Importance, Score, load_importance

__all__ = ["Importance", "Score", "gather_gradients", "load_importance"]
