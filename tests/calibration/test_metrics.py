"""Metrics against their definitions, worked out trial by trial."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from vivavoce.errors import ConfigurationError
from vivavoce_calibration import metrics
from vivavoce_calibration.metrics import (
    act_dcf,
    bayes_threshold,
    cllr,
    det_curve,
    eer,
    eer_interpolated,
    eer_threshold,
    error_rates,
    interval,
    joint_interval,
    min_dcf,
    paired_interval,
    roc_auc,
)

Scores = list[float]

any_scores = st.lists(st.floats(allow_nan=False), min_size=1, max_size=25)
tied_scores = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=25)
finite_scores = st.lists(st.floats(-50, 50), min_size=1, max_size=25)
scores = any_scores | tied_scores | finite_scores


def random_cases(count: int) -> Iterator[tuple[Scores, Scores]]:
    """Pairs of score lists: normal, few-valued, of very unequal sizes."""
    rng = np.random.default_rng(7)
    for case in range(count):
        sizes = rng.integers(1, (4, 40, 200)[case % 3], size=2)
        pair = [rng.normal(shift, 1, size) for shift, size in zip((1.0, -0.5), sizes, strict=True)]
        if case % 2:
            pair = [np.round(values) for values in pair]
        yield pair[0].tolist(), pair[1].tolist()


def points(*classes: Scores) -> Iterator[list[float]]:
    """The rejected share of each class, one trial more each time: lowest first, of equals the earlier class."""
    queue = sorted((score, number) for number, values in enumerate(classes) for score in values)
    rejected = [0] * len(classes)
    yield [0.0] * len(classes)
    for _, number in queue:
        rejected[number] += 1
        yield [count / len(values) for count, values in zip(rejected, classes, strict=True)]


def rates(bonafide: Scores, spoof: Scores) -> list[tuple[float, float]]:
    """False negative and false positive rate of every point."""
    total = len(spoof)
    return [(fnr, (total - round(share * total)) / total) for fnr, share in points(bonafide, spoof)]


def brute_eer(bonafide: Scores, spoof: Scores) -> float:
    closest = min(rates(bonafide, spoof), key=lambda point: abs(point[0] - point[1]))
    return sum(closest) / 2


def brute_min_dcf(bonafide: Scores, spoof: Scores) -> float:
    return min(0.95 * fnr + 0.5 * fpr for fnr, fpr in rates(bonafide, spoof)) / 0.5


def brute_act_dcf(bonafide: Scores, spoof: Scores) -> float:
    threshold = -math.log(1.9)
    misses = sum(score < threshold for score in bonafide) / len(bonafide)
    return (0.95 * misses + 0.5 * sum(score >= threshold for score in spoof) / len(spoof)) / 0.5


def brute_roc_auc(bonafide: Scores, spoof: Scores) -> float:
    wins = sum((b > s) + 0.5 * (b == s) for b in bonafide for s in spoof)
    return wins / (len(bonafide) * len(spoof))


BRUTE: dict[Callable[..., float], Callable[[Scores, Scores], float]] = {
    eer: brute_eer,
    min_dcf: brute_min_dcf,
    act_dcf: brute_act_dcf,
    roc_auc: brute_roc_auc,
}


@pytest.mark.parametrize("metric", BRUTE, ids=lambda metric: metric.__name__)
def test_metric_is_its_definition_on_random_trials(metric: Callable[..., float]) -> None:
    for bonafide, spoof in random_cases(600):
        assert metric(bonafide, spoof) == pytest.approx(BRUTE[metric](bonafide, spoof), abs=1e-12)


@given(bonafide=scores, spoof=scores)
def test_metrics_are_their_definitions_on_extremes_and_ties(bonafide: Scores, spoof: Scores) -> None:
    for metric, brute in BRUTE.items():
        assert metric(bonafide, spoof) == pytest.approx(brute(bonafide, spoof), abs=1e-12)


@given(bonafide=finite_scores, spoof=finite_scores)
def test_cllr_is_its_definition(bonafide: Scores, spoof: Scores) -> None:
    misses = sum(math.log2(1 + math.exp(-score)) for score in bonafide) / len(bonafide)
    false_alarms = sum(math.log2(1 + math.exp(score)) for score in spoof) / len(spoof)
    assert cllr(bonafide, spoof) == pytest.approx((misses + false_alarms) / 2, rel=1e-12)


def test_cllr_of_known_ratios() -> None:
    assert cllr([0.0, 0.0], [0.0]) == pytest.approx(1.0)
    assert cllr([math.inf], [-math.inf]) == 0.0
    assert cllr([-1e5], [-math.inf]) == pytest.approx(1e5 / math.log(4))
    assert cllr([-math.inf], [-1.0]) == math.inf


def test_the_interpolated_eer_is_where_scikit_learns_roc_crosses_the_diagonal() -> None:
    for bonafide, spoof in random_cases(100):
        fpr, tpr, _ = roc_curve([1] * len(bonafide) + [0] * len(spoof), bonafide + spoof)
        found = brentq(lambda rate, x=fpr, y=tpr: 1 - rate - np.interp(rate, x, y), 0, 1)
        if np.all(np.diff(fpr) > 0):  # Where the ROC is upright, interpolation has no answer.
            assert eer_interpolated(bonafide, spoof) == pytest.approx(found, abs=1e-9)
    assert eer_interpolated([0.0, 1.0], [0.0, 1.0]) == 0.5
    assert (eer_interpolated([1, 2], [-1, 0]), eer_interpolated([-1, 0], [1, 2]), eer_interpolated([0], [0])) == (0, 1, 0.5)


def test_values_worked_out_by_hand() -> None:
    assert eer([1, 2, 3, 4], [0, 0.5, 1.5, 2.5]) == 0.25
    assert min_dcf([1, 2, 3, 4], [0, 0.5, 1.5, 2.5]) == 0.5
    assert roc_auc([1, 2, 3, 4], [0, 0.5, 1.5, 2.5]) == 13 / 16
    assert act_dcf([0.0, -1.0], [-0.65, -0.64]) == pytest.approx((0.95 * 0.5 + 0.5 * 0.5) / 0.5)


def test_perfect_inverted_and_constant_scores() -> None:
    assert (eer([1, 2], [-1, 0]), min_dcf([1, 2], [-1, 0]), roc_auc([1, 2], [-1, 0])) == (0.0, 0.0, 1.0)
    assert (eer([-1, 0], [1, 2]), min_dcf([-1, 0], [1, 2]), roc_auc([-1, 0], [1, 2])) == (1.0, 1.0, 0.0)
    assert (eer([0] * 3, [0] * 5), min_dcf([0] * 3, [0] * 5), roc_auc([0] * 3, [0] * 5)) == (1.0, 1.0, 0.5)


@given(bonafide=scores, spoof=scores)
def test_a_detection_cost_never_exceeds_the_better_trivial_decision(bonafide: Scores, spoof: Scores) -> None:
    assert 0 <= min_dcf(bonafide, spoof) <= 1
    if not set(bonafide) & set(spoof):
        assert min_dcf(bonafide, spoof) <= act_dcf(bonafide, spoof) + 1e-12


def test_the_bayes_threshold_of_asvspoof_5() -> None:
    assert bayes_threshold() == pytest.approx(-0.6419, abs=5e-5)
    assert bayes_threshold(p_spoof=0.5, c_miss=1, c_fa=1) == 0.0


def test_other_costs_move_the_detection_cost() -> None:
    bonafide, spoof = [0.0, 1.0], [0.5, -1.0]
    assert min_dcf(bonafide, spoof, p_spoof=0.5, c_miss=1, c_fa=1) == pytest.approx(0.5)
    assert act_dcf(bonafide, spoof, p_spoof=0.5, c_miss=1, c_fa=1) == pytest.approx(0.5)
    assert min_dcf(bonafide, spoof, p_spoof=0.5, c_miss=1, c_fa=3) == pytest.approx(0.5)
    assert act_dcf(bonafide, spoof, p_spoof=0.5, c_miss=1, c_fa=3) == pytest.approx(1.0)


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=30, unique=True), st.randoms(use_true_random=False))
def test_every_point_of_the_curve_is_what_its_threshold_does(values: Scores, random: Random) -> None:
    cut = random.randrange(1, len(values))
    bonafide, spoof = values[:cut], values[cut:]
    *points, (fnr, fpr, threshold) = zip(*det_curve(bonafide, spoof), strict=True)
    assert all(error_rates(bonafide, spoof, point[2]) == point[:2] for point in points)
    assert (fnr, fpr) == (1.0, 0.0)
    assert threshold > max(values) or threshold == math.inf


def test_the_eer_threshold_gives_the_eer() -> None:
    for bonafide, spoof in random_cases(300):
        if len({*bonafide, *spoof}) == len(bonafide) + len(spoof):
            assert error_rates(bonafide, spoof, eer_threshold(bonafide, spoof)).hter == eer(bonafide, spoof)


def test_error_rates_accept_at_the_threshold() -> None:
    found = error_rates([0.0, 1.0, 2.0, 3.0], [1.0, 0.0, -math.inf], 1.0)
    assert found == (0.25, 1 / 3)
    assert found.hter == pytest.approx((0.25 + 1 / 3) / 2)
    assert error_rates([0.0], [math.inf], math.inf) == (1.0, 1.0)
    with pytest.raises(ConfigurationError, match="threshold is not a number"):
        error_rates([0.0], [0.0], math.nan)


# What is refused.

TWO_CLASS = [eer, eer_interpolated, eer_threshold, roc_auc, min_dcf, act_dcf, cllr, det_curve]


@pytest.mark.parametrize("metric", TWO_CLASS, ids=lambda metric: metric.__name__)
def test_scores_that_are_no_scores_are_refused(metric: Callable[..., float]) -> None:
    with pytest.raises(ConfigurationError, match=r"1 of 2 scores of bona fide trials are not a number\. Find"):
        metric([1.0, math.nan], [0.0])
    with pytest.raises(ConfigurationError, match="1 of 1 scores of spoofed trials are not a number"):
        metric([1.0], [math.nan])
    with pytest.raises(ConfigurationError, match=r"scores of bona fide trials have the shape \(0,\). Give one score"):
        metric([], [0.0])
    with pytest.raises(ConfigurationError, match=r"scores of spoofed trials have the shape \(1, 1\)"):
        metric([1.0], [[0.0]])


@pytest.mark.parametrize("costs", [{"p_spoof": 0.0}, {"p_spoof": 1.0}, {"c_miss": 0.0}, {"c_fa": -1.0}])
def test_costs_that_cannot_be_normalised_are_refused(costs: dict[str, float]) -> None:
    for metric in (min_dcf, act_dcf):
        with pytest.raises(ConfigurationError, match="No detection cost has p_spoof="):
            metric([1.0], [0.0], **costs)


# Confidence intervals.


def gaussian(rng: np.random.Generator, bonafide: int, spoof: int) -> tuple[Scores, Scores]:
    """Scores whose expected EER is the normal distribution's share beyond one standard deviation, 15.87 %."""
    return rng.normal(1, 1, bonafide).tolist(), rng.normal(-1, 1, spoof).tolist()


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    found = [interval(eer, *gaussian(rng, 150, 150), draws=200, level=0.9, seed=case) for case in range(200)]
    share = np.mean([one.low <= 0.15866 <= one.high for one in found])
    assert 0.82 <= share <= 0.97


