"""Every exception that hwcomp raises on purpose; the command line turns each into one sentence and an exit code."""

from typing import ClassVar


class HwcompError(Exception):
    """Something the user can act on: the text says what was wrong, what was found and what to do."""

    exit_code: ClassVar[int] = 2


class InputError(HwcompError):
    """The model, the data, the target or an option cannot be used as given."""


class BudgetError(HwcompError):
    """The budget cannot be met; the fastest point that was reached is in the message and in the output folder.

    Attributes:
        report: the manifest of that point.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, report: object = None) -> None:
        super().__init__(message)
        self.report = report


class PassError(HwcompError):
    """A pass broke the program: a defect of the pass, named together with the passes before it."""

    exit_code: ClassVar[int] = 1


class UnknownOperatorError(HwcompError):
    """An analysis does not understand an operator, or this use of it, and must leave it alone; the text says why."""

    exit_code: ClassVar[int] = 1


class LoweringError(HwcompError):
    """The runtime cannot load a model: a damaged file, or a graph that it refuses."""


class DeviceError(InputError):
    """A device cannot be used, or what it answers cannot be believed."""


class DeviceMemoryError(DeviceError):
    """A model and its data do not fit in the memory of a device; a smaller batch may."""


class DeviceThrottled(DeviceError):  # noqa: N818 - what happened
    """A device slowed itself down while it measured: what it measured then does not count."""


class DeviceLost(DeviceError):  # noqa: N818 - what happened
    """A device went away, or is not there; what it had to do can be done again, or elsewhere."""
