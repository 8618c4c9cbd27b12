"""Table 4 of the EfficientNet paper (Tan & Le 2019, arXiv:1905.11946v5): latency on one CPU core, batch 1."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from scalesearch.nets.latency import measure_latency
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
from scalesearch.spec.cost import cost
from scalesearch.spec.files import load_arch

_ROUNDS = 5  # each network once per round, so that what slows the machine slows all of them
_PASSES = 4  # per round; 5 × 4 passes are the paper's 20
_MODELS = {"ResNet-152": "resnet152", "EfficientNet-B1": "efficientnet_b1", "EfficientNet-B7": "efficientnet_b7"}
_UNIT = "EfficientNet-B1"  # ratios are to its latency


@dataclass(frozen=True, slots=True)
class _Timed:
    """`seconds` are the medians of the rounds, `ratios` those over the unit's of the same round."""

    printed: dict[str, str]
    seconds: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()


def table4() -> Experiment:
    """ResNet-152 against EfficientNet-B1."""
    return _experiment("table4", ["ResNet-152", _UNIT])


def table4_largest() -> Experiment:
    """The same with EfficientNet-B7; GPipe's network is not shipped."""
    return _experiment("table4-largest", ["ResNet-152", _UNIT, "GPipe", "EfficientNet-B7"])


def _experiment(name: str, models: Sequence[str]) -> Experiment:
    found = _measure([row for row in rows("efficientnet_table4_latency") if row["model"] in models])
    table = Table(
        name,
        f"Seconds per image: batch 1, one thread, {_ROUNDS} interleaved rounds of {_PASSES} passes; spread over rounds",
        {
            "model": "network",
            "flops": "FLOPs",
            "published_latency_s": "latency (s)",
            "published_ratio": f"/ {_UNIT.removeprefix('EfficientNet-')}",
            "latency_s": "here (s)",
            "latency_low_s": "lowest",
            "latency_high_s": "highest",
            "ratio": "/ B1 here",
            "ratio_low": "lowest",
            "ratio_high": "highest",
        },
        tuple(_row(each, found) for each in found),
    )
    return Experiment(name, "Table 4: latency on one CPU core", (table,), tuple(_notes(found)), lambda: _draw(found))


def _measure(printed: list[dict[str, str]]) -> list[_Timed]:
    names = [row["model"] for row in printed if row["model"] in _MODELS]
    archs = {name: load_arch(_MODELS[name]) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(_ROUNDS):
        for name, arch in archs.items():
            seconds[name].append(measure_latency(arch, threads=1, batch=1, warmup=2, repeats=_PASSES).median_s)
    return [
        _Timed(
            row,
            tuple(seconds.get(row["model"], ())),
            tuple(a / b for a, b in zip(seconds.get(row["model"], ()), seconds[_UNIT], strict=False)),
        )
        for row in printed
    ]


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
                for value in (statistics.median(values), min(values), max(values))
            ),
            *([EMPTY] * (0 if each.seconds else 6)),
        ),
        each.printed["source"],
    )


def _notes(found: Sequence[_Timed]) -> list[str]:
    timed = {each.printed["model"]: each for each in found}
    resnet = timed["ResNet-152"].ratios
    notes = [
        f"ResNet-152 takes {statistics.median(resnet):.2f} times as long as B1 here ({min(resnet):.2f} to "
        f"{max(resnet):.2f} over {len(resnet)} rounds); the paper prints 5.7 times.",
        "Other hardware and another framework: the paper's core is a Xeon E5-2690 under TensorFlow, this is PyTorch in "
        f"eval mode, channels last. ResNet-152 has {_flops('ResNet-152') / _flops(_UNIT):.1f} times B1's FLOPs.",
    ]
    if "EfficientNet-B7" in timed:
        largest = timed["EfficientNet-B7"].ratios
        printed = {name: float(each.printed["latency_s"]) for name, each in timed.items()}
        notes += [
            f"B7 takes {statistics.median(largest):.1f} times as long as B1 here ({min(largest):.1f} to "
            f"{max(largest):.1f}); the paper's latencies are {printed['EfficientNet-B7'] / printed[_UNIT]:.1f} apart.",
            f"GPipe's network is not shipped: the paper's {printed['GPipe'] / printed['EfficientNet-B7']:.1f} times B7 "
            "is not reproduced.",
        ]
    return notes


def _flops(model: str) -> int:
    return cost(load_arch(_MODELS[model])).flops


def _draw(found: Sequence[_Timed]) -> Figure:
    """Ratios to B1: the paper's, and here each round with their median."""
    timed = [each for each in found if each.ratios]
    unit = next(float(each.printed["latency_s"]) for each in found if each.printed["model"] == _UNIT)
    with styled():
        figure = new_figure(0.9 + 0.35 * len(timed))
        axes = figure.add_subplot()
        for index, each in enumerate(timed):
            first = index == 0
            printed = float(each.printed["latency_s"]) / unit
            axes.plot(printed, index, "D", color=GREY, markersize=5, label="paper" if first else None)
            axes.plot(
                each.ratios,
                [index] * len(each.ratios),
                "|",
                color=BLUE,
                markersize=9,
                label=f"here, {_ROUNDS} rounds" if first else None,
            )
            axes.plot(
                statistics.median(each.ratios), index, "o", color=BLUE, markersize=4, label="median" if first else None
            )
        axes.set_yticks(range(len(timed)), [each.printed["model"] for each in timed])
        axes.set_ylim(len(timed) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"latency / latency of {_UNIT}, one core, batch 1")
        figure.legend(loc="outside lower center", ncols=3, columnspacing=1.2)
    return figure