def test_the_interval_of_correlated_trials_is_wider_by_speaker() -> None:
    rng = np.random.default_rng(1)
    speakers = [f"speaker {number // 20}" for number in range(400)]
    offsets = np.repeat(rng.normal(0, 1, 20), 20)
    bonafide, spoof = 1 + offsets + rng.normal(0, 0.3, 400), -1 + rng.normal(0, 1, 400)
    by_trial = interval(eer, bonafide, spoof, draws=300)
    by_speaker = interval(eer, bonafide, spoof, bonafide_speakers=speakers, draws=300)
    assert by_trial.value == by_speaker.value == eer(bonafide, spoof)
    assert by_speaker.high - by_speaker.low > 2 * (by_trial.high - by_trial.low)
    assert (by_trial.clusters, by_speaker.clusters) == (800, 420)


def test_a_drawn_speaker_brings_all_trials_of_both_classes() -> None:
    seen: list[tuple[Counter[float], Counter[float]]] = []

    def spy(bonafide: np.ndarray, spoof: np.ndarray) -> float:
        seen.append((Counter(bonafide.tolist()), Counter(spoof.tolist())))
        return 0.0

    interval(
        spy,
        [10.0, 30.0, 11.0, 20.0, 40.0],
        [-11.0, -20.0, -10.0, -50.0],
        bonafide_speakers=["one", None, "one", "two", None],
        spoof_speakers=["one", "two", "one", None],
        draws=50,
    )
    assert len(seen) == 51
    for bonafide, spoof in seen:
        assert bonafide[10.0] == bonafide[11.0] == spoof[-10.0] == spoof[-11.0]
        assert bonafide[20.0] == spoof[-20.0]
        assert bonafide
        assert spoof
        drawn = bonafide[10.0] + bonafide[20.0] + bonafide[30.0] + bonafide[40.0] + spoof[-50.0]
        assert drawn == 5
    assert any(bonafide[30.0] != bonafide[40.0] for bonafide, _ in seen)
    assert len({tuple(sorted(bonafide.items())) for bonafide, _ in seen}) > 10


