"""Policies: windows in a row, what a promise about false alarms costs, and when it is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from bundles import make_bundle
from hypothesis import given
from hypothesis import strategies as st

from vivavoce import Band, ConfigurationError, Detector, Event, Policy, Segment
from vivavoce.band import choose
from vivavoce.bundle import Bundle, Manifest
from vivavoce.engines.engine import open_engine
from vivavoce.listening.hysteresis import Watch
from vivavoce.listening.verdict import Judge
from vivavoce.policy import Alarms, alarm_threshold, settle


@pytest.fixture(scope="module")
def judge(tiny_bundle: Path) -> Judge:
    bundle = Bundle(tiny_bundle)
    return Judge(open_engine(bundle), bundle.manifest, Band("0", 0.0, 0.0))


def alarms(after: int, clear_after: int, below: float) -> Alarms:
    return Alarms(after, clear_after, 1.0, below)


def verdicts(judge: Judge, windows: list[float], *, below: float = 0.0, **policy: Any) -> list[Event]:
    """The events after windows of these scores, each with a second of speech."""
    watch = Watch(Policy(**policy), judge, alarms(policy.get("alarm_after", 1), policy.get("clear_after", 1), below))
    segments = [Segment(float(i), i + 1.0, score) for i, score in enumerate(windows)]
    return [event for segment in segments for event in watch.take(segment, 16_000)]


SCORES = st.lists(st.sampled_from([-3.0, -1.0, -0.25, 0.0, 0.5, 2.0]), max_size=20)


@given(SCORES, st.integers(1, 4), st.integers(1, 4), st.sampled_from([0.0, -0.5]))
def test_verdict_is_that_of_the_last_windows_in_a_row(
    judge: Judge, scores: list[float], alarm_after: int, clear_after: int, below: float
) -> None:
    expected, held = [], "undecided"
    for end in range(1, len(scores) + 1):
        alarm, clear = scores[max(0, end - alarm_after) : end], scores[max(0, end - clear_after) : end]
        for verdict, last, needed, agrees in (
            ("spoof", alarm, alarm_after, all(score < below for score in alarm)),
            ("bonafide", clear, clear_after, all(score >= 0 for score in clear)),
        ):
            if len(last) == needed and agrees:
                expected.append((end - needed, end, verdict, pytest.approx(sum(last) / needed), verdict != held))
                held = verdict
    found = verdicts(judge, scores, below=below, alarm_after=alarm_after, clear_after=clear_after)
    assert [(event.start, event.time, event.verdict, event.score, event.changed) for event in found] == expected
    assert all(event.probability == judge.probability(event.score) for event in found)


@given(SCORES, st.integers(1, 4), st.integers(1, 4))
def test_alarms_take_their_windows_for_themselves(
    judge: Judge, scores: list[float], alarm_after: int, clear_after: int
) -> None:
    """What the bound on false alarms rests on."""
    found = verdicts(judge, scores, alarm_after=alarm_after, clear_after=clear_after)
    alarms = sum(event.changed for event in found if event.verdict == "spoof")
    assert alarms * alarm_after <= sum(score < 0 for score in scores)


def test_score_is_weighted_by_the_speech_in_the_windows(judge: Judge) -> None:
    watch = Watch(Policy(alarm_after=2), judge, alarms(2, 1, 0.0))
    assert list(watch.take(Segment(0, 4, -1.0), 16_000)) == []
    (event,) = watch.take(Segment(2, 6, -4.0), 8000)
    assert event.score == pytest.approx(-2.0)


def test_between_the_thresholds_a_verdict_is_undecided_until_one_stands(tiny_bundle: Path) -> None:
    bundle = Bundle(tiny_bundle)
    banded = Judge(open_engine(bundle), bundle.manifest, Band("b", 2.0, -1.0))
    found = verdicts(banded, [0.0, 1.0, -3.0, 0.0, 2.0, -1.5], below=-2.0)
    assert [(event.verdict, event.changed, event.threshold) for event in found] == [
        ("undecided", True, 2.0),
        ("undecided", False, 2.0),
        ("spoof", True, -2.0),
        ("bonafide", True, 2.0),
    ]
    # What only a limit on false alarms keeps from being an alarm is no verdict at all.
    assert verdicts(banded, [-1.5, -1.5], below=-2.0) == []


def test_scores_are_events_where_the_policy_asks(judge: Judge) -> None:
    found = verdicts(judge, [1.0, -1.0], scores=True, alarm_after=2)
    assert [(event.kind, event.score) for event in found] == [("score", 1.0), ("verdict", 1.0), ("score", -1.0)]


@pytest.mark.parametrize(
    "settings",
    [
        {"alarm_after": 0},
        {"clear_after": -1},
        {"alarm_after": 1.5},
        {"alarm_after": "2"},
        {"hop": "1"},
        {"hop": 0},
        {"hop": 0.05},
        {"hop": math.nan},
        {"hop": math.inf},
        {"forget_after": 0},
        {"forget_after": math.nan},
        {"false_alarms_per_hour": 0},
        {"false_alarms_per_hour": math.nan},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{next(iter(settings))}=.*Give .*\.$"):
        Policy(**settings)


def measured(threshold: float, errors_at_most: float) -> dict[str, Any]:
    rate = {"value": errors_at_most / 2, "low": 0.0, "high": errors_at_most, "trials": 10_000}
    return {"name": f"fnr={errors_at_most}", "threshold": threshold, "fnr": rate}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    points = [
        {"name": "unmeasured", "threshold": -9.0},
        measured(-4.0, 0.0004),
        measured(-2.0, 0.004),
        measured(-1.0, 0.02),
        measured(3.0, 0.2),
    ]
    path = make_bundle(
        tmp_path_factory.mktemp("bundles") / "measured",
        operating_points=points,
        default_operating_point="fnr=0.02",
        audio={"window": 64_000, "hop": 32_000},
    )
    return Bundle(path).manifest


@pytest.mark.parametrize(
    ("limit", "settings", "threshold"),
    [
        (None, {}, -1.0),
        (100, {}, -1.0),  # 1800 windows an hour, 36 of them below -1 at most
        (36, {}, -1.0),
        (35, {}, -2.0),
        (7.2, {}, -2.0),
        (7.1, {}, -4.0),
        (7.1, {"alarm_after": 2}, -2.0),
        (1, {"hop": 4.0}, -4.0),
        (0.72, {}, -4.0),
        (0.1, {"alarm_after": 8}, -4.0),
    ],
)
def test_promise_lowers_the_bar_as_little_as_the_counts_allow(
    manifest: Manifest, limit: float | None, settings: dict[str, Any], threshold: float
) -> None:
    assert alarm_threshold(Policy(false_alarms_per_hour=limit, **settings), manifest, -1.0) == threshold


def test_promise_that_the_counts_do_not_support_is_refused_with_what_they_do(manifest: Manifest) -> None:
    with pytest.raises(
        ConfigurationError, match=r"cannot promise 0\.5 false alarms.*fewest.* is 0\.72 an hour.*Raise alarm_after"
    ):
        alarm_threshold(Policy(false_alarms_per_hour=0.5), manifest, -1.0)
    with pytest.raises(ConfigurationError, match="none was measured"):
        alarm_threshold(Policy(false_alarms_per_hour=500), manifest, -10.0)


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that was measured with three settings of a monitor."""

    def row(after: int, threshold: float, count: int, caught: int) -> dict[str, Any]:
        alarms = {"value": float(count), "low": 0.0, "high": count + 2.0, "count": count, "hours": 1.0}
        rate = {"value": caught / 100, "low": 0.0, "high": 1.0, "trials": 100}
        return {
            **{"alarm_after": after, "hop": 1.0, "threshold": threshold, "clears_at": 0.0, "false_alarms": alarms},
            **{"caught": rate, "delay": 8.0, "corpus": "made up"},
        }

    rows = [row(8, -1.0, 1, 40), row(4, -0.5, 5, 60), row(1, -0.25, 90, 95)]
    return Bundle(make_bundle(tmp_path_factory.mktemp("bundles") / "monitored", monitoring=rows))


