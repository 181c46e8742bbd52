"""The public surface, frozen: what an app may rely on from one version to the next."""

from __future__ import annotations

import ast
import inspect
import json
import re
from dataclasses import FrozenInstanceError, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest

import vivavoce
from vivavoce import result
from vivavoce.band import Band
from vivavoce.result import REMEDIES, Event, EventKind, Provenance, Reason, Result, Verdict


def test_names_of_the_package() -> None:
    assert vivavoce.__all__ == [
        "AudioError",
        "Band",
        "BundleError",
        "ConfigurationError",
        "Detector",
        "DeviceError",
        "Event",
        "Microphone",
        "MissingExtra",
        "Policy",
        "Provenance",
        "Result",
        "Segment",
        "Stream",
        "VivavoceError",
        "__version__",
    ]
    assert all(hasattr(vivavoce, name) for name in vivavoce.__all__)


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (
            vivavoce.Result,
            [
                *("verdict", "score", "probability", "threshold", "reject_below", "reason", "duration", "speech", "missing"),
                *("segments", "provenance", "channel"),
            ],
        ),
        (
            vivavoce.Provenance,
            ["bundle", "version", "manifest_sha256", "engine", "operating_point", "vivavoce"],
        ),
        (vivavoce.Band, ["name", "accept", "reject", "living", "synthetic", "corpus"]),
        (vivavoce.Segment, ["start", "end", "score"]),
        (
            vivavoce.Event,
            [
                *("kind", "start", "time", "verdict", "score", "probability", "threshold", "changed", "lost", "result"),
                *("provenance", "channel"),
            ],
        ),
        (
            vivavoce.Policy,
            [
                *("alarm_after", "clear_after", "hop", "forget_after", "scores", "false_alarms_per_hour"),
                *("operating_point", "accept", "reject"),
            ],
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
            "(self, bundle=None, *, operating_point=None, accept=None, reject=None, device='auto', threads=1, "
            "speech_gate=True, precision=None, session_options=None)",
        ),
        (
            vivavoce.Detector.detect,
            "(self, source, sample_rate=None, *, channel='mix', operating_point=None, accept=None, reject=None, "
            "segment_hop=None)",
        ),
        (vivavoce.Detector.detect_many, "(self, sources, *, jobs=1, channel='mix', segment_hop=None)"),
        (vivavoce.Detector.stream, "(self, sample_rate, channels=1, *, channel='mix', policy=None)"),
        (vivavoce.Detector.listen, "(self, source, *, channel='mix', policy=None)"),
        (vivavoce.Detector.alisten, "(self, source, *, channel='mix', policy=None)"),
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
        "between",
    )
    assert get_args(EventKind) == (
        *("speech-started", "speech-ended", "score", "verdict", "invalid", "gap", "overflow"),
        *("device-lost", "device-back", "finished"),
    )


def test_every_reason_has_a_remedy_and_every_event_is_explained() -> None:
    assert set(REMEDIES) == set(get_args(Reason))
    assert all(f"| {kind} |" in (Event.__doc__ or "") for kind in get_args(EventKind))


def test_the_page_has_a_row_for_every_reason() -> None:
    page = (Path(__file__).parents[2] / "docs" / "scores.md").read_text("utf-8")
    for reason, remedy in REMEDIES.items():
        (row,) = re.findall(rf"^\| {reason} \| (.+) \|$", page, re.MULTILINE)
        assert row.split(" | ")[1] in remedy


def test_result_tells_the_remedy_for_its_reason() -> None:
    def undecided(reason: Reason | None) -> Result:
        return Result("undecided", None, None, 0.0, 0.0, reason, duration=1.0, speech=0.0)

    assert undecided("clipped").remedy == REMEDIES["clipped"]
    assert undecided(None).remedy is None


def test_records_cannot_be_changed_and_turn_into_plain_dictionaries() -> None:
    segment = result.Segment(0.0, 4.0, -1.5)
    with pytest.raises(FrozenInstanceError):
        segment.score = 2.0  # type: ignore[misc]
    made = Provenance("default", "1", "0" * 64, "int8.onnx on CPU", "eer", "0.1.0")
    answer = Result("spoof", -1.5, 0.18, 0.0, 0.0, None, duration=4.0, speech=3.0, segments=(segment,), provenance=made)
    assert answer.to_dict() == {
        "verdict": "spoof",
        "score": -1.5,
        "probability": 0.18,
        "threshold": 0.0,
        "reject_below": 0.0,
        "reason": None,
        "channel": None,
        "remedy": None,
        "duration": 4.0,
        "speech": 3.0,
        "missing": 0.0,
        "segments": ({"start": 0.0, "end": 4.0, "score": -1.5},),
        "provenance": {
            **{"bundle": "default", "version": "1", "manifest_sha256": "0" * 64, "engine": "int8.onnx on CPU"},
            **{"operating_point": "eer", "vivavoce": "0.1.0"},
        },
    }
    assert Event("finished", 0.0, 4.0, result=answer).to_dict()["result"] == answer.to_dict()
    assert Result.from_dict(json.loads(answer.to_json())) == Result.from_dict(answer.to_dict()) == answer
    for broken in ({"verdict": "spoof"}, {**answer.to_dict(), "segments": 3}):
        with pytest.raises(vivavoce.ConfigurationError, match="not the values of a result"):
            Result.from_dict(broken)


def test_a_result_is_neither_true_nor_false_and_says_what_it_is() -> None:
    answer = Result("undecided", 0.5, 0.62, 1.0, -1.0, "between", duration=4.0, speech=3.0)
    with pytest.raises(vivavoce.ConfigurationError, match=r"result\.accepted"):
        bool(answer)
    assert not answer.accepted
    assert replace(answer, verdict="bonafide", reason=None).accepted
    assert str(answer) == "undecided (between), score +0.50, 3.0 s of speech in 4.0 s"


@pytest.mark.parametrize("record", [Result, Event, vivavoce.Segment, Provenance, vivavoce.Policy, Band])
def test_every_field_has_a_docstring_of_its_own(record: type) -> None:
    body = ast.parse(inspect.getsource(record)).body[0].body  # type: ignore[attr-defined]
    told = {
        field.target.id
        for field, after in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }
    assert told == {field.name for field in fields(record)}
