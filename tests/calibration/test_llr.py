"""Calibration to log-likelihood ratios: the right map, the cheapest one, and refusals where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vivavoce.errors import ConfigurationError
from vivavoce_calibration.llr import best_llrs, engine_scores, fit, llr, min_cllr
from vivavoce_calibration.metrics import act_dcf, cllr, ece, eer, min_dcf

Array = NDArray[np.float64]


def normal(bonafide: int, spoof: int, distance: float = 2.0, seed: int = 0) -> tuple[Array, Array]:
    """Scores of unit variance around +-distance / 2, whose log-likelihood ratio is distance * score."""
    rng = np.random.default_rng(seed)
    return rng.normal(distance / 2, 1, bonafide), rng.normal(-distance / 2, 1, spoof)


def cost(genuine: Array, fake: Array, prior: float, scale: float, offset: float) -> float:
    """The prior-weighted cross-entropy against Platt's targets, written out."""
    odds = np.log(prior / (1 - prior))
    high, low = (genuine.size + 1) / (genuine.size + 2), 1 / (fake.size + 2)

    def entropy(scores: Array, target: float) -> float:
        posterior = 1 / (1 + np.exp(-(scale * scores + offset + odds)))
        return float(-np.mean(target * np.log(posterior) + (1 - target) * np.log1p(-posterior)))

    return prior * entropy(genuine, high) + (1 - prior) * entropy(fake, low)


@pytest.mark.parametrize("prior", [0.05, 0.5, 0.9])
def test_the_map_of_normal_scores_is_their_log_likelihood_ratio(prior: float) -> None:
    genuine, fake = normal(100_000, 300_000)
    found = fit(3 * genuine + 7, 3 * fake + 7, corpus="normal", prior=prior)
    ratios = llr(found, 3 * np.array([-1.0, 0.0, 2.0]) + 7)
    np.testing.assert_allclose(ratios, [-2.0, 0.0, 4.0], atol=0.06)
    assert (found.corpus, found.bonafide, found.spoof, found.prior) == ("normal", 100_000, 300_000, prior)


@given(
    seed=st.integers(0, 1000),
    sizes=st.tuples(st.integers(2, 30), st.integers(2, 30)),
    prior=st.sampled_from([0.1, 0.5, 0.8]),
    step=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
)
def test_no_other_map_costs_less(seed: int, sizes: tuple[int, int], prior: float, step: tuple[float, float]) -> None:
    genuine, fake = normal(*sizes, distance=6, seed=seed)
    found = fit(genuine, fake, corpus="c", prior=prior)
    least = cost(genuine, fake, prior, found.scale, found.offset)
    assert least <= cost(genuine, fake, prior, found.scale + step[0], found.offset + step[1]) + 1e-12


def test_calibration_makes_the_actual_cost_the_minimum_and_leaves_the_eer_alone() -> None:
    genuine, fake = normal(2_000, 3_000)
    before = (0.1 * genuine - 3, 0.1 * fake - 3)
    found = fit(*before, corpus="c")
    after = (llr(found, before[0]), llr(found, before[1]))
    assert eer(*after) == eer(*before)
    assert act_dcf(*before) == 1.9
    assert min_dcf(*after) <= act_dcf(*after) < min_dcf(*after) + 0.02
    assert cllr(*after) < 0.6 < cllr(*before)


def test_calibrating_twice_changes_nothing() -> None:
    genuine, fake = normal(200, 300)
    first = fit(genuine, fake, corpus="c")
    second = fit(llr(first, genuine), llr(first, fake), corpus="c")
    assert (second.scale, second.offset) == pytest.approx((1, 0), abs=1e-5)


def test_classes_that_do_not_overlap_get_a_finite_map_and_modest_ratios() -> None:
    found = fit([10.0, 11.0, 12.0], [-5.0, -4.0], corpus="c")
    ratios = llr(found, [-5.0, -4.0, 10.0, 12.0])
    assert (np.diff(ratios) > 0).all()
    assert np.abs(ratios).max() < np.log(20)


def test_raw_undoes_llr() -> None:
    found = fit(*normal(50, 60), corpus="c")
    np.testing.assert_allclose(engine_scores(found, llr(found, [-3.0, 0.5, 9.0])), [-3.0, 0.5, 9.0])
    np.testing.assert_array_equal(engine_scores(None, llr(None, [1.0, 2.0])), [1.0, 2.0])


@pytest.mark.parametrize(
    ("bonafide", "spoof", "prior", "says"),
    [
        ([0.0, 1.0], [2.0, 3.0], 0.5, "Spoofs score higher"),
        ([1.0, 1.0], [1.0], 0.5, "All 3 scores are 1"),
        ([], [1.0], 0.5, "bona fide"),
        ([1.0], [], 0.5, "spoofed"),
        ([1.0, np.nan], [0.0], 0.5, "1 of 2 .* bona fide .* not finite"),
        ([1.0], [-np.inf], 0.5, "1 of 1 .* spoofed .* not finite"),
        ([1.0], [0.0], 1.0, "prior of 1.0"),
    ],
)
def test_what_has_no_map_is_refused(bonafide: list[float], spoof: list[float], prior: float, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        fit(bonafide, spoof, corpus="c", prior=prior)


def test_the_best_calibration_keeps_the_order_and_costs_least() -> None:
    assert min_cllr([2, 3], [0, 1]) == 0
    assert min_cllr([0, 1], [2, 3]) == pytest.approx(1)
    assert min_cllr([1, 1], [1, 1, 1]) == pytest.approx(1)
    # Pooled by hand: 0 alone, 1 and 2 together (one of three is bona fide), 3 alone.
    genuine, fake = best_llrs([1, 3], [0, 2, 2])
    assert genuine.tolist() == pytest.approx([np.log(1 / 2) - np.log(2 / 3), np.inf])
    assert fake.tolist() == pytest.approx([-np.inf, genuine[0], genuine[0]])
    rng = np.random.default_rng(0)
    one, other = rng.normal(1, 1, 200), rng.normal(-1, 1, 300)
    assert min_cllr(one, other) == pytest.approx(min_cllr(np.exp(one), np.exp(other)))
    assert all(min_cllr(one, other) < cllr(scale * one + shift, scale * other + shift) for scale in (1, 2) for shift in (-1, 0))


def test_the_cross_entropy_at_even_odds_is_cllr() -> None:
    one, other = [2.0, -0.5], [-1.0, 0.3, -4.0]
    assert ece(one, other) == pytest.approx(cllr(one, other))
    for prior in (0.01, 0.5, 0.9):
        nothing = -prior * np.log2(prior) - (1 - prior) * np.log2(1 - prior)
        assert ece([0.0], [0.0], np.log(prior / (1 - prior))) == pytest.approx(nothing)
