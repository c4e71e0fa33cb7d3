"""Where a latency comes from; kinds are never mixed in one comparison."""

from typing import Literal

Provenance = Literal["measured", "simulated", "analytic"]
"""Measured on that device by that runtime, simulated by counting instructions, or analytic by a roofline."""
