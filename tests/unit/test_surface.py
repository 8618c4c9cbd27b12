"""The model of the simplex against computations by other ways, and what it promises, by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as reference
from sklearn.gaussian_process.kernels import RBF

from scalesearch.search import gaussian, surface
from scalesearch.search.gaussian import GRID, LENGTHS, LEVEL, OFFSETS, PRIOR_FREEDOM, FloatArray
from scalesearch.search.samplers import lattice_nodes
from scalesearch.search.surface import Observation, Posterior

SHARES = np.array(lattice_nodes(5))  # 21 networks
ANCHORS = (6, 11, 20, 3, 15)


def truth_at(shares: FloatArray) -> FloatArray:
    found: FloatArray = 0.8 - 0.1 * np.sum((shares - np.array([0.2, 0.2, 0.6])) ** 2, axis=1)
    return found


def trained(places: list[int], noise: float, seed: int = 0) -> list[Observation]:
    """One training each; a place that comes again has its next seed."""
    rng = np.random.default_rng(seed)
    values = truth_at(SHARES)
    return [
        Observation(place, places[:index].count(place), float(values[place] + rng.normal(0, noise)), 4, True)
        for index, place in enumerate(places)
    ]


def fitted(observations: list[Observation]) -> gaussian.Fitted:
    return gaussian.condition(gaussian.make_prior(SHARES, 2_000, 0), surface._data(observations, []))


def exact(found: gaussian.Fitted, row: int, column: int) -> tuple[FloatArray, FloatArray]:
    """Mean (n,) and covariance (n, n; in noise variances) of the transformed scores at one point of the grid."""
    length, signal, own, seeded = GRID[found.rows[row]]
    means = found.means[seeded]
    full = signal * found.prior.smooth[length] + own * np.eye(len(found.prior.smooth[length])) + LEVEL
    across = full[:, means.places]
    inverse = np.linalg.inv(found.factors[row] @ found.factors[row].T)
    return across @ inverse @ means.values[:, column], full - across @ inverse @ across.T


@pytest.mark.parametrize("row", [0, 37, 61, len(GRID) - 1])
@pytest.mark.parametrize("column", [0, 2])
def test_posterior_against_a_regression_on_every_effect(row: int, column: int) -> None:
    """Weight space instead of function space: a Bayesian linear regression on level, trend, process, own parts and
    seeds, its process by scikit-learn's kernel."""
    observations = trained([0, 5, 9, 9, 14, 20, 3, 3], 0.01)
    found = fitted(observations)
    length, signal, own, seeded = GRID[row]
    count = len(SHARES)
    crossed = 3 * np.column_stack(
        [SHARES[:, 0] * SHARES[:, 1], SHARES[:, 0] * SHARES[:, 2], SHARES[:, 1] * SHARES[:, 2]]
    )
    basis = np.column_stack([SHARES - 1 / 3, crossed - crossed.mean(axis=0)])
    basis /= math.sqrt(np.mean(np.sum(basis**2, axis=1)))
    process = np.linalg.cholesky(RBF(LENGTHS[length])(SHARES) + 1e-10 * np.eye(count))
    parts = [np.full((count, 1), math.sqrt(LEVEL)), math.sqrt(signal / 2) * basis, math.sqrt(signal / 2) * process]
    of_places = np.column_stack([*parts, math.sqrt(own) * np.eye(count)])
    of_seeds = math.sqrt(seeded) * np.eye(2)
    design = np.array([[*of_places[one.place], *of_seeds[one.seed]] for one in observations])
    values = found.data.values[:, column]
    covariance = np.linalg.inv(np.eye(design.shape[1]) + design.T @ design)
    weights = covariance @ design.T @ values
    lifted = np.column_stack([of_places, np.zeros((count, 2))])
    mean, spread = exact(found, row, column)
    assert mean == pytest.approx(lifted @ weights, abs=1e-4)
    assert np.sqrt(np.diag(spread)) == pytest.approx(np.sqrt(np.diag(lifted @ covariance @ lifted.T)), rel=1e-3)


