"""A run on another axis than FLOPs: figure, page and tables follow it, and FLOPs stay."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path

import pytest
from report_runs import realistic

from scalesearch.nets.timing import Spread
from scalesearch.report.figures import FIGURES, figures_of
from scalesearch.report.figures.accuracy_cost import accuracy_cost_info
from scalesearch.report.figures.style import cost_axis, log_ticks, new_figure
from scalesearch.report.wording import score_line, timing_line
from scalesearch.report.write import summary, write_report
from scalesearch.search.run import Run
from scalesearch.spec.axes import AXES


def timed(run: Run, axis: str) -> Run:
    """Made-up times that fall as FLOPs rise, so that the fronts differ."""
    for index, point in enumerate(reversed(run.points)):
        time = 0.002 * (1 + index)
        found = Spread(time, time * 0.9, time * 1.3, time * 0.98, time * 1.02, repeats=40)
        run.ledger.set_fact(f"{axis} {point.digest}", asdict(found))
    return Run(run.folder, run.ledger)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return timed(realistic(tmp_path_factory.mktemp("costs") / "run", cost="latency"), "latency")


def test_the_front_is_the_axis_own(run: Run) -> None:
    front = run.front()
    assert front.axis == "latency"
    assert front.points == run.pareto != run.front("flops").points
    # B2 has the most FLOPs, the lowest made-up time and the highest accuracy: alone on the front.
    assert [point.label for point in front.points] == ["B2"]


def test_the_figure_has_the_axis_and_its_spread(run: Run) -> None:
    info = accuracy_cost_info(run, "latency")
    assert [mark.cost for mark in info.marks] == sorted(point.cost("latency") for point in run.points)
    assert all(mark.low == pytest.approx(0.9 * mark.cost) for mark in info.marks)
    assert all(mark.high == pytest.approx(1.3 * mark.cost) for mark in info.marks)
    flops = accuracy_cost_info(run)
    assert all(mark.low == mark.cost == mark.high for mark in flops.marks)
    assert list(figures_of(run)) == ["accuracy_latency", *FIGURES]


@pytest.mark.parametrize(
    ("axis", "low", "high", "label"),
    [
        ("flops", 4e5, 3e6, "FLOPs (M multiply-adds, log scale)"),
        ("params", 4e4, 9e5, "parameters (K, log scale)"),
        ("activations", 10, 900, "activations (log scale)"),
        ("latency", 0.001, 0.009, "latency (ms, log scale)"),
        ("memory", 2e7, 3e8, "peak training memory (MB, log scale)"),
    ],
)
def test_axes_are_labelled_with_their_unit(axis: str, low: float, high: float, label: str) -> None:
    axes = new_figure(2.0).add_subplot()
    cost_axis(axes, AXES[axis], low, high)
    assert axes.get_xlabel() == label
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert 2 <= len(ticks) <= 6


def test_ticks_below_one() -> None:
    assert log_ticks(0.04, 0.5) == pytest.approx([0.05, 0.1, 0.2, 0.5])


def test_page_and_files_follow_the_axis(run: Run) -> None:
    page = write_report(run).read_text(encoding="utf-8")
    assert "Against latency, hypervolume" in page
    assert "latency, ms" in page and "FLOPs" in page
    assert "Accuracy against latency of all measured networks" in page
    assert "A score is Accuracy·(latency/T)^−0.07" in page
    assert {"accuracy_latency.svg", "accuracy_flops.svg"} <= {path.name for path in (run.folder / "figures").iterdir()}
    with (run.folder / "candidates.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert float(row["latency_p10_ms"]) < float(row["latency_ms"]) < float(row["latency_p90_ms"])
        assert int(row["flops"]) > 0 and row["train_step_ms"] == "" == row["memory_mb"]
    assert "latency of 40 rounds, its median good to ±2.0%" in " ".join(summary(run).split())


def test_a_run_on_flops_has_no_further_figure(tmp_path: Path) -> None:
    plain = realistic(tmp_path / "run", number=4)
    assert figures_of(plain) == FIGURES
    assert timing_line(plain) == ""
    assert score_line(plain).startswith("A score is Accuracy·(FLOPs/T)^−0.07; T is twice the proxy base's own.")


def test_the_objectives_are_spelled_out(tmp_path: Path) -> None:
    given = {"cost": "train_step", "objective": "efficientnetv2", "number": 4}
    run = timed(realistic(tmp_path / "run", **given), "train_step")  # type: ignore[arg-type]
    assert "Accuracy·(training step/T)^−0.07·(parameters/T′)^−0.05; T and T′ are twice" in score_line(run)
    hard = realistic(tmp_path / "hard", objective="hard", number=4)
    assert "Accuracy·(T/FLOPs) above T, and the accuracy itself up to T" in score_line(hard)
    assert Path(write_report(run)).exists()
