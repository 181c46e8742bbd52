"""The regression gate: it passes what is the same, and fails what was broken on purpose."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import make_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from loudness_corpus import make_corpus
from onnx import numpy_helper

from vivavoce import ConfigurationError
from vivavoce.bundle import MANIFEST, Bundle, Calibration, Manifest, Regression
from vivavoce.files import sha256
from vivavoce_calibration.commands.verbs import compare_command
from vivavoce_calibration.corpora import Trial, read_corpus
from vivavoce_calibration.evaluation import with_durations
from vivavoce_calibration.metrics import eer
from vivavoce_calibration.regression import Limits, Side, compare, load_limits
from vivavoce_calibration.scoring import Scorer, score_corpus

LIMITS = """
eer = 0.02
min_dcf = 0.05
act_dcf = 0.1
cllr = 0.05
pearson = 0.99
spearman = 0.98
largest_difference = 1.0
flips = 0.05
part_flips = 0.1
"""
CALIBRATION = Calibration(scale=1.0, offset=0.0, corpus="made up", bonafide=100, spoof=100)


def made_up(seed: int = 0) -> tuple[list[Trial], Side]:
    """100 bona fide trials around 2 and 100 spoofs around -2, of two systems and two codecs."""
    rng = np.random.default_rng(seed)
    trials = [
        Trial(
            *(f"t{number}", Path(f"t{number}.wav"), "bonafide" if number < 100 else "spoof", f"p{number % 25}"),
            system=None if number < 100 else f"S{number % 2}",
            codec=("flac", "opus")[number % 4 > 1],
            duration=3.0,
        )
        for number in range(200)
    ]
    scores = np.concatenate((rng.normal(2, 1, 100), rng.normal(-2, 1, 100)))
    return trials, Side("reference", "0" * 64, scores, CALIBRATION, 0.0)


def compared(trials: list[Trial], candidate: Side, reference: Side, **limits: float) -> Regression:
    return compare(trials, candidate, reference, corpus="c", subset="dev", limits=Limits(**limits), draws=100)


def test_the_same_scores_differ_in_nothing() -> None:
    trials, side = made_up()
    found = compared(trials, side, side, eer=0.0, cllr=0.0, pearson=1.0, largest_difference=0.0, flips=0.02, part_flips=0.0)
    assert found.broken == ()
    assert {(one.metric, one.value, one.low, one.high) for one in found.differences} == {
        (name, 0.0, 0.0, 0.0) for name in ("EER", "minDCF", "actDCF", "Cllr")
    }
    assert (found.pearson, found.spearman, found.largest_difference) == (pytest.approx(1), pytest.approx(1), 0)
    assert {one.share.value for one in found.flips} == {0.0}
    assert [(one.by, one.name, one.share.trials) for one in found.flips] == [
        *(("all", "all", 200), ("system", "S0", 50), ("system", "S1", 50)),
        *(("codec", "flac", 100), ("codec", "opus", 100), ("duration", "2 to 4 s", 200)),
    ]


def test_every_flip_is_counted_once_and_by_its_kind() -> None:
    trials, side = made_up()
    scores = np.where(np.arange(200) < 100, 2.0, -2.0)
    reference = replace(side, scores=scores)
    changed = scores.copy()
    changed[[0, 1, 2]] = -1.0
    changed[[100, 101]] = 1.0
    found = compared(trials, replace(side, scores=changed), reference)
    everywhere = found.flips[0]
    assert everywhere.share.value == 5 / 200
    kinds = (everywhere.bonafide_rejected, everywhere.bonafide_accepted, everywhere.spoof_accepted, everywhere.spoof_rejected)
    assert kinds == (3, 0, 2, 0)
    assert {one.name: one.spoof_accepted for one in found.flips if one.by == "system"} == {"S0": 1, "S1": 1}
    assert {one.name: one.bonafide_rejected for one in found.flips if one.by == "codec"} == {"flac": 2, "opus": 1}
    assert (found.largest_difference, found.furthest_trial) == (3.0, "t0")


@settings(max_examples=20)
@given(seed=st.integers(0, 100), noise=st.floats(0, 3))
def test_the_difference_is_that_of_the_metric(seed: int, noise: float) -> None:
    trials, side = made_up(seed)
    scores = side.scores + np.random.default_rng(seed).normal(0, noise, 200)
    found = compare(trials, replace(side, scores=scores), side, corpus="c", subset="dev", draws=20)
    difference = found.differences[0]
    assert difference.reference == eer(side.scores[:100], side.scores[100:])
    assert difference.value == pytest.approx(eer(scores[:100], scores[100:]) - difference.reference)


@pytest.mark.parametrize(
    ("limit", "value", "says"),
    [
        ("eer", 0.001, r"EER rises by up to 0\.\d+ \(\+0\.\d+ measured\), the limit is 0\.001"),
        ("min_dcf", 0.001, "minDCF rises"),
        ("act_dcf", 0.001, "actDCF rises"),
        ("cllr", 0.001, "Cllr rises"),
        ("pearson", 0.999, r"the Pearson correlation is 0\.\d+, the limit is 0\.999"),
        ("spearman", 0.999, "the Spearman correlation"),
        ("largest_difference", 0.5, r"the scores of t\d+ are \d\.\d+ apart"),
        ("flips", 0.01, r"up to \d+\.\d+% of the decisions flip"),
        ("part_flips", 0.01, r"of the 50 decisions of system S[01] flip"),
    ],
)
def test_noise_breaks_each_limit(limit: str, value: float, says: str) -> None:
    trials, side = made_up()
    noisy = replace(side, scores=side.scores + np.random.default_rng(1).normal(0, 2, 200))
    (broken, *rest) = compared(trials, noisy, side, **{limit: value}).broken
    assert re.search(says, broken)
    assert not rest or limit == "part_flips"
    assert compared(trials, side, side, **{limit: value if limit != "flips" else 0.02}).broken == ()


def test_a_limit_must_be_shown_to_be_kept() -> None:
    trials, side = made_up()
    few = [trials[number] for number in (*range(5), *range(100, 105))]
    small = replace(side, scores=side.scores[[*range(5), *range(100, 105)]])
    assert "up to 30.85% of the decisions flip (0.00% measured)" in compared(few, small, small, flips=0.02).broken[0]


def test_a_shift_leaves_the_eer_alone_and_flips_decisions() -> None:
    trials, side = made_up()
    found = compared(trials, replace(side, scores=side.scores - 1), side, eer=0.0, pearson=0.999, flips=0.02)
    assert found.differences[0].value == 0
    assert [one for one in found.broken if "flip" in one] == list(found.broken)
    assert found.flips[0].bonafide_rejected > found.flips[0].spoof_accepted == 0


def test_a_candidate_without_calibration_is_judged_by_that_of_the_reference() -> None:
    trials, side = made_up()
    reference = replace(side, scores=2 * side.scores + 1, calibration=CALIBRATION.model_copy(update={"scale": 2, "offset": 1}))
    found = compared(trials, replace(side, calibration=None, threshold=99.0), reference)
    assert (found.scores, found.largest_difference, found.flips[0].share.value) == ("reference", 0.0, 0.0)


def test_without_any_calibration_decisions_are_compared_at_the_eer() -> None:
    trials, side = made_up()
    reference = replace(side, calibration=None, threshold=99.0)
    worse = replace(reference, scores=np.where(np.arange(200) == 0, -9.0, side.scores))
    found = compared(trials, worse, reference, act_dcf=1.0)
    assert (found.scores, found.flips[0].bonafide_rejected, found.flips[0].share.value) == ("uncalibrated", 1, 1 / 200)
    assert [one.metric for one in found.differences] == ["EER", "minDCF"]
    assert found.broken == ("actDCF cannot be measured, for neither engine is calibrated; its limit is 1",)


def test_an_engine_that_scores_everything_alike_has_no_correlation() -> None:
    trials, side = made_up()
    found = compared(trials, replace(side, scores=np.zeros(200)), side, pearson=0.5)
    assert (found.pearson, found.spearman) == (0.0, 0.0)
    assert "Pearson" in found.broken[0]


# Limits.


def test_limits_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(LIMITS, encoding="utf-8")
    assert load_limits(path).model_dump() == {
        **{"eer": 0.02, "min_dcf": 0.05, "act_dcf": 0.1, "cllr": 0.05, "pearson": 0.99, "spearman": 0.98},
        **{"largest_difference": 1.0, "flips": 0.05, "part_flips": 0.1},
    }
    for text in ("err = 0.1", 'eer = "0.1"', "eer = nan", "flips = 2", "eer", "", "eer = true"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigurationError, match=r"limits\.toml .*eer, min_dcf"):
            load_limits(path)
    with pytest.raises(ConfigurationError, match="absent"):
        load_limits(tmp_path / "absent.toml")


# Bundles.


def damaged(source: Path, path: Path, initializer: str, factor: float) -> Path:
    """A copy of a bundle in whose network one initializer is multiplied by `factor`."""
    manifest = Manifest.model_validate_json((source / MANIFEST).read_bytes())
    model = onnx.load(source / "float32.onnx")
    (tensor,) = (one for one in model.graph.initializer if one.name == initializer)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(numpy_helper.to_array(tensor) * np.float32(factor)), initializer))
    content = model.SerializeToString()
    path.mkdir()
    for name in Bundle(source).listed():
        (path / name).write_bytes((source / name).read_bytes())
    (path / "float32.onnx").write_bytes(content)
    engine = manifest.engines[0].model_copy(update={"sha256": sha256(content)})
    (path / MANIFEST).write_text(manifest.model_copy(update={"engines": (engine,)}).model_dump_json(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("regression") / "bundle")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("regression") / "corpus", bonafide=20, spoof=20, seconds=0.6)


@pytest.mark.parametrize(
    ("initializer", "factor", "breaks"),
    [
        ("offset", 1.25, {"actDCF", "flips", "largest_difference"}),
        ("gain", -1.0, {"EER", "minDCF", "actDCF", "Cllr", "Pearson", "Spearman", "flips", "largest_difference"}),
        ("gain", 1.0, set()),
    ],
)
def test_a_broken_layer_breaks_limits(
    bundle: Path, corpus: Path, tmp_path: Path, initializer: str, factor: float, breaks: set[str]
) -> None:
    candidate = damaged(bundle, tmp_path / "candidate", initializer, factor)
    trials = read_corpus(corpus, subset="dev")
    limits = Limits(
        eer=0.02, min_dcf=0.05, act_dcf=0.1, cllr=0.05, pearson=0.99, spearman=0.98, largest_difference=1, flips=0.1
    )
    scorers = Scorer(candidate), Scorer(bundle)
    scores = [score_corpus(trials, scorer) for scorer in scorers]
    sides = [Side.of(*pair) for pair in zip(scorers, scores, strict=True)]
    found = compare(with_durations(trials, scores[0]), *sides, corpus="c", subset="dev", limits=limits, draws=50)
    words = {"EER", "minDCF", "actDCF", "Cllr", "Pearson", "Spearman"}
    named = {word for word in words if any(word in one for one in found.broken)}
    named |= {"flips"} if any("flip" in one for one in found.broken) else set()
    named |= {"largest_difference"} if any("apart" in one for one in found.broken) else set()
    assert named >= breaks
    assert bool(named) == bool(breaks)
    # The corpus' lists tell no duration; scoring does.
    assert [one.name for one in found.flips if one.by == "duration"] == ["under 1 s"]


def test_compare_exits_with_1_and_the_reasons_where_a_limit_is_broken(
    bundle: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("flips = 0.1\n", encoding="utf-8")
    candidate = damaged(bundle, tmp_path / "candidate", "offset", 1.25)

    def run(first: Path, **options: object) -> int:
        return compare_command(
            first,
            bundle,
            corpus,
            subset="dev",
            jobs=1,
            draws=20,
            out=tmp_path / first.name,
            limits=limits,
            **options,  # type: ignore[arg-type]
        )

    assert run(candidate, into=tmp_path / "new") == 1
    assert "of the decisions flip" in capsys.readouterr().out
    told = Bundle(tmp_path / "new").manifest.regression
    assert told
    assert told == Regression.model_validate_json((tmp_path / "candidate" / "regression.json").read_bytes())
    assert told.limits == {"flips": 0.1}
    assert told.candidate == "loudness 1 float32.onnx"
    assert run(bundle, json=True) == 0
    assert Regression.model_validate_json(capsys.readouterr().out).broken == ()
