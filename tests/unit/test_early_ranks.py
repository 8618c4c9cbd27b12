"""Ranks by epoch: real ledgers with made-up accuracies, nothing trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_runs import FINALS, Builder, candidates, epochs_to, trained

from scalesearch.report.ranks import ranks_line
from scalesearch.report.write import summary, write_report
from scalesearch.search.early_ranks import early_ranks

# After the first epoch two neighbours are swapped in each seed, other ones each time.
FIRSTS = [(0.42, 0.40), (0.40, 0.41), (0.50, 0.51), (0.60, 0.63), (0.63, 0.62)]


def test_one_training_is_compared_with_the_other_seeds_at_the_end(tmp_path: Path) -> None:
    found = early_ranks(trained(tmp_path / "run", FINALS, FIRSTS))
    assert [one.epoch for one in found] == [1, 2, 3, 4] and found[0].epochs == 4
    # τ of five with one swap is (9 − 1)/10, in each seed.
    assert found[0].agreement.tau == pytest.approx(0.8) and found[0].seeds == 2
    assert found[0].agreement.networks == 5 and found[0].agreement.low < 0.8 < found[0].agreement.high
    assert found[1].agreement.tau == found[3].agreement.tau == pytest.approx(1)


def test_a_training_does_not_vouch_for_its_own_end(tmp_path: Path) -> None:
    # Either seed's early ranks are those of its own end, in full; the other seed has them the other way round.
    finals = [(0.80, 0.88), (0.82, 0.86), (0.84, 0.84), (0.86, 0.82), (0.88, 0.80)]
    found = early_ranks(trained(tmp_path / "run", finals))
    assert [one.agreement.tau for one in found] == pytest.approx([-1, -1, -1, -1])


def test_with_one_seed_the_own_end_is_all_there_is_and_the_line_says_so(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", [(value,) for value, _ in FINALS], [(value,) for value, _ in FIRSTS])
    found = early_ranks(run)
    assert [one.epoch for one in found] == [1, 2, 3] and found[0].seeds == 1
    assert found[0].agreement.tau == pytest.approx(0.8)
    assert ranks_line(run).endswith("with one seed each training is compared with its own end, so that τ is too high.")


def test_a_seed_that_few_networks_have_is_left_out(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "run")
    for index, candidate in enumerate(candidates(7)):
        for seed in range(2 + (index < 2) - (index == 6)):  # two have a third seed, the last one has no second
            builder.add_candidate(candidate, 0.8 + 0.01 * index, seed)
    found = early_ranks(builder.finish())
    assert found[0].seeds == 2 and found[0].agreement.networks == 6


def test_ranks_by_epoch_need_five_networks_of_equal_length(tmp_path: Path) -> None:
    few = trained(tmp_path / "few", FINALS[:4])
    assert early_ranks(few) == () and ranks_line(few) == ""
    builder = Builder(tmp_path / "other", seeds=1)
    for candidate in candidates(5):
        builder.add_candidate(candidate, 0.5)
        builder.curve = lambda accuracy, epochs: epochs_to(accuracy, 3)
    assert early_ranks(builder.finish()) == ()


def test_an_epoch_after_which_all_are_alike_has_no_ranks(tmp_path: Path) -> None:
    found = early_ranks(trained(tmp_path / "run", FINALS, [(0.1, 0.1)] * 5))
    assert [one.epoch for one in found] == [2, 3, 4]


def test_the_end_of_a_run_says_how_early_the_ranks_were_known(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", FINALS, FIRSTS)
    line = ranks_line(run)
    assert line.startswith(
        "Ranks of 5 networks by the accuracy of one training, against the other seeds' at the end (epoch 4): Kendall's "
        "τ = 0.80 [0."
    )
    assert "] after epoch 1, 1.00 [" in line and "] at the end (epoch 4), which is all that noise allows; " in line
    assert line.endswith("; with 90% intervals, means over 2 seeds.")
    assert line in " ".join(summary(run).split())
    write_report(run)
    assert "Kendall&#x27;s τ = 0.80" in (run.folder / "report.html").read_text(encoding="utf-8")


def test_the_line_names_those_that_a_pruner_stopped(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "run", pruner="asha", rungs=2)
    for seed in range(2):
        for index, candidate in enumerate(candidates(5)):
            builder.add_candidate(candidate, FINALS[index][seed], seed)
    builder.add_pruned(candidates(6)[5], 0.3)
    run = builder.finish()
    assert ranks_line(run).endswith(
        " Not among them: 1 network that the pruner stopped early, so τ is of those that it spared."
    )
