"""Metrics of countermeasure and verifier together against their definitions; all metrics against the challenges' own code."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from conftest import SHARED
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.errors import ConfigurationError
from vivavoce_calibration.challenges import tandem
from vivavoce_calibration.challenges.tandem import (
    ADCF_PAPER,
    ASVSPOOF5_ASV,
    AdcfCosts,
    AsvErrorRates,
    TandemCosts,
    asv_error_rates,
    asv_error_rates_at_eer,
    min_adcf,
    min_adcf_point,
    min_tdcf_2019,
    min_tdcf_2021,
    sasv_eer,
    t_eer,
    t_eer_point,
)
from vivavoce_calibration.metrics import (
    act_dcf,
    cllr,
    det_curve,
    eer,
    eer_interpolated,
    eer_point,
    joint_interval,
    min_dcf,
    min_dcf_point,
)
from vivavoce_calibration.segments import range_eer, segment_eer, utterance_eer

Scores = list[float]

GOLDENS = SHARED / "metrics"
needs_goldens = pytest.mark.skipif(not GOLDENS.is_dir(), reason=f"{GOLDENS} is not here")

scores = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=9) | st.lists(
    st.floats(allow_nan=False), min_size=1, max_size=9
)


def points(*classes: Scores) -> Iterator[list[float]]:
    """The rejected share of each class, one trial more each time: lowest first, of equals the earlier class."""
    queue = sorted((score, number) for number, values in enumerate(classes) for score in values)
    rejected = [0] * len(classes)
    yield [0.0] * len(classes)
    for _, number in queue:
        rejected[number] += 1
        yield [count / len(values) for count, values in zip(rejected, classes, strict=True)]


# Definitions, trial by trial.


@given(bonafide=scores, spoof=scores)
def test_both_forms_of_t_dcf_are_their_definitions(bonafide: Scores, spoof: Scores) -> None:
    for asv in (ASVSPOOF5_ASV, AsvErrorRates(0.25, 0.2, 0.5)):
        c0 = 0.9405 * asv.miss + 0.0095 * 10 * asv.false_alarm
        c1, c2 = 0.9405 - c0, 10 * 0.05 * asv.spoof_false_alarm
        errors = min(c1 * fnr + c2 * (1 - rejected) for fnr, rejected in points(bonafide, spoof))
        assert min_tdcf_2019(bonafide, spoof, asv=asv) == pytest.approx(errors / min(c1, c2), abs=1e-12)
        assert min_tdcf_2021(bonafide, spoof, asv=asv) == pytest.approx((c0 + errors) / (c0 + min(c1, c2)), abs=1e-12)


@given(target=scores, nontarget=scores, spoof=scores)
def test_min_adcf_is_its_definition(target: Scores, nontarget: Scores, spoof: Scores) -> None:
    for costs in (tandem.ADCF_ASVSPOOF5, ADCF_PAPER, AdcfCosts(0.5, 0.3, 0.2, 1, 10, 2)):
        miss, other, fake = costs.weights()
        lowest = min(miss * a + other * (1 - b) + fake * (1 - c) for a, b, c in points(target, nontarget, spoof))
        expected = lowest / min(miss, other + fake)
        assert min_adcf(target, nontarget, spoof, costs=costs) == pytest.approx(expected, abs=1e-12)


def brute_t_eer(cm: tuple[Scores, Scores], verifier: tuple[Scores, Scores, Scores], rho: float) -> tuple[float, float] | None:
    """The concurrent t-EER and the lowest on the path, every pair of thresholds looked at."""
    curve = [(float(fnr), float(fpr)) for fnr, fpr in zip(*det_curve(*cm)[:2], strict=True)]
    best, found, lowest = math.inf, None, math.inf
    for miss, others, fakes in points(*verifier):
        nontarget, attack = 1 - others, 1 - fakes
        if miss >= (1 - rho) * nontarget + rho * attack:
            continue
        tandems = [
            (fnr + (1 - fnr) * miss, (1 - rho) * (1 - fnr) * nontarget + rho * fpr * attack, fnr, fpr) for fnr, fpr in curve
        ]
        total_miss, total_alarm, fnr, fpr = min(tandems, key=lambda one: abs(one[0] - one[1]))
        lowest = min(lowest, (total_miss + total_alarm) / 2)
        if attack and fnr < 1 and abs(nontarget / attack - fpr / (1 - fnr)) < best:
            best, found = abs(nontarget / attack - fpr / (1 - fnr)), attack * fpr
    return None if found is None else (found, lowest)


def test_t_eer_is_its_definition() -> None:
    """Of random scores, many of them equal, and continuous ones."""
    rng = np.random.default_rng(0)
    for case in range(150):
        sizes = rng.integers(1, 25, size=5)
        five = [rng.normal(shift, 1, size) for shift, size in zip((1, -1, 2, 0, 1), sizes, strict=True)]
        cm, verifier = five[:2], five[2:]
        if case % 3:
            cm, verifier = [np.round(one) for one in cm], [np.round(one, case % 2) for one in verifier]
        rho = (0.0, 0.25, 0.5, 1.0)[case % 4]
        expected = brute_t_eer(cm, verifier, rho)
        if expected:
            found = t_eer_point(*cm, *verifier, rho=rho)
            assert (found.value, found.lowest) == pytest.approx(expected, abs=1e-12), case


def sasv_eers(*fused: Any, eer: Callable[..., float] = eer) -> tuple[float, float, float]:
    """SASV-EER, SV-EER and SPF-EER of targets, nontargets and spoofs."""
    return sasv_eer(*fused, eer=eer), eer(*fused[:2]), eer(*fused[::2])


def test_three_kinds_of_trial_in_order_cost_nothing() -> None:
    assert sasv_eers([2, 3], [0, 1], [-1, 1]) == (0, 0, 0)
    assert min_adcf([2, 3], [0, 1], [-1, 1]) == 0
    assert sasv_eers([0], [1], [-1]) == (0.25, 1, 0)
    assert t_eer([2, 3], [0, 1], [2, 3], [0, 1], [2, 3]) == 0


def test_what_cannot_be_weighed_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"would weigh misses 0\.\d+ and false alarms 0\. Choose"):
        min_tdcf_2019([1.0], [0.0], asv=AsvErrorRates(0.1, 0.1, 0.0))
    with pytest.raises(ConfigurationError, match="would weigh misses -"):
        min_tdcf_2021([1.0], [0.0], asv=AsvErrorRates(1.0, 1.0, 0.5))
    with pytest.raises(ConfigurationError, match="rho=2"):
        t_eer([1.0], [0.0], [1.0], [0.0], [0.0], rho=2)
    with pytest.raises(ConfigurationError, match="1 of 1 scores of nontarget trials are not a number"):
        min_adcf([1.0], [np.nan], [0.0])


def test_countermeasure_and_verifier_are_drawn_together() -> None:
    rng = np.random.default_rng(6)
    kinds = {name: rng.normal(shift, 1, 60) for name, shift in zip("abcde", (1, -1, 3, 0, 2), strict=True)}
    found = joint_interval(t_eer, kinds, draws=50)
    assert found.low < found.value == t_eer(*kinds.values()) < found.high


# The challenges' own code.


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(tree, dict):
        for name, branch in tree.items():
            yield from leaves(branch, f"{path}.{name}")
    elif isinstance(tree, list):
        yield from leaves(dict(enumerate(tree)), path)
    elif not isinstance(tree, str):
        yield path[1:], tree


def whole_report(rows: list[dict[str, str]], suffix: str) -> dict[str, Any]:
    """What expected.json has, as ours computes it."""
    cm, asv, sasv = (np.array([float(row[f"{one}_{suffix}"]) for row in rows]) for one in ("cm", "asv", "sasv"))
    column = {name: np.array([row[name] for row in rows]) for name in ("cm_label", "asv_label", "attack", "codec")}
    genuine = column["cm_label"] == "bonafide"
    kinds = [column["asv_label"] == kind for kind in ("target", "nontarget", "spoof")]
    verifier, fused = ([values[kind] for kind in kinds] for values in (asv, sasv))
    attacks = {name: column["attack"] == name for name in sorted({*column["attack"]} - {"-"})}
    codecs = {name: column["codec"] == name for name in sorted({*column["codec"]})}
    rates = asv_error_rates_at_eer(*verifier)
    bonafide, spoof = cm[genuine], cm[~genuine]
    joint = t_eer_point(bonafide, spoof, *verifier)
    by_rho = {rho: t_eer_point(bonafide, spoof, *verifier, rho=float(rho)) for rho in ("0", "0.2", "0.5", "0.8", "1")}

    def alone(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
        return {metric.__name__: metric(cm[one & genuine], cm[other & ~genuine]) for metric in (min_dcf, eer, cllr, act_dcf)}

    def own(attack: np.ndarray) -> AsvErrorRates:
        return asv_error_rates(*verifier[:2], asv[attack], eer_point(*verifier[:2]).threshold)

    every = np.ones(len(rows), dtype=bool)
    spoofs = {name: cm[mask] for name, mask in attacks.items()}
    return {
        "cm": alone(every, every)
        | {
            "eer_threshold": eer_point(bonafide, spoof).threshold,
            "min_dcf_threshold": min_dcf_point(bonafide, spoof).threshold,
        },
        "cm_per_attack": {name: alone(every, mask) for name, mask in attacks.items()},
        "cm_per_codec": {name: alone(mask, mask) for name, mask in codecs.items()},
        "asv": dict(zip(("p_miss", "p_fa_nontarget", "p_fa_spoof"), rates, strict=True))
        | dict(zip(("eer", "threshold"), eer_point(*verifier[:2]), strict=True)),
        "min_tdcf": {
            "legacy_default_asv": min_tdcf_2019(bonafide, spoof),
            "revised_default_asv": min_tdcf_2021(bonafide, spoof),
            "legacy_own_asv": min_tdcf_2019(bonafide, spoof, asv=rates),
            "revised_own_asv": min_tdcf_2021(bonafide, spoof, asv=rates),
            "revised_own_asv_C0_C1_C2": list(TandemCosts().weights(rates)),
            "legacy_own_asv_per_attack": {
                name: min_tdcf_2019(bonafide, spoofs[name], asv=own(mask)) for name, mask in attacks.items()
            },
            "revised_own_asv_per_attack": {
                name: min_tdcf_2021(bonafide, spoofs[name], asv=own(mask)) for name, mask in attacks.items()
            },
            "revised_default_asv_per_attack": {name: min_tdcf_2021(bonafide, spoofs[name]) for name in attacks},
        },
        "min_a_dcf": dict(zip(("challenge", "challenge_threshold"), min_adcf_point(*fused), strict=True))
        | dict(zip(("paper", "paper_threshold"), min_adcf_point(*fused, costs=ADCF_PAPER), strict=True))
        | {"challenge_per_attack": {name: min_adcf(*fused[:2], sasv[mask]) for name, mask in attacks.items()}},
        "t_eer": dict(zip(("concurrent", "asv_threshold", "cm_threshold"), joint, strict=False))
        | {
            "concurrent_per_attack": {
                name: t_eer(bonafide, spoofs[name], *verifier[:2], asv[mask]) for name, mask in attacks.items()
            },
            "concurrent_by_rho": {rho: one.value for rho, one in by_rho.items()},
            "lowest_on_path_by_rho": {rho: one.lowest for rho, one in by_rho.items()},
        },
        "sasv_eers_asvspoof": dict(zip(("sasv_eer", "sv_eer", "spf_eer"), sasv_eers(*fused), strict=True)),
        "sasv_eers_sasvc2022": dict(
            zip(("sasv_eer", "sv_eer", "spf_eer"), sasv_eers(*fused, eer=eer_interpolated), strict=True)
        ),
        "ctrsvdd_eer": {
            "deepfake_is_target_of_negated_scores": eer(-spoof, -bonafide),
            "bonafide_is_target": eer(bonafide, spoof),
        },
    }


@needs_goldens
def test_every_value_is_that_of_the_challenges_own_code() -> None:
    with (GOLDENS / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = json.loads((GOLDENS / "expected.json").read_text())
    for which, suffix in (("ties", "score"), ("fine", "fine")):
        wanted = {name: value for name, value in leaves(expected[which]) if not name.startswith("columns")}
        (wrong,) = (name for name in wanted if name.endswith("DO_NOT_MATCH"))
        del wanted[wrong]
        assert len(wanted) == 104
        assert dict(leaves(whole_report(rows, suffix))) == pytest.approx(wanted, abs=1e-9)


@needs_goldens
def test_every_value_of_segments_is_that_of_the_challenges_own_code() -> None:
    told = json.loads((GOLDENS / "segments.json").read_text())

    def parsed(labels: dict[str, str]) -> dict[str, np.ndarray]:
        return {name: np.array([label == "1" for label in text]) for name, text in labels.items()}

    finest = parsed(told["labels_10ms"])
    marked = {float(seconds): parsed(labels) for seconds, labels in told["labels_from_marks"].items()}
    for resolution, values in told["scores"].items():
        seconds = float(resolution)
        for label, expected in told["segment_eer"][resolution].items():
            step = round(float(label) / 0.01)
            labels = {name: np.logical_and.reduceat(one, range(0, len(one), step)) for name, one in finest.items()}
            if float(label) < seconds:
                labels = marked[float(label)]
            found = segment_eer(labels, values, label_seconds=float(label), score_seconds=seconds)
            assert found == pytest.approx(expected, abs=1e-9), (resolution, label)
        assert utterance_eer(finest, values) == pytest.approx(told["utterance_eer_of_lowest_segment"][resolution], abs=1e-9)
        found = range_eer(told["spoofed_regions"], told["durations"], values, score_seconds=seconds)
        assert found == pytest.approx(told["range_eer"][resolution]["value"], abs=1e-9)


def test_public_names_exist() -> None:
    assert all(hasattr(tandem, name) for name in tandem.__all__)
