"""Where the pixels of a convolution lie, so that every tap is one constant distance in memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 16
"""Planes are multiples of so many floats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Planes:
    r"""The input of a convolution as flat planes, and its output.

    A plane is padded with zeros; the padding at the right of a row is that at the left of the next one. With a stride
    :math:`s`, an input channel is split into :math:`s^2` planes, one for each phase of rows and columns. Then output
    pixel :math:`(i, j)` is at :math:`p = i \cdot pitch + j`, and tap :math:`(c, u, v)` of all pixels at
    :math:`p + offset(c, u, v)`. Between the rows some outputs are computed that nobody wants.

    Attributes:
        channels: of the input.
        height: of the input, in pixels.
        width: of the input, in pixels.
        kernel: height and width of the window.
        stride: the same along both axes.
        padding: at the top, left, bottom and right, in pixels.
        lanes: floats of a vector.
    """

    channels: int
    height: int
    width: int
    kernel: tuple[int, int]
    stride: int
    padding: tuple[int, int, int, int]
    lanes: int

    @property
    def output(self) -> tuple[int, int]:
        """Height and width of the output, in pixels."""
        top, left, bottom, right = self.padding
        high = self.height + top + bottom - self.kernel[0]
        wide = self.width + left + right - self.kernel[1]
        return high // self.stride + 1, wide // self.stride + 1

    @property
    def pixels(self) -> int:
        """Pixels of the output."""
        return self.output[0] * self.output[1]

    @property
    def is_packed(self) -> bool:
        """Whether the input must be copied into planes; a product by pixel reads it as it is."""
        return self.stride > 1 or any(self.padding) or self.pitch != self.output[1] or self.pixels < self.lanes

    @property
    def phases(self) -> int:
        """Phases along each axis; a window of one pixel meets only one."""
        return self.stride if self.kernel != (1, 1) else 1

    @property
    def pitch(self) -> int:
        """Floats from a row to the next."""
        _, left, _, right = self.padding
        if self.stride == 1:
            return self.width + max(left, right)
        return -(-(self.width + left + right) // self.stride)

    @property
    def plane(self) -> int:
        """Floats of a plane, with what the last vector reads behind it."""
        if not self.is_packed:
            return self.height * self.width
        top, _, bottom, right = self.padding
        rows = -(-(self.height + top + bottom) // self.stride)
        floats = rows * self.pitch + right + self.lanes
        return -(-floats // ALIGNMENT) * ALIGNMENT

    @property
    def floats(self) -> int:
        """Floats of all planes of a channel."""
        return self.phases**2 * self.plane

    @property
    def outputs(self) -> int:
        """Outputs that are computed for a channel, at least a vector; those between the rows count."""
        return max((self.output[0] - 1) * self.pitch + self.output[1], self.lanes)

    @property
    def is_cropped(self) -> bool:
        """Whether some of the outputs must be left out."""
        return self.outputs != self.pixels

    def offsets(self, columns: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the distance in floats of taps, given as columns of the weight's matrix, (c * KH + u) * KW + v."""
        channel, tap = np.divmod(columns.astype(np.int64), self.kernel[0] * self.kernel[1])
        u, v = np.divmod(tap, self.kernel[1])
        phase = (u % self.stride) * self.phases + v % self.stride if self.phases > 1 else 0
        place = (channel * self.phases**2 + phase) * self.plane
        found: NDArray[np.int32] = (place + (u // self.stride) * self.pitch + v // self.stride).astype(np.int32)
        return found
