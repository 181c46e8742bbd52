"""The public surface, frozen: what an app may rely on from one version to the next."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, fields
from typing import get_args

import pytest

import vivavoce
from vivavoce import result
from vivavoce.result import REMEDIES, Event, EventKind, Reason, Result, Verdict


def test_names_of_the_package() -> None:
    assert vivavoce.__all__ == [
        "AudioError",
        "BundleError",
        "ConfigurationError",
        "Detector",
        "DeviceError",
        "Event",
        "Microphone",
        "MissingExtra",
        "Policy",
        "Result",
        "Segment",
        "Stream",
        "VivavoceError",
    ]
    assert all(hasattr(vivavoce, name) for name in vivavoce.__all__)


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (
            vivavoce.Result,
            ["verdict", "score", "probability", "threshold", "reason", "duration", "speech", "missing", "segments", "engine"],
        ),
        (vivavoce.Segment, ["start", "end", "score"]),
        (
            vivavoce.Event,
            ["kind", "start", "time", "verdict", "score", "probability", "changed", "lost", "result"],
        ),
        (
            vivavoce.Policy,
            ["alarm_after", "clear_after", "hop", "forget_after", "scores", "false_alarms_per_hour"],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_fields_of_the_records(record: type, names: list[str]) -> None:
    assert [field.name for field in fields(record)] == names
    assert record.__dataclass_params__.frozen  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("function", "signature"),
    [
        (
            vivavoce.Detector.__init__,
            "(self, bundle=None, *, operating_point=None, device='auto', threads=1, speech_gate=True, precision=None, "
            "session_options=None)",
        ),
        (vivavoce.Detector.detect, "(self, source)"),
        (vivavoce.Detector.stream, "(self, *, sample_rate, channels=1, policy=None)"),
        (vivavoce.Detector.listen, "(self, source, *, policy=None)"),
        (vivavoce.Detector.alisten, "(self, source, *, policy=None)"),
        (vivavoce.Stream.feed, "(self, chunk)"),
        (vivavoce.Stream.finish, "(self)"),
        (vivavoce.Stream.reset, "(self)"),
        (
            vivavoce.Microphone.__init__,
            "(self, device=None, *, sample_rate=None, channels=None, buffer_seconds=10.0, reconnect=True)",
        ),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_signatures(function: object, signature: str) -> None:
    found = inspect.signature(function)  # type: ignore[arg-type]
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in found.parameters.values()]
    assert str(inspect.Signature(bare)) == signature


@pytest.mark.parametrize(
    ("error", "parent"),
    [
        (vivavoce.ConfigurationError, ValueError),
        (vivavoce.BundleError, ValueError),
        (vivavoce.AudioError, ValueError),
        (vivavoce.DeviceError, OSError),
        (vivavoce.MissingExtra, ImportError),
    ],
)
def test_every_error_is_ours_and_the_standard_librarys(error: type[Exception], parent: type[Exception]) -> None:
    assert issubclass(error, vivavoce.VivavoceError)
    assert issubclass(error, parent)


def test_missing_extra_is_the_command_that_installs_it() -> None:
    error = vivavoce.MissingExtra("onnxruntime", "cpu")
    assert str(error) == 'onnxruntime is not installed. Run: pip install "vivavoce[cpu]"'
    assert (error.name, error.extra) == ("onnxruntime", "cpu")


def test_verdicts_reasons_and_events() -> None:
    assert get_args(Verdict) == ("bonafide", "spoof", "undecided")
    assert get_args(Reason) == (
        *("empty", "not finite", "out of range", "silent", "too short", "no speech", "too little speech", "clipped"),
    )
    assert get_args(EventKind) == (
        *("speech-started", "speech-ended", "score", "verdict", "invalid", "gap", "overflow"),
        *("device-lost", "device-back", "finished"),
    )


def test_every_reason_has_a_remedy_and_every_event_is_explained() -> None:
    assert set(REMEDIES) == set(get_args(Reason))
    assert all(f"| {kind} |" in (Event.__doc__ or "") for kind in get_args(EventKind))


def test_result_tells_the_remedy_for_its_reason() -> None:
    def undecided(reason: Reason | None) -> Result:
        return Result("undecided", None, None, 0.0, reason, duration=1.0, speech=0.0)

    assert undecided("clipped").remedy == REMEDIES["clipped"]
    assert undecided(None).remedy is None


def test_records_cannot_be_changed_and_turn_into_plain_dictionaries() -> None:
    segment = result.Segment(0.0, 4.0, -1.5)
    with pytest.raises(FrozenInstanceError):
        segment.score = 2.0  # type: ignore[misc]
    answer = Result("spoof", -1.5, 0.18, 0.0, None, duration=4.0, speech=3.0, segments=(segment,))
    assert answer.to_dict() == {
        "verdict": "spoof",
        "score": -1.5,
        "probability": 0.18,
        "threshold": 0.0,
        "reason": None,
        "duration": 4.0,
        "speech": 3.0,
        "missing": 0.0,
        "segments": ({"start": 0.0, "end": 4.0, "score": -1.5},),
        "engine": None,
    }
    assert Event("finished", 0.0, 4.0, result=answer).to_dict()["result"] == answer.to_dict()
