"""Operating points: the right threshold, honest intervals, and no promise that the trials cannot support."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from vivavoce.errors import ConfigurationError
from vivavoce_calibration.metrics import eer, error_rates
from vivavoce_calibration.operating_points import NAMES, clopper_pearson, operating_point, table, trials_needed

Scores = list[float]

some = st.lists(st.floats(-9, 9), min_size=30, max_size=40) | st.lists(st.integers(-2, 2).map(float), min_size=30, max_size=40)


@given(bonafide=some, spoof=some, percent=st.sampled_from([10, 15, 20, 50]), rated=st.sampled_from(["fpr", "fnr"]))
def test_no_threshold_with_the_rate_does_better(bonafide: Scores, spoof: Scores, percent: int, rated: str) -> None:
    point = operating_point(f"{rated}={percent}%", bonafide, spoof, corpus="c")
    candidates = [error_rates(bonafide, spoof, t) for t in {*bonafide, *spoof, math.inf}]
    other = "fnr" if rated == "fpr" else "fpr"
    best = min(getattr(r, other) for r in candidates if getattr(r, rated) * 100 <= percent + 1e-9)
    assert point.fpr
    assert point.fnr
    values = {"fpr": point.fpr.value, "fnr": point.fnr.value}
    assert values[rated] * 100 <= percent + 1e-9
    assert values[other] == pytest.approx(best)
    assert error_rates(bonafide, spoof, point.threshold) == pytest.approx((values["fnr"], values["fpr"]))


def test_the_threshold_lies_halfway_between_the_scores_that_it_parts() -> None:
    bonafide, spoof = [float(score) for score in range(100, 200)], [float(score) for score in range(100)]
    assert operating_point("eer", bonafide, spoof, corpus="c").threshold == 99.5
    assert operating_point("fpr=5%", bonafide, spoof, corpus="c").threshold == 94.5
    assert operating_point("fnr=5%", bonafide, spoof, corpus="c").threshold == 104.5


def test_the_eer_point_has_the_eer() -> None:
    rng = np.random.default_rng(3)
    bonafide, spoof = rng.normal(1, 1, 200), rng.normal(-1, 1, 300)
    point = operating_point("eer", bonafide, spoof, corpus="made up")
    assert point.fpr
    assert point.fnr
    assert (point.fpr.value + point.fnr.value) / 2 == pytest.approx(eer(bonafide, spoof))
    assert (point.fpr.trials, point.fnr.trials, point.corpus) == (300, 200, "made up")


def test_thresholds_follow_their_rates() -> None:
    rng = np.random.default_rng(4)
    points = {p.name: p for p in table(rng.normal(1, 1, 5000), rng.normal(-1, 1, 5000), corpus="c")}
    assert tuple(points) == NAMES
    order = ["fnr=0.1%", "fnr=1%", "fnr=10%", "eer", "fpr=10%", "fpr=1%", "fpr=0.1%"]
    thresholds = [points[name].threshold for name in order]
    assert thresholds == sorted(thresholds)


def test_the_table_leaves_out_what_the_trials_cannot_show() -> None:
    rng = np.random.default_rng(5)
    points = table(rng.normal(1, 1, 290), rng.normal(-1, 1, 310), corpus="c")
    assert [p.name for p in points] == ["eer", "llr=0", "fpr=1%", "fpr=2%", "fpr=5%", "fpr=10%", "fnr=2%", "fnr=5%", "fnr=10%"]


def test_a_rate_that_the_trials_cannot_show_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r'300 spoofed trials cannot show "fpr=0\.1%"\. Give at least 3000'):
        operating_point("fpr=0.1%", [1.0] * 9999, [0.0] * 300, corpus="c")
    operating_point("fpr=1%", [1.0], [0.0] * 300, corpus="c")
    with pytest.raises(ConfigurationError, match="299 bona fide trials"):
        operating_point("fnr=1%", [1.0] * 299, [0.0], corpus="c")


@pytest.mark.parametrize("name", ["fpr=1%", "fnr=0.5%", "fpr=10%"])
def test_with_so_many_trials_an_outcome_without_errors_would_show_the_rate(name: str) -> None:
    percent, trials = float(name[4:-1]), trials_needed(name)
    upper_one_sided = clopper_pearson(0, trials, level=0.9).high
    assert upper_one_sided * 100 <= percent < clopper_pearson(0, round(trials * 0.9), level=0.9).high * 100


@pytest.mark.parametrize("name", ["", "EER", "fpr", "fpr=1", "fpr=-1%", "fpr=0%", "fnr=100%", "fnr=1e1%", "hter=1%"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is no operating point"):
        operating_point(name, [1.0] * 100, [0.0] * 100, corpus="c")


@pytest.mark.parametrize(("bonafide", "spoof"), [([], [0.0]), ([1.0], []), ([np.nan], [0.0]), ([1.0], [np.inf])])
def test_scores_that_are_missing_or_not_finite_are_refused(bonafide: Scores, spoof: Scores) -> None:
    with pytest.raises(ConfigurationError, match="A class has no scores"):
        operating_point("eer", bonafide, spoof, corpus="c")


@pytest.mark.parametrize("truth", [0.001, 0.03, 0.2, 0.5, 0.97])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_interval_covers_the_truth_as_often_as_it_says(truth: float, level: float) -> None:
    outcomes = [clopper_pearson(errors, 60, level=level) for errors in range(61)]
    covered = sum(binom.pmf(k, 60, truth) for k, rate in enumerate(outcomes) if rate.low <= truth <= rate.high)
    assert covered >= level


def test_the_interval_covers_the_truth_of_a_threshold_chosen_on_the_same_trials() -> None:
    rng = np.random.default_rng(6)
    covered, draws = 0, 1000
    for _ in range(draws):
        point = operating_point("fpr=5%", rng.uniform(1, 2, 10), rng.uniform(0, 1, 100), corpus="c")
        assert point.fpr
        # Of uniform scores the share above the threshold is known.
        covered += point.fpr.low <= 1 - point.threshold <= point.fpr.high
    assert covered / draws >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / draws)
