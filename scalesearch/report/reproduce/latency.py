"""Table 4 of the EfficientNet paper (Tan & Le 2019, arXiv:1905.11946v5): latency on one CPU core, batch 1."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from scalesearch.nets.latency import latency_seconds
from scalesearch.nets.timing import spread, thread_count
from scalesearch.report.figures.style import BLUE, GREY, new_figure, styled
from scalesearch.report.published import rows
from scalesearch.report.reproduce.record import (
    EMPTY,
    Experiment,
    Row,
    Table,
    computed,
    label,
    measured,
    published,
)
from scalesearch.search.folder import machine
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch

_ROUNDS = 20  # one pass of each network per round; the paper averages 20 too
_MODELS = {"ResNet-152": "resnet152", "EfficientNet-B1": "efficientnet_b1", "EfficientNet-B7": "efficientnet_b7"}
_UNIT = "EfficientNet-B1"  # ratios are to its latency


@dataclass(frozen=True, slots=True)
class _Timed:
    """`seconds` are processor time, one pass a round; `ratios` are over the unit's in the same round."""

    printed: dict[str, str]
    seconds: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()


def table4() -> Experiment:
    """ResNet-152 against EfficientNet-B1."""
    return timed("table4", "Table 4: latency on one CPU core", ["ResNet-152", _UNIT])


def table4_largest() -> Experiment:
    """The same with EfficientNet-B7; GPipe's network is not shipped."""
    models = ["ResNet-152", _UNIT, "GPipe", "EfficientNet-B7"]
    return timed("table4-largest", "Table 4: latency on one CPU core, with the largest", models)


def timed(name: str, title: str, models: Sequence[str], rounds: int = _ROUNDS) -> Experiment:
    """Time the printed rows of `models`, one pass of each in turn."""
    load = os.getloadavg()[0]
    found = _measure([row for row in rows("efficientnet_table4_latency") if row["model"] in models], rounds)
    table = Table(
        name,
        f"Seconds per image: batch 1, one thread, processor time, {rounds} rounds of one pass each",
        {
            "model": "network",
            "flops": "FLOPs",
            "published_latency_s": "latency (s)",
            "published_ratio": f"/ {_UNIT.removeprefix('EfficientNet-')}",
            "latency_s": "here (s)",
            "latency_p10_s": "10 %",
            "latency_p90_s": "90 %",
            "ratio": "/ B1 here",
            "ratio_p10": "10 %",
            "ratio_p90": "90 %",
        },
        tuple(_row(each, found) for each in found),
    )
    return Experiment(name, title, (table,), _notes(found, load), lambda: _draw(found))


def _measure(printed: list[dict[str, str]], rounds: int) -> list[_Timed]:
    names = [row["model"] for row in printed if row["model"] in _MODELS]
    archs = tuple(load_arch(_MODELS[name]) for name in names)
    with thread_count(1):
        lists = latency_seconds(archs, "cpu", warmup=2, repeats=rounds, at_least=0.0)
    seconds = dict(zip(names, map(tuple, lists), strict=True))
    ratios = {name: tuple(a / b for a, b in zip(mine, seconds[_UNIT], strict=True)) for name, mine in seconds.items()}
    return [_Timed(row, seconds.get(row["model"], ()), ratios.get(row["model"], ())) for row in printed]


def _row(each: _Timed, found: Sequence[_Timed]) -> Row:
    unit = next(other for other in found if other.printed["model"] == _UNIT)
    printed_ratio = float(each.printed["latency_s"]) / float(unit.printed["latency_s"])
    shipped = _MODELS.get(each.printed["model"])
    return Row(
        (
            label(each.printed["model"]),
            computed(None if shipped is None else cost(load_arch(shipped)).flops),
            published(each.printed["latency_s"]),
            computed(printed_ratio, f"{printed_ratio:.1f}"),
            *(
                measured(value, f"{value:.{digits}f}")
                for values, digits in ((each.seconds, 3), (each.ratios, 2))
                if values
                for value in (spread(values).median, spread(values).p10, spread(values).p90)
            ),
            *([EMPTY] * (0 if each.seconds else 6)),
        ),
        each.printed["source"],
    )


def _notes(found: Sequence[_Timed], load: float) -> tuple[str, ...]:
    """`load`: how many processes wanted to run in the minute before."""
    by_name = {each.printed["model"]: each for each in found}
    printed = {name: float(each.printed["latency_s"]) for name, each in by_name.items()}
    unit = by_name[_UNIT].printed  # the paper prints its speed-up over ResNet-152 in this row
    notes = [
        f"{_slower('ResNet-152', by_name)}; the paper prints {unit['speedup_x']} times. It has "
        f"{_flops('ResNet-152') / _flops(_UNIT):.1f} times the FLOPs.",
        f"Here: {machine()}, load {load:.1f} before the first round; PyTorch in eval mode, channels last. The paper: "
        f"{unit['hardware'].replace('1 core Intel', 'one core of a')}.",
    ]
    if "GPipe" in by_name:
        notes += [
            f"{_slower('EfficientNet-B7', by_name)}; the paper's latencies are "
            f"{printed['EfficientNet-B7'] / printed[_UNIT]:.1f} apart.",
            f"GPipe's network is not shipped: the paper's {by_name['EfficientNet-B7'].printed['speedup_x']} times B7 "
            "is not reproduced.",
        ]
    return tuple(notes)


def _slower(model: str, by_name: Mapping[str, _Timed]) -> str:
    found = spread(by_name[model].ratios)
    return (
        f"{model} takes {found.median:.2f} times as long as B1 here ({found.p10:.2f} to {found.p90:.2f} from 10 to "
        f"90 % of {found.repeats} rounds)"
    )


def _flops(model: str) -> int:
    return cost(load_arch(_MODELS[model])).flops


def _draw(found: Sequence[_Timed]) -> Figure:
    """Ratios to B1: the paper's, and here each round with their median."""
    shown = [each for each in found if each.ratios]
    unit = next(float(each.printed["latency_s"]) for each in found if each.printed["model"] == _UNIT)
    with styled():
        figure = new_figure(0.9 + 0.35 * len(shown))
        axes = figure.add_subplot()
        for index, each in enumerate(shown):
            first = index == 0
            printed = float(each.printed["latency_s"]) / unit
            axes.plot(printed, index, "D", color=GREY, markersize=5, label="paper" if first else None)
            axes.plot(
                each.ratios,
                [index] * len(each.ratios),
                "|",
                color=BLUE,
                markersize=9,
                label=f"here, {len(each.ratios)} rounds" if first else None,
            )
            axes.plot(
                spread(each.ratios).median, index, "o", color=BLUE, markersize=4, label="median" if first else None
            )
        axes.set_yticks(range(len(shown)), [each.printed["model"] for each in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel("latency / that of EfficientNet-B1")
        figure.legend(loc="outside lower center", ncols=3, columnspacing=1.2)
    return figure