def of_trainings(found: gaussian.Fitted, row: int) -> FloatArray:
    """The covariance of all trainings, one by one, in noise variances: what the model never makes."""
    length, signal, own, seeded = GRID[row]
    data = found.data
    same = data.places[:, None] == data.places
    smooth = found.prior.smooth[length][np.ix_(data.places, data.places)]
    of_seeds = seeded * (data.seeds[:, None] == data.seeds)
    matrix: FloatArray = LEVEL + signal * smooth + own * same + of_seeds + np.diag(data.noise)
    return matrix


def test_evidence_against_scipys_multivariate_t() -> None:
    """With its variance integrated out a training's covariance leaves Student's t; offsets add the Jacobian."""
    observations = trained([0, 5, 9, 9, 14, 20], 0.01)
    found = fitted(observations)
    matrices = [of_trainings(found, row) for row in range(len(GRID))]
    expected = []
    for row in (3, 50, 88):
        for column in range(len(OFFSETS)):
            shape = found.data.guesses[column] ** 2 * matrices[row]
            density = reference.multivariate_t(shape=shape, df=PRIOR_FREEDOM).logpdf(found.data.values[:, column])
            slopes = [-math.log(1 + OFFSETS[column] - one.value) for one in observations]
            expected.append((density + sum(slopes), found.evidence[row, column]))
    theirs, ours = np.array(expected).T
    assert ours - ours[0] == pytest.approx(theirs - theirs[0], abs=1e-6)


def test_draws_have_the_mixtures_mean_and_spread() -> None:
    found = fitted(trained([*range(0, 21, 2), 4, 8, 12], 0.01))
    draws = gaussian.draw(found, 0)
    mean, second = np.zeros(len(SHARES)), np.zeros(len(SHARES))
    column = 0
    only = found.weights[:, column] / found.weights[:, column].sum()
    for row, weight in enumerate(only):
        middle, spread = exact(found, row, column)
        variance = np.diag(spread) * found.rates[row, column] / (found.shape - 1)
        mean += weight * middle
        second += weight * (variance + middle**2)
    chosen = draws.surface[draws.offset == OFFSETS[column]]
    deviation = np.sqrt(second - mean**2)
    assert len(chosen) > 300
    assert np.abs((chosen.mean(axis=0) - mean) / deviation).max() < 5 / math.sqrt(len(chosen))
    assert chosen.std(axis=0) == pytest.approx(deviation, rel=0.25)


def test_noise_is_found_from_repeats() -> None:
    for noise in (0.002, 0.008, 0.032):  # assumed before any repeat: 0.008 at these scores
        places = [place for place in range(0, 21, 2) for _ in range(3)]
        posterior = surface.fit(SHARES, trained(places, noise))
        assert posterior.noise == pytest.approx(noise, rel=0.35)
        assert posterior.freedom == 33 - 11 - 2


def test_assumed_noise_is_the_same_in_log_odds_at_every_score() -> None:
    for score in (0.3, 0.75, 0.97, 0.99):
        above = math.log(score / (1 - score)) + surface.NOISE
        assert surface.assumed_noise(score) == pytest.approx(1 / (1 + math.exp(-above)) - score, rel=0.05)
    assert 0 < surface.assumed_noise(1.0) < surface.assumed_noise(0.99)
    assert surface.assumed_noise(0.0) > 0
    # And so without any repeat the model takes less noise for granted near the ceiling.
    low, high = (
        surface.fit(SHARES, [Observation(place, 0, middle, 4, True) for place in (0, 10, 20)])
        for middle in (0.75, 0.99)
    )
    assert high.noise < low.noise / 5


