"""The CSV tables: promised columns, numbers worked out by hand, and nothing that a spreadsheet would run."""

from __future__ import annotations

import io
import math
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
from report_runs import Builder, candidates, pool

from scalesearch.nets.timing import Spread
from scalesearch.report.files import csv_text, write_csv
from scalesearch.report.tables import (
    candidates_table,
    family_table,
    pareto_table,
    published_members,
    trials_table,
)
from scalesearch.search.run import Run
from scalesearch.spec.cost import cost


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The base and two candidates with two seeds, one candidate that failed, and B2 with one seed."""
    builder = Builder(tmp_path_factory.mktemp("tables") / "run")
    first, second, third = candidates(3)
    for seed, accuracies in enumerate([(0.70, 0.80, 0.84), (0.74, 0.82, 0.90)]):
        builder.add_base(accuracies[0], seed)
        builder.add_candidate(first, accuracies[1], seed)
        builder.add_candidate(second, accuracies[2], seed)
    builder.add_candidate(third, None, reason="the loss became nan")
    builder.add_member("B2", 0.91)
    return builder.finish()


def starts_with(frame: pd.DataFrame, columns: str) -> bool:
    names = columns.split()
    return list(frame.columns[: len(names)]) == names


def test_trials_have_the_promised_columns_and_what_was_told(run: Run) -> None:
    frame = trials_table(run)
    assert starts_with(frame, "number digest seed status reason rung accuracy flops params seconds")
    assert list(frame["number"]) == list(range(8))
    assert list(frame["role"]) == ["base", "candidate", "candidate"] * 2 + ["candidate", "family"]
    row = frame.iloc[1]
    assert (row["status"], row["rung"], row["epochs"], row["accuracy"]) == ("done", 2, 4, 0.80)
    # Two rungs of 2 · 2.5 s; 500 images/s throughout; 600 MB at most.
    assert (row["seconds"], row["images_per_second"], row["peak_memory_mb"]) == (10.0, 500.0, 600.0)
    arch = candidates(3)[0].arch
    assert (row["flops"], row["params"]) == (cost(arch).flops, cost(arch).params)
    # The soft reward, at a candidate's budget of twice the base.
    ratio = cost(arch).flops / (2 * cost(pool()[1]).flops)
    assert row["score"] == pytest.approx(0.80 * ratio**-0.07)


def test_a_failed_trial_keeps_its_reason_and_has_no_numbers(run: Run) -> None:
    row = trials_table(run).iloc[6]
    assert (row["status"], row["reason"], row["rung"]) == ("failed", "the loss became nan", 0)
    assert math.isnan(row["accuracy"]) and math.isnan(row["score"]) and math.isnan(row["images_per_second"])


def test_candidates_are_distinct_best_first_with_their_intervals(run: Run) -> None:
    frame = candidates_table(run)
    intervals = " ".join(f"{name} {name}_low {name}_high" for name in ("alpha", "beta", "gamma"))
    rest = "flops nominal_ratio realised_ratio accuracy_mean accuracy_se seeds score may_be_best"
    assert starts_with(frame, f"digest {intervals} {rest}")
    first, second, _ = candidates(3)
    assert list(frame["digest"]) == [second.digest, first.digest]
    best = frame.iloc[0]
    # 0.84 and 0.90: mean 0.87, deviation 0.06/√2, standard error 0.03.
    assert best["accuracy_mean"] == pytest.approx(0.87) and best["accuracy_se"] == pytest.approx(0.03)
    assert best["seeds"] == 2
    assert (best["beta_low"], best["beta"], best["beta_high"]) == (
        second.beta.low, second.beta.value, second.beta.high,
    )  # fmt: skip
    alpha, beta, gamma = second.alpha.value, second.beta.value, second.gamma.value
    assert best["nominal_ratio"] == pytest.approx(alpha * beta**2 * gamma**2)
    assert best["realised_ratio"] == pytest.approx(cost(second.arch).flops / cost(pool()[1]).flops)
    assert best["depth_share"] + best["width_share"] + best["resolution_share"] == pytest.approx(1)
    assert best["anchors"] == "width only" and best["repeats"] == "1 1 1 2 2 2 1"
    assert best["full_ratio"] == pytest.approx(best["full_flops"] / 385_814_752)


def test_the_front_leaves_out_what_another_beats(run: Run) -> None:
    everything = pareto_table(run)
    assert set(everything["front"]) == {"flops", "params", "activations"}  # nobody has timed these networks
    assert everything["latency_ms"].isna().all()
    frame = everything[everything["front"] == "flops"]
    # The first candidate has fewer FLOPs and less accuracy than the second, so all four are on the front.
    assert list(frame["label"]) == ["B0", "depth only", "recommended = mostly width (69%)", "B2"]
    assert list(frame["accuracy"]) == pytest.approx([0.72, 0.81, 0.87, 0.91])
    assert frame["knee"].sum() == 1


def test_a_front_against_latency(run: Run) -> None:
    for index, point in enumerate(run.points):
        time = 0.004 - 0.001 * index
        run.ledger.set_fact(
            f"latency {point.digest}", asdict(Spread(time, time * 0.9, time * 1.2, time, time, repeats=30))
        )
    frame = pareto_table(Run(run.folder, run.ledger))
    # Made-up times that fall as FLOPs and accuracy rise: the largest network alone is on the front.
    (row,) = frame[frame["front"] == "latency"].to_dict("records")
    assert row["label"] == "B2"
    assert (row["latency_ms"], row["latency_p10_ms"], row["latency_p90_ms"]) == pytest.approx((1.0, 0.9, 1.2))
    assert pd.isna(row["train_step_ms"]) and pd.isna(row["memory_mb"])


def test_family_says_what_was_measured_and_what_the_paper_has(run: Run) -> None:
    frame = family_table(run)
    assert starts_with(frame, "member phi depth width resolution flops flops_fvcore params")
    assert list(frame["member"]) == [f"B{k}" for k in range(8)]
    base = frame.iloc[0]
    assert (base["phi"], base["depth"], base["resolution"], base["blocks"]) == (0, 1, 224, 16)
    assert (base["flops"], base["flops_fvcore"], base["params"]) == (385_814_752, 385_814_752, 5_288_548)
    assert base["proxy_accuracy"] == pytest.approx(0.72) and base["proxy_seeds"] == 2
    assert (base["published_flops_b"], base["published_params_m"]) == (0.39, 5.3)
    assert (frame.iloc[7]["published_flops_b"], frame.iloc[7]["published_top1"]) == (37, 84.3)
    assert frame.iloc[3]["published_resolution"] == 300
    assert frame.iloc[1]["proxy_accuracy"] == pytest.approx(0.87)  # B1 is the recommended candidate
    assert frame.iloc[2]["proxy_accuracy"] == 0.91 and math.isnan(frame.iloc[2]["proxy_accuracy_se"])
    assert frame["proxy_accuracy"].isna()[3:].all() and frame["flops_fvcore"].isna()[3:].all()
    assert list(frame["budget"]) == [385_814_752 * 2**k for k in range(8)]
    paper = run.paper_family[4]
    assert (frame.iloc[4]["paper_flops"], frame.iloc[4]["paper_phi"]) == (paper.cost.flops, paper.phi)


def test_published_rows_are_only_for_b0_as_published() -> None:
    base = pool()[0]
    assert list(published_members(base)) == [f"B{k}" for k in range(8)]
    assert published_members(replace(base, name="mine")) != {}  # a name does not make a network
    assert published_members(replace(base, resolution=256)) == {}


def test_csv_is_read_back_with_whole_numbers_whole_and_missing_ones_blank(run: Run) -> None:
    text = csv_text(family_table(run))
    assert "\r" not in text and text.endswith("\n")
    lines = text.splitlines()
    assert lines[1].startswith("B0,0,1,1,224,385814752,385814752,5288548,")
    back = pd.read_csv(io.StringIO(text))
    assert back["flops"].dtype == "int64" and back["flops_fvcore"].isna().sum() == 5
    trials = pd.read_csv(io.StringIO(csv_text(trials_table(run))), dtype={"digest": str})
    assert list(trials["status"]) == ["done"] * 6 + ["failed", "done"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", " =", "\r\n="])
def test_text_that_a_spreadsheet_would_run_is_quoted(start: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": [start + "cmd|' /C calc'!A0", "a=b"], "number": [-1.5, -2.0]})
    path = tmp_path / "table.csv"
    write_csv(path, frame)
    back = pd.read_csv(path)
    assert back["text"][0] == "'" + start.replace("\r\n", " ") + "cmd|' /C calc'!A0"
    assert back["text"][1] == "a=b"
    assert list(back["number"]) == [-1.5, -2.0]  # a negative number is no formula


def test_cells_have_six_significant_digits_and_any_name_can_be_written(tmp_path: Path) -> None:
    frame = pd.DataFrame({"value": [1 / 3, 4.938428e10, math.nan], "path": ["a,b", 'say "x"', "\udcff"]})
    write_csv(tmp_path / "table.csv", frame)
    expected = 'value,path\n0.333333,"a,b"\n4.93843e+10,"say ""x"""\n,\\udcff\n'
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]  # no temporary file is left
