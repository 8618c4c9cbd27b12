"""What an experiment hands back: tables whose every cell says where it comes from, notes, and a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure

# Origin of a cell: the mark behind its value in printed tables, and what the legend says.
ORIGINS: Mapping[str, tuple[str, str]] = {
    "published": ("ᵖ", "published"),
    "computed": ("ᶜ", "computed here"),
    "measured": ("ᵐ", "measured here"),
    "reference": ("ʳ", "counted by the authors' own code, run for comparison"),
}

Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Cell:
    """`value` goes to the CSV file, `text` to people; `origin` is a key of ORIGINS, or empty for a label."""

    value: Value
    text: str
    origin: str = ""


EMPTY = Cell(None, "")


@dataclass(frozen=True, slots=True)
class Row:
    """`source` names where the published cells were read."""

    cells: tuple[Cell, ...]
    source: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """`columns` maps a CSV column, with its unit, to its printed heading; `name` is a file name's stem."""

    name: str
    title: str
    columns: Mapping[str, str]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Experiment:
    """`notes` are the findings, discrepancies first; each holds for the numbers in the tables."""

    name: str
    title: str
    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    draw: Callable[[], Figure]


def label(text: str) -> Cell:
    """The name of a row: nobody's claim."""
    return Cell(text, text)


def published(printed: str, text: str | None = None) -> Cell:
    """As printed in its source, unless `text` spells it otherwise; empty where that prints nothing."""
    return Cell(_number(printed), printed if text is None else text, "published") if printed else EMPTY


def computed(value: Value, text: str | None = None) -> Cell:
    """Counted or calculated here; `None` where there is nothing to compute from."""
    return EMPTY if value is None else Cell(value, _text(value) if text is None else text, "computed")


def measured(value: float, text: str | None = None) -> Cell:
    return Cell(value, _text(value) if text is None else text, "measured")


def reference(text: str) -> Cell:
    """Counted by other people's code, executed as its source says."""
    value = _number(text)
    return Cell(value, _text(value), "reference")


@dataclass(frozen=True, slots=True)
class Pair:
    """A printed number, in `unit`, beside the exact one; `what` names the row.

    `reading` is how far a number read from a figure may be off, in `unit`; None if it is printed as text.
    """

    what: str
    printed: str
    exact: float
    unit: float = 1.0
    reading: float | None = None

    @property
    def share(self) -> float:
        """How far the printed number lies above the exact one, as a share of it."""
        return float(self.printed) * self.unit / self.exact - 1

    @property
    def agrees(self) -> bool:
        """Whether the exact number rounds to the printed one: half a unit of its last digit on either side.

        Of a number that was read from a figure the digits say nothing, and `reading` stands for them.
        """
        half = 0.5 * 10.0 ** -len(self.printed.partition(".")[2]) if self.reading is None else self.reading
        return abs(float(self.printed) - self.exact / self.unit) <= half * (1 + 1e-9)


def deviation(pair: Pair) -> Cell:
    """`Pair.share` in per cent; empty where nothing is printed."""
    return computed(100 * pair.share, signed(pair.share)) if pair.printed else EMPTY


def signed(share: float) -> str:
    """A share in per cent, with its sign unless it is none."""
    text = f"{100 * share:+.1f}"
    return text if text.strip("+-0.") else "0.0"


def agreement(kind: str, pairs: Iterable[Pair]) -> str:
    """A sentence: how many printed numbers the exact ones round to, and the largest deviation of the others.

    Of numbers read from a figure: how many lie as near as that can be read.
    """
    found = [pair for pair in pairs if pair.printed]
    off = [pair for pair in found if not pair.agrees]
    reading = found[0].reading if found else None
    unit = {1e9: "B", 1e6: "M"}.get(found[0].unit, "") if found else ""
    near = "round to the printed number" if reading is None else f"lie within {reading:g}{unit} of what is read there"
    counted = f"{kind}: {len(found) - len(off)} of {len(found)} exact counts {near}"
    if not off:
        return f"{counted}."
    worst = max(off, key=lambda pair: abs(pair.share))
    how = "printed" if reading is None else "read"
    return (
        f"{counted}; of those that do not, the furthest is {worst.what}, {how} as {worst.printed}, "
        f"{_fine(worst.share)} %."
    )


def _fine(share: float) -> str:
    """As `signed`, with two digits of a share below 0.1 %."""
    return signed(share) if abs(share) >= 0.001 else f"{100 * share:+.2g}"


def exactness(kind: str, pairs: Iterable[Pair]) -> str:
    """A sentence: how many numbers that were printed to the unit are met to the unit."""
    found = [pair for pair in pairs if pair.printed]
    off = [pair for pair in found if int(pair.printed) != pair.exact]
    named = "".join(f"; {pair.what} prints {int(pair.printed):,} for {pair.exact:,}" for pair in off)
    return f"{kind}: {len(found) - len(off)} of {len(found)} equal to the unit{named}."


def _number(text: str) -> Value:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _text(value: Value) -> str:
    """Whole numbers in full, others with four significant digits."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