def test_one_mean_per_network_says_what_all_trainings_say() -> None:
    """κ = 0.5 couples networks through seeds, with unequal seeds and errors: against every training by itself."""
    observations = trained([0, 5, 9, 9, 9, 14, 20, 3, 3, 0, 5], 0.01)
    prior, whole = gaussian.make_prior(SHARES, 10, 0), surface._data(observations, [])
    uneven = np.random.default_rng(0).uniform(1, 4, len(observations))
    data = gaussian.Data(whole.places, whole.seeds, whole.values, whole.jacobians, whole.guesses, uneven)
    found = gaussian.condition(prior, data)
    for row in (0, 41, 99):
        matrix, (length, signal, own, _) = of_trainings(found, row), GRID[row]
        across = (LEVEL + signal * prior.smooth[length] + own * np.eye(21))[:, data.places]
        mean, _ = exact(found, row, 1)
        assert mean == pytest.approx(across @ np.linalg.solve(matrix, data.values[:, 1]), abs=1e-6)
        squares = data.values[:, 1] @ np.linalg.solve(matrix, data.values[:, 1])
        assert found.rates[row, 1] == pytest.approx(PRIOR_FREEDOM / 2 * data.guesses[1] ** 2 + squares / 2, rel=1e-6)


def test_the_knowledge_gradient_against_simulated_outcomes() -> None:
    rng = np.random.default_rng(2)
    root = rng.standard_normal((6, 6)) * 0.01
    mean, spread = 0.8 + 0.01 * rng.standard_normal(6), np.full(6, 0.004)
    covariance = root @ root.T
    gains = surface._knowledge_gradient(mean, covariance, spread, np.arange(6))
    for place in range(6):
        change = covariance[place] / math.sqrt(covariance[place, place] + spread[place] ** 2)
        after = (mean + change * rng.standard_normal((200_000, 1))).max(axis=1)
        assert gains[place] == pytest.approx(after.mean() - mean.max(), abs=5 * after.std() / math.sqrt(len(after)))
    # A lead of ten deviations: hardly anything is to be gained, but the order is kept.
    apart = surface._knowledge_gradient(np.array([0.9, 0.8, 0.7]), np.eye(3) * 1e-4, np.zeros(3), np.arange(3))
    assert (apart > 0).all() and apart[0] == pytest.approx(apart[1], rel=1e-9) and apart[1] > apart[2]
    assert apart[1] == pytest.approx(0.01 * (reference.norm.pdf(10) - 10 * reference.norm.sf(10)), rel=1e-6)
    assert surface._knowledge_gradient(np.array([0.9, 0.8]), np.zeros((2, 2)), np.ones(2), np.arange(2)).sum() == 0


def test_a_clear_winner_is_recommended_alone_and_twins_stay() -> None:
    rng = np.random.default_rng(1)
    scores = np.full(21, 0.70)
    scores[[4, 17]] = 0.90, 0.901
    seen = [
        Observation(place, seed, float(scores[place] + rng.normal(0, 0.003)), 4, True)
        for place in range(21)
        for seed in range(3)
    ]
    posterior = surface.fit(SHARES, seen)
    assert surface.best_set(posterior, 0.9) == {4, 17}
    assert surface.recommend(posterior) in (4, 17)
    lead = surface.difference(posterior, 17, 0, 0.9)
    assert lead.low < 0.201 < lead.high and lead.high - lead.low < 0.03
    assert surface.chances(posterior).sum() == pytest.approx(1)


def test_untried_networks_may_be_best_until_something_is_known_of_them() -> None:
    posterior = surface.fit(SHARES, trained([6, 11, 20, 3, 15, 6], 0.004))
    assert posterior.tried == {6, 11, 20, 3, 15}
    assert surface.best_set(posterior, 0.9) - posterior.tried
    assert surface.recommend(posterior) in posterior.tried


def test_a_lucky_extra_seed_decides_little() -> None:
    """One network with a single seed far above its equals must not win by that alone."""
    rng = np.random.default_rng(3)
    seen = [
        Observation(place, seed, 0.8 + float(rng.normal(0, 0.01)), 4, True) for place in range(20) for seed in range(3)
    ]
    posterior = surface.fit(SHARES, [*seen, Observation(20, 0, 0.825, 4, True)])
    assert posterior.mean[20] - np.median(posterior.mean) < 0.0125  # less than half of what it shows