def test_percentiles_of_the_draws() -> None:
    values: list[float] = []

    def mean(bonafide: np.ndarray, spoof: np.ndarray) -> float:
        values.append(float(np.mean(bonafide) - np.mean(spoof)))
        return values[-1]

    found = interval(mean, [1.0, 2.0, 4.0, 8.0], [0.0, 1.0, 5.0], draws=99, level=0.9)
    drawn = values[:-1]
    assert found.value == values[-1] == pytest.approx(1.75)
    assert sum(value < found.low for value in drawn) <= 5
    assert sum(value > found.high for value in drawn) <= 5
    assert sum(value <= found.low for value in drawn) >= 4
    assert sum(value >= found.high for value in drawn) >= 4
    assert found.level == 0.9


def test_the_seed_decides_the_draws() -> None:
    pair = gaussian(np.random.default_rng(2), 40, 50)
    assert interval(eer, *pair, draws=100, seed=3) == interval(eer, *pair, draws=100, seed=3)
    assert interval(cllr, *pair, draws=100, seed=3) != interval(cllr, *pair, draws=100, seed=4)


def test_infinite_draws_leave_the_interval_defined() -> None:
    found = interval(cllr, [1.0, -math.inf, 2.0], [0.0, -1.0], draws=100)
    assert (found.value, found.high) == (math.inf, math.inf)
    assert math.isfinite(found.low)


