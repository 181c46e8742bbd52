"""Bands: two thresholds by error rates, what became of the trials between them, and what never is called spoof."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import make_bundle
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from vivavoce import ConfigurationError
from vivavoce.band import choose, symmetric
from vivavoce.bundle import Bundle
from vivavoce.rates import clopper_pearson

LIVING, SPOOFS = 100, 200


def point(name: str, threshold: float, accepted: int, rejected: int) -> dict[str, Any]:
    fpr, fnr = clopper_pearson(accepted, SPOOFS), clopper_pearson(rejected, LIVING)
    return {"name": name, "threshold": threshold, "fpr": fpr.model_dump(), "fnr": fnr.model_dump(), "corpus": "made up"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    points = [
        point("eer", 0.5, 20, 10),
        point("llr=0", 0.0, 24, 8),
        point("fpr=2%", 2.0, 4, 40),
        point("fnr=2%", -1.5, 60, 2),
        point("fpr=30%", -1.5, 60, 2),
        point("fnr=40%", 2.0, 4, 40),
    ]
    made = make_bundle(tmp_path_factory.mktemp("bundles") / "banded", operating_points=points, default_operating_point="eer")
    return Bundle(made)


@given(st.integers(1, 3000), st.floats(0, 1))
def test_the_interval_is_that_of_the_beta_distribution(trials: int, share: float) -> None:
    errors = round(share * trials)
    rate = clopper_pearson(errors, trials)
    assert rate.low == pytest.approx(beta.ppf(0.025, errors, trials - errors + 1) if errors else 0.0, abs=1e-10)
    assert rate.high == pytest.approx(beta.ppf(0.975, errors + 1, trials - errors) if errors < trials else 1.0, abs=1e-10)


def test_two_thresholds_tell_what_became_of_the_trials(bundle: Bundle) -> None:
    band = choose(bundle, accept="FPR = 2%", reject="fnr=2%")
    assert (band.name, band.accept, band.reject, band.corpus) == ("accept fpr=2%, reject fnr=2%", 2.0, -1.5, "made up")
    assert band.living is not None
    assert band.synthetic is not None
    living = [band.living.accepted, band.living.between, band.living.rejected]
    synthetic = [band.synthetic.accepted, band.synthetic.between, band.synthetic.rejected]
    assert living == [clopper_pearson(count, LIVING) for count in (60, 38, 2)]
    assert synthetic == [clopper_pearson(count, SPOOFS) for count in (4, 56, 140)]
    assert [one.name for one in symmetric(bundle)] == [band.name]


@pytest.mark.parametrize(
    ("chosen", "accept", "reject"),
    [
        ({}, 0.5, 0.0),  # nothing above 0 is called spoof
        ({"operating_point": "fpr=2%"}, 2.0, 0.0),
        ({"operating_point": "fnr=2%"}, -1.5, -1.5),
        ({"operating_point": np.float32(0.5)}, 0.5, 0.0),
        ({"operating_point": np.int64(-1)}, -1.0, -1.0),
        ({"operating_point": np.array(-1.0)}, -1.0, -1.0),
        ({"operating_point": "-0.25"}, -0.25, -0.25),
        ({"accept": 3, "reject": 1}, 3.0, 0.0),
        ({"accept": "fpr=30%", "reject": "fnr=40%"}, 0.25, 0.0),  # one threshold between them keeps both rates
    ],
    ids=str,
)
def test_one_threshold_or_two(bundle: Bundle, chosen: dict[str, Any], accept: float, reject: float) -> None:
    band = choose(bundle, **chosen)
    assert (band.accept, band.reject) == (accept, reject)


def test_scores_that_are_no_likelihood_ratios_have_no_such_limit(tmp_path: Path) -> None:
    bundle = Bundle(make_bundle(tmp_path / "raw", calibration=None))
    assert choose(bundle, "fpr=1%").reject == 1.5


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"accept": "fpr=2%"}, "belong together"),
        ({"operating_point": "eer", "accept": 1, "reject": 0}, "exclude each other"),
        ({"accept": -1, "reject": 1}, "lies below"),
        ({"operating_point": float("nan")}, "decides nothing"),
        ({"operating_point": True}, "no operating point"),
        ({"operating_point": "fpr=7%"}, "Choose eer, llr=0"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(bundle: Bundle, chosen: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        choose(bundle, **chosen)