def test_early_scores_count_as_far_as_others_have_shown() -> None:
    """A training seen to half its epochs, with a start like the worst's, is expected to end like the worst."""
    whole = trained(list(range(0, 12)), 0.002)
    early = [Observation(one.place, 0, one.value - 0.1, 2, False) for one in whole]
    promising, hopeless = Observation(15, 0, 0.79 - 0.1, 2, False), Observation(16, 0, 0.65 - 0.1, 2, False)
    without = surface.fit(SHARES, [*whole, *early])
    posterior = surface.fit(SHARES, [*whole, *early, promising, hopeless])
    assert posterior.mean[15] == pytest.approx(0.79, abs=0.006)
    assert posterior.mean[16] == pytest.approx(0.65, abs=0.02)
    assert posterior.tried == without.tried == frozenset(range(12))
    # Nobody has shown how a training goes on from such a start: it says nothing.
    alone = surface.fit(SHARES, [*whole, promising, hopeless])
    assert alone.mean == pytest.approx(surface.fit(SHARES, whole).mean, abs=1e-12)


def test_fits_are_deterministic_and_many_networks_are_fitted_by_fewer_models() -> None:
    shares = np.array(lattice_nodes(11))
    assert len(shares) == 78 > gaussian.MANY
    truth, rng = truth_at(shares), np.random.default_rng(0)
    seen = [
        Observation(place, seed, float(truth[place] + rng.normal(0, 0.004)), 4, True)
        for place in range(78)
        for seed in range(2)
    ]
    first = surface.fit(shares, seen)
    surface._fit.cache_clear()
    assert (first.draws == surface.fit(shares, seen).draws).all()
    assert surface.fit(shares, seen) is surface.fit(shares, list(seen))  # kept until there is another result
    assert np.abs(first.mean - truth).max() < 0.009
    assert surface.regret(first) < 0.002