def test_a_system_does_not_differ_from_itself() -> None:
    pair = gaussian(np.random.default_rng(3), 60, 70)
    found = paired_interval(eer, pair, pair, draws=100)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_what_two_systems_share_cancels_out() -> None:
    rng = np.random.default_rng(4)
    bonafide, spoof = (np.array(values) for values in gaussian(rng, 300, 300))
    better = (bonafide + rng.normal(0.3, 0.1, 300), spoof + rng.normal(0, 0.1, 300))
    paired = paired_interval(eer, better, (bonafide, spoof), draws=300)
    alone = interval(eer, bonafide, spoof, draws=300)
    assert paired.value == eer(*better) - eer(bonafide, spoof)
    assert paired.high < 0
    assert paired.high - paired.low < alone.high - alone.low


def test_the_interval_of_three_kinds_of_trial_draws_a_speaker_with_all_trials_of_each() -> None:
    seen: list[tuple[np.ndarray, ...]] = []

    def spy(*classes: np.ndarray) -> float:
        seen.append(classes)
        return float(classes[1].mean())

    classes = {"target": [5.0, 6.0, 4.0], "nontarget": [1.0, 2.0], "spoofed": [3.0, 0.0, 4.5]}
    speakers = {"target": ["one", "two", "two"], "spoofed": ["two", "one", None]}
    found = joint_interval(spy, classes, speakers=speakers, draws=60)
    assert found.value == 1.5
    assert (found.clusters, len(seen)) == (5, 61)
    for target, nontarget, spoofed in seen:
        count = Counter(np.concatenate((target, nontarget, spoofed)).tolist())
        assert (count[5.0], count[4.0], count[6.0]) == (count[0.0], count[3.0], count[3.0])
        assert count[5.0] + count[6.0] + count[1.0] + count[2.0] + count[4.5] == 5
    assert found.low < found.high


def test_the_interval_of_two_classes_is_that_of_any_number() -> None:
    bonafide, spoof = gaussian(np.random.default_rng(5), 40, 50)
    speakers = [f"{number % 7}" for number in range(40)]
    joint = joint_interval(eer, {"bona fide": bonafide, "spoofed": spoof}, speakers={"bona fide": speakers}, draws=50)
    assert joint == interval(eer, bonafide, spoof, bonafide_speakers=speakers, draws=50)
    with pytest.raises(ConfigurationError, match="The 2 nontarget trials have one speaker"):
        joint_interval(
            lambda *classes: 0.0, {"target": [1, 2], "nontarget": [0, 0], "spoofed": [0, 1]}, speakers={"nontarget": ["a", "a"]}
        )


def test_intervals_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"3 bona fide trials have 2 speakers\. Give one for each"):
        interval(eer, [1, 2, 3], [0, 1], bonafide_speakers=["a", "b"])
    with pytest.raises(ConfigurationError, match="The 2 spoofed trials have one speaker, which tells nothing of others"):
        interval(eer, [1, 2], [0, 1], spoof_speakers=["a", "a"])
    with pytest.raises(ConfigurationError, match="No interval has draws=0"):
        interval(eer, [1, 2], [0, 1], draws=0)
    with pytest.raises(ConfigurationError, match="level=95"):
        interval(eer, [1, 2], [0, 1], level=95)
    with pytest.raises(ConfigurationError, match="different numbers of scores"):
        paired_interval(eer, ([1, 2], [0, 1]), ([1, 2], [0, 1, 2]))
    with pytest.raises(ConfigurationError, match="not a number"):
        interval(eer, [1, math.nan], [0, 1])


def test_public_names_exist() -> None:
    assert all(hasattr(metrics, name) for name in metrics.__all__)
