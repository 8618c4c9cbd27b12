"""What a network can cost: the axes of the objective, of Pareto fronts and of figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scalesearch.spec.units import format_flops


@dataclass(frozen=True, slots=True)
class Axis:
    """One kind of cost of a network.

    Values are kept in operations, elements, seconds or bytes; tables and figures show them in `unit`, one of which is
    `per_unit` of those. A measured axis belongs to a machine, and its values have a spread.
    """

    name: str
    title: str
    measured: bool = False
    unit: str = ""
    per_unit: float = 1.0

    @property
    def column(self) -> str:
        """Name of the axis' column in a CSV file."""
        return f"{self.name}_{self.unit.lower()}" if self.unit else self.name

    def spell(self, value: float) -> str:
        """The value in a sentence: `385.8M FLOPs`, `3.2 ms`."""
        return self.format(value) if self.unit else f"{self.format(value)} {self.title}"

    def format(self, value: float) -> str:
        """The value for people, with its unit."""
        return f"{value / self.per_unit:.4g} {self.unit}" if self.unit else format_flops(value)


AXES: Mapping[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis("flops", "FLOPs"),
        Axis("params", "parameters"),
        Axis("activations", "activations"),
        Axis("latency", "latency", True, "ms", 1e-3),
        Axis("train_step", "training step", True, "ms", 1e-3),
        Axis("memory", "peak training memory", True, "MB", 1e6),
    )
}
MEASURED = tuple(axis for axis in AXES.values() if axis.measured)