def test_size_is_the_networks_not_the_trainings() -> None:
    """Whatever grows with the cube has a row per network; benchmarks/engine.py measures what that costs."""
    seen = [Observation(number % 21, number // 21, 0.8 + number % 7 / 1_000, 4, True) for number in range(2_100)]
    found = fitted(seen)
    assert len(found.data.values) == 2_100
    assert found.factors.shape[1:] == (21, 21)
    assert {one.loading.shape for one in found.means.values()} == {(21, 0), (21, 100)}


def go(noise: float, seed: int, budget: int) -> tuple[FloatArray, list[Observation], Posterior]:
    """One search on a landscape of its own: smooth, with a peak somewhere, and parts of the networks' own."""
    rng = np.random.default_rng(seed)
    truth = 0.8 - 0.06 * np.sum((SHARES - rng.dirichlet([1, 1, 1])) ** 2, axis=1) + rng.normal(0, 0.003, 21)
    seen: list[Observation] = []

    def train(place: int, number: int) -> None:
        seen.append(Observation(place, number, float(truth[place] + rng.normal(0, noise)), 4, True))

    for place in ANCHORS:
        train(place, 0)
    while len(seen) < budget:
        chosen = surface.next_training(surface.fit(SHARES, seen, count=200), seen, reference=ANCHORS[3])
        assert chosen is not None
        train(*chosen)
    return truth, seen, surface.fit(SHARES, seen, count=400)


def test_coverage_and_gain_by_simulated_searches() -> None:
    """The smaller version of `benchmarks/confidence.py`: 60 searches of 16 trainings, noise not known to the model."""
    hits, errors, random_misses, misses = [], [], [], []
    for seed in range(60):
        truth, seen, posterior = go(0.004, seed, 16)
        best, chosen = int(truth.argmax()), surface.recommend(posterior)
        hits.append(best in surface.best_set(posterior, 0.9))
        gain = surface.difference(posterior, chosen, ANCHORS[3], 0.9)
        errors.append(gain.mean - (truth[chosen] - truth[ANCHORS[3]]))
        misses.append(truth[best] - truth[chosen])
        random_misses.append(truth[best] - truth[max(seen[:16], key=lambda one: one.value).place])
        assert len({(one.place, one.seed) for one in seen}) == len(seen)
    # 90 % of 60 is 54. At a true coverage of 85 % this passes with probability 0.04, at 95 % with 0.82.
    assert sum(hits) >= 56
    assert abs(np.mean(errors)) < 0.0015
    assert np.mean(misses) < 0.0015 and np.mean(misses) <= np.mean(random_misses)


def test_what_is_tried_next() -> None:
    seen = trained([*ANCHORS, 2], 0.004)
    posterior = surface.fit(SHARES, seen)
    place, seed = surface.next_training(posterior, seen) or (-1, -1)
    assert (place, seed) == (place, sum(one.place == place for one in seen))
    # What runs is not asked for again, and what failed never; at the last seed of everything the search ends.
    running = surface.next_training(posterior, seen, running=[(place, seed)])
    assert running != (place, seed)
    assert (surface.next_training(posterior, seen, left_out={place}) or (-1, 0))[0] != place
    full = [Observation(place, seed, 0.8, 4, True) for place in range(21) for seed in range(2)]
    assert surface.next_training(posterior, full, seeds=2) is None
    # Every third goes to the leader or the reference, whichever has fewer.
    third = trained([*ANCHORS, 2, 2, 2], 0.004)
    after = surface.next_training(surface.fit(SHARES, third), third, reference=ANCHORS[3])
    assert after is not None and after[0] in (ANCHORS[3], surface.recommend(surface.fit(SHARES, third)))
    # Precise enough, as far as an assumed noise says: a repeat comes next. With the noise known from repeats it ends.
    assert posterior.freedom < surface.LEAST_REPEATS
    repeat = surface.next_training(posterior, seen, precision=1.0, reference=ANCHORS[3])
    assert repeat is not None and repeat[0] in (ANCHORS[3], surface.recommend(posterior)) and repeat[1] > 0
    repeated = trained([*ANCHORS, *ANCHORS], 0.004)
    known = surface.fit(SHARES, repeated)
    assert known.freedom >= surface.LEAST_REPEATS
    assert surface.next_training(known, repeated, precision=1.0) is None


@pytest.mark.parametrize("reference", [None, ANCHORS[0]])
def test_a_leader_that_is_its_own_reference_is_no_trap(reference: int | None) -> None:
    """Seeds of one network alone are no repeats: the search has to train a second one with them before it may stop."""
    rng, seen = np.random.default_rng(0), trained([*ANCHORS], 0.0)
    seen = [one._replace(value=0.95 if one.place == ANCHORS[0] else 0.8) for one in seen]
    while (
        chosen := surface.next_training(surface.fit(SHARES, seen), seen, precision=5.0, reference=reference)
    ) is not None:
        place, seed = chosen
        level = 0.95 if place == ANCHORS[0] else 0.8
        seen.append(Observation(place, seed, level + float(rng.normal(0, 0.002)), 4, True))
        assert len(seen) < len(ANCHORS) + 2 * (surface.LEAST_REPEATS + 1)
    assert surface.fit(SHARES, seen).freedom >= surface.LEAST_REPEATS


def test_power_against_simulated_t_tests() -> None:
    """8 networks of 3 paired seeds, noise 1: how often |mean difference| passes Student's bar."""
    difference = surface.power(1.0, 8, 3, 0.9)
    rng = np.random.default_rng(0)
    freedom = 14
    means = difference + math.sqrt(2 / 3) * rng.standard_normal(40_000)
    errors = math.sqrt(2 / 3) * np.sqrt(rng.chisquare(freedom, 40_000) / freedom)
    assert (means / errors > reference.t.ppf(0.95, freedom)).mean() == pytest.approx(0.8, abs=0.01)
    # With very many networks the noise is as good as known: normal quantiles, of any table.
    assert surface.power(1.0, 100_000, 3, 0.9) == pytest.approx((1.6449 + 0.8416) * math.sqrt(2 / 3), rel=1e-3)
    assert surface.power(1.0, 8, 1, 0.9) == math.inf