@pytest.mark.parametrize(
    ("policy", "settled", "caught"),
    [
        ({"false_alarms_per_hour": 10}, (4, 4, 1.0, -0.5), 0.6),
        ({"false_alarms_per_hour": 6}, (8, 8, 1.0, -1.0), 0.4),
        ({"false_alarms_per_hour": 100}, (1, 1, 1.0, -0.25), 0.95),
        ({"false_alarms_per_hour": 100, "alarm_after": 8}, (8, 8, 1.0, -1.0), 0.4),
        ({"alarm_after": 2}, (2, 1, 0.5, 0.0), None),
    ],
    ids=str,
)
def test_a_limit_takes_the_measured_setting_that_catches_most(
    monitored: Bundle, policy: dict[str, Any], settled: tuple[float, ...], caught: float | None
) -> None:
    found = settle(Policy(**policy), monitored.manifest, choose(monitored))
    assert (found.after, found.clear_after, found.hop, found.below) == settled
    assert (found.measured and found.measured.caught.value) == caught


def test_a_limit_below_what_was_measured_is_refused_with_an_offer(monitored: Bundle) -> None:
    with pytest.raises(ConfigurationError, match=r"support are 3\.0, with alarm_after=8, and 40%.*per_hour=3 or more"):
        settle(Policy(false_alarms_per_hour=1), monitored.manifest, choose(monitored))


def test_stream_refuses_such_a_promise_when_it_is_opened(tiny_bundle: Path) -> None:
    detector = Detector(tiny_bundle)
    with pytest.raises(ConfigurationError, match="false alarms"):
        detector.stream(sample_rate=16_000, policy=Policy(false_alarms_per_hour=1))
    assert detector.stream(sample_rate=16_000, policy=Policy(false_alarms_per_hour=2000))
