"""Fresh noise: of the recorded size, paired and correlated over the epochs as recorded, about a known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from landscapes import IMAGES, NOISE, SEED_NOISE, landscape

from scalesearch.fit.recipe import Epoch
from scalesearch.search.landscape import Landscape
from scalesearch.search.recorded import Training
from scalesearch.search.resample import noise_of, resampled, unequal
from scalesearch.spec.errors import DataError


def logit(values: np.ndarray) -> np.ndarray:
    return np.log(values / (1 - values))


def ends(recorded: Landscape) -> np.ndarray:
    """Accuracies (networks, seeds) after the last epoch."""
    return np.array([[own.epochs[-1].accuracy for own in network.trainings] for network in recorded.networks])


def test_noise_is_found_in_the_size_it_was_made() -> None:
    """40 networks × 8 seeds: 273 degrees of freedom for the training, 7 for the seed."""
    found = noise_of(landscape(40, 8)).accuracy
    assert found.rest[:, -1].std() == pytest.approx(NOISE, rel=0.12)
    assert np.sqrt((found.seeds[:, -1] ** 2).mean()) == pytest.approx(SEED_NOISE, rel=0.6)
    # Without an effect of the seed, none is made up of the trainings' own noise.
    assert np.sqrt((noise_of(landscape(40, 8, seed_noise=0.0)).accuracy.seeds[:, -1] ** 2).mean()) < SEED_NOISE / 3


def test_networks_are_redrawn_with_their_own_spread_about_what_is_known_of_them() -> None:
    loud, quiet = landscape(70, 2, noise=0.5, own=0.4), landscape(70, 2, noise=0.0, seed_noise=0.0, own=0.4)
    true = logit(ends(quiet)).mean(axis=1)
    assert logit(ends(loud)).mean(axis=1).std(ddof=1) > 1.2 * true.std(ddof=1)  # what there is to correct
    noise = noise_of(loud)
    worlds = [noise.redrawn(np.random.default_rng(seed)) for seed in range(200)]
    drawn = np.array([world.accuracy.networks[:, -1] for world in worlds])
    assert drawn.std(axis=1, ddof=1).mean() == pytest.approx(true.std(ddof=1), rel=0.2)
    assert np.abs(drawn.mean(axis=0) - noise.accuracy.networks[:, -1]).max() < 4 * 0.4 / np.sqrt(200)
    # 90 % intervals of the worlds hold what is true, for nine networks of ten.
    low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
    assert ((low <= true) & (true <= high)).mean() == pytest.approx(0.9, abs=0.1)
    # All a world's epochs and its truth follow from one draw of each network.
    order = [world.truth[:, -1].argsort().tolist() for world in worlds[:2]]
    assert order[0] != order[1] and not worlds[0].accuracy.unsure.any()
    moved = worlds[0].accuracy.networks - noise.accuracy.networks
    assert np.corrcoef(moved[:, 0], moved[:, 3])[0, 1] > 0.99


def test_truth_is_the_mean_of_what_is_drawn() -> None:
    noise = noise_of(landscape())
    drawn = noise.draw(np.random.default_rng(1), 20_000)
    assert np.abs(drawn.mean(axis=1) - noise.truth).max() < 5e-4


def uneven(seeds: int = 3, most: float = 0.2, own: float = 0.0) -> Landscape:
    """Of 40 networks the 10 with the lowest accuracies have noise of `most`, ten times that of the others or more."""
    recorded = landscape(40, seeds, noise=0.02, seed_noise=0.0, own=own)
    loud = landscape(40, seeds, noise=most, seed_noise=0.0, own=own)
    level = np.array([network.trainings[0].epochs[-1].accuracy for network in recorded.networks])
    poor = set(map(int, level.argsort()[:10]))
    pairs = enumerate(zip(recorded.networks, loud.networks, strict=True))
    return replace(recorded, networks=tuple(pair[index in poor] for index, pair in pairs))


def test_a_network_scatters_as_those_of_its_accuracy_do() -> None:
    """No good network is handed the tails of the poor: not when scores are drawn, nor when trainings are."""
    noise = noise_of(uneven())
    order = noise.truth[:, -1].argsort()
    drawn = noise.draw(np.random.default_rng(4), 16_000)
    spread = logit(drawn / noise.correction[:, None, None])[:, :, -1].std(axis=1)
    assert spread[order[:4]].min() > 4 * spread[order[-15:]].max()
    assert np.abs(drawn.mean(axis=1) - noise.truth).max() < 1e-3  # what is drawn is what the truth is of

    fresh = resampled(uneven(), 1, 200)
    spread = logit(ends(fresh)).std(axis=1)
    assert spread[order[:4]].min() > 4 * spread[order[-15:]].max()
    base = np.array([own.epochs[-1].accuracy for own in fresh.base_trainings])
    like = np.abs(logit(ends(fresh)).mean(axis=1) - logit(base).mean()).argmin()
    assert logit(base).std() == pytest.approx(spread[like], rel=0.5)


def about_a_quadratic(values: np.ndarray, recorded: Landscape) -> np.ndarray:
    """What a quadratic of two of the shares, the third being what is left, does not explain of values (n,)."""
    a, b = np.array([network.candidate.shares for network in recorded.networks]).T[:2]
    design = np.column_stack([np.ones(len(a)), a, b, a * a, b * b, a * b])
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def test_of_noisy_networks_less_is_known_than_of_quiet_ones() -> None:
    recorded = uneven(2, 0.5, own=0.2)
    order = logit(ends(recorded)).mean(axis=1).argsort()
    unsure = noise_of(recorded).accuracy.unsure[order, -1]
    assert 0.2 > unsure[:10].min() > 2.5 * unsure[-15:].max() > 0


def test_a_trend_of_the_shares_is_no_noise() -> None:
    """Networks on a plane over the simplex, and much noise: what is drawn is nearer to the plane than the means are."""
    loud, quiet = landscape(70, 2, noise=0.5), landscape(70, 2, noise=0.0, seed_noise=0.0)
    true = logit(ends(quiet)).mean(axis=1)
    missed, found = (one - true for one in (logit(ends(loud)).mean(axis=1), noise_of(loud).accuracy.networks[:, -1]))
    assert found.std() < 0.6 * missed.std()
    # What a network has of its own stays its own.
    one, other = landscape(70, 2, noise=0.02, own=0.5), noise_of(landscape(70, 2, noise=0.02, own=0.5))
    kept = about_a_quadratic(other.accuracy.networks[:, -1], one)
    assert kept.std() == pytest.approx(about_a_quadratic(logit(ends(one)).mean(axis=1), one).std(), rel=0.02)


def test_networks_that_noise_explains_keep_their_order() -> None:
    found = noise_of(landscape(40, 3, noise=5.0)).accuracy.networks[:, -1]
    assert len(np.unique(found)) == 40


def test_drawn_noise_has_the_recorded_size_at_every_epoch() -> None:
    noise = noise_of(landscape())
    values = logit(noise.draw(np.random.default_rng(2), 20_000) / noise.correction[:, None, None])
    recorded = np.sqrt(noise.accuracy.rest.var(axis=0) + (noise.accuracy.seeds**2).mean(axis=0))
    assert values.std(axis=1).mean(axis=0) == pytest.approx(recorded, rel=0.05)
    # In a recording's noise one draw shifts all epochs; drawn curves keep that.
    ends = values - values.mean(axis=1, keepdims=True)
    assert np.corrcoef(ends[:, :, 1].ravel(), ends[:, :, 3].ravel())[0, 1] > 0.95


def test_trainings_of_one_seed_share_its_effect() -> None:
    noise = noise_of(landscape(40, 8))
    rng = np.random.default_rng(3)
    values = logit(noise.draw(rng, 4_000) / noise.correction[:, None, None])[:, :, -1]
    expected = float((noise.accuracy.seeds[:, -1] ** 2).mean())
    assert values.mean(axis=0).var() == pytest.approx(expected + noise.accuracy.rest[:, -1].var() / 40, rel=0.1)
    together = logit(noise.draw(rng, 4_000, one_seed=True) / noise.correction[:, None, None])[:, :, -1]
    assert together.mean(axis=0).var() == pytest.approx(noise.accuracy.rest[:, -1].var() / 40, rel=0.15)


def test_a_resampled_landscape_is_a_function_of_its_seed() -> None:
    recorded = landscape()
    drawn = resampled(recorded, 7, 3)
    assert drawn == resampled(recorded, 7, 3)
    assert drawn != resampled(recorded, 8, 3)
    more = resampled(recorded, 7, 5)
    assert [n.trainings[:3] for n in more.networks] == [n.trainings for n in drawn.networks]
    assert [n.candidate for n in drawn.networks] == [n.candidate for n in recorded.networks]
    assert len(drawn.base_trainings) == 3 and drawn.epochs == recorded.epochs
    sizes = [noise_of(resampled(recorded, seed, 3)).accuracy.rest[:, -1].std() for seed in range(1, 21)]
    assert np.mean(sizes) == pytest.approx(noise_of(recorded).accuracy.rest[:, -1].std(), rel=0.1)


def test_losses_follow_the_accuracy_of_their_own_training() -> None:
    drawn = resampled(landscape(), 1, 40)
    for network in drawn.networks[:3]:
        ends = np.array([[own.epochs[-1].accuracy, own.epochs[-1].val_loss] for own in network.trainings])
        assert np.corrcoef(ends.T)[0, 1] < -0.9


def test_perfect_accuracies_stay_finite_and_in_range() -> None:
    recorded = landscape()

    def perfect(training: Training) -> Training:
        return replace(training, epochs=tuple(replace(epoch, accuracy=1.0) for epoch in training.epochs))

    first, *others = recorded.networks
    first = replace(first, trainings=tuple(map(perfect, first.trainings)))
    noise = noise_of(replace(recorded, networks=(first, *others)))
    drawn = noise.draw(np.random.default_rng(0), 100) / noise.correction[:, None, None]
    assert np.isfinite(drawn).all() and drawn.min() >= 0 and drawn.max() <= 1
    assert drawn[0, :, -1].mean() > 1 - 2 / IMAGES


def test_how_unequal_noise_is() -> None:
    """Noise of equal size in log odds is the larger in accuracy, the lower that is: here a·(1 − a) falls threefold."""
    raw, odds = unequal(landscape(40, 8))
    assert raw > 1.5 and odds == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize(("networks", "seeds"), [(4, 1), (1, 3)])
def test_noise_needs_repeats(networks: int, seeds: int) -> None:
    few: Landscape = replace(landscape(6, seeds), networks=landscape(6, seeds).networks[:networks])
    with pytest.raises(DataError, match=f"got {networks} networks and {seeds} such seeds; record more seeds"):
        noise_of(few)


def test_times_are_the_networks_means() -> None:
    recorded = landscape()

    def slower(training: Training) -> Training:
        epochs: tuple[Epoch, ...] = tuple(replace(e, processor_seconds=12.0 + training.seed) for e in training.epochs)
        return replace(training, epochs=epochs)

    networks = tuple(replace(n, trainings=tuple(map(slower, n.trainings))) for n in recorded.networks)
    timed = replace(recorded, networks=networks)
    assert noise_of(timed).seconds == pytest.approx(13.0)
    drawn = [epoch for n in resampled(timed, 1, 2).networks for own in n.trainings for epoch in own.epochs]
    assert {epoch.processor_seconds for epoch in drawn} == {13.0}
