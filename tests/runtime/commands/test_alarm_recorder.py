"""The recorder: exactly the seconds around an alarm, whole files or none, within a limit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vivavoce import Event
from vivavoce.commands import alarm_recorder
from vivavoce.commands.alarm_recorder import Recorder
from vivavoce.sources import Lost

RATE = 8000


def alarm(time: float) -> Event:
    return Event("verdict", max(0.0, time - 4), time, "spoof", -2.5, 0.1, changed=True)


def numbered(frames: int, begin: int = 0) -> NDArray[np.int16]:
    """Samples that tell where they are."""
    return np.arange(begin, begin + frames).astype(np.int16)[:, None]


class Told(list[str]):
    """What the recorder said, and how to make one."""

    def recorder(self, folder: Path, seconds: float = 1.0, limit: int = 10**9) -> Recorder:
        return Recorder(folder, RATE, seconds=seconds, limit=limit, tell=self.append)


def clips(folder: Path) -> list[NDArray[np.int16]]:
    return [soundfile.read(path, dtype="int16")[0] for path in sorted(folder.iterdir())]


@settings(max_examples=60, deadline=None)
@given(
    seconds=st.floats(0.1, 2),
    alarms=st.lists(st.integers(0, 78).map(lambda twentieths: twentieths / 20), min_size=1, max_size=4, unique=True),
    cuts=st.lists(st.integers(0, 4 * RATE), max_size=12),
)
def test_clips_hold_what_surrounds_the_alarms_however_the_audio_is_cut(
    seconds: float, alarms: list[float], cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("clips")
    made = Told().recorder(folder, seconds)
    due, heard = sorted(alarms), 0
    expected: list[tuple[int, int]] = []
    around = round(seconds * RATE)
    for piece in np.split(numbered(4 * RATE), sorted({*cuts})):
        made.hear(piece)
        heard += len(piece)
        while due and heard >= due[0] * RATE:
            at = round(due[0] * RATE)
            # An alarm belongs to the clip that is being written when it comes, if there is one.
            if expected and expected[-1][1] > heard:
                expected[-1] = (expected[-1][0], at + around)
            else:
                expected.append((max(0, at - around), at + around))
            made.keep(alarm(due.pop(0)))
    made.close()
    found = clips(folder)
    assert len(found) == len(list(folder.glob("vivavoce-*.flac")))
    wanted = [np.arange(begin, min(end, 4 * RATE)).astype(np.int16) for begin, end in expected]
    assert sorted(clip.tolist() for clip in found) == sorted(clip.tolist() for clip in wanted)


def test_lost_audio_is_silence_in_a_clip(tmp_path: Path) -> None:
    made = Told().recorder(tmp_path)
    made.hear(numbered(RATE))
    made.keep(alarm(1.0))
    made.hear(Lost(RATE // 2))
    made.hear(numbered(RATE, RATE * 3 // 2))
    (clip,) = clips(tmp_path)
    silence = np.zeros(RATE // 2, np.int16)
    np.testing.assert_array_equal(
        clip, np.concatenate([numbered(RATE)[:, 0], silence, numbered(RATE // 2, RATE * 3 // 2)[:, 0]])
    )


def test_hours_without_a_device_are_no_hours_of_memory(tmp_path: Path) -> None:
    made = Told().recorder(tmp_path)
    made.hear(Lost(20 * 3600 * RATE))
    assert made.ring.end == 20 * 3600 * RATE
    assert len(made.ring.since(0)) <= 4 * RATE


def test_clip_is_a_file_of_its_owners_that_appears_when_it_is_complete(tmp_path: Path) -> None:
    said = Told()
    made = said.recorder(tmp_path / "new")
    made.hear(numbered(RATE))
    path = made.keep(alarm(0.5))
    assert made.recording
    assert path is not None
    assert [one.name for one in path.parent.iterdir()] == [f"{path.name}.partial"]
    made.hear(numbered(RATE))
    assert not made.recording
    assert list(path.parent.iterdir()) == [path]
    assert said == [f"recorded {path}, 1.5 s"]
    if os.name == "posix":
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    with soundfile.SoundFile(path) as file:
        assert (file.format, file.subtype, file.channels, file.samplerate) == ("FLAC", "PCM_16", 1, RATE)
        assert "score of -2.50 from 0.00 to 0.50 s" in file.comment


def test_float_samples_of_several_channels_become_one_of_16_bits(tmp_path: Path) -> None:
    made = Told().recorder(tmp_path)
    made.hear(np.array([[0.5, 0.25], [2, 2], [-2, -2], [np.nan, 0], [np.inf, 0], [-1, -1]], np.float32))
    made.keep(alarm(6 / RATE))
    made.close()
    assert clips(tmp_path)[0].tolist() == [12_288, 32_767, -32_768, 0, 0, -32_768]


def test_alarms_without_end_make_clips_of_limited_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarm_recorder, "LONGEST", 3.0)
    made = Told().recorder(tmp_path)
    for half in range(1, 21):
        made.hear(numbered(RATE // 2))
        made.keep(alarm(half / 2))
    made.close()
    assert max(map(len, clips(tmp_path))) == 3 * RATE
    assert len(clips(tmp_path)) > 2


def test_oldest_clips_are_deleted_beyond_the_limit_and_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "notes.flac").write_bytes(bytes(100_000))
    (tmp_path / "vivavoce-20200101T000000.000Z.flac.partial").write_bytes(bytes(10_000))
    made = Told().recorder(tmp_path, limit=50_000)
    kept: list[Any] = []
    for second in range(1, 30, 3):
        made.hear(rng.integers(-9000, 9000, (RATE, 1)).astype(np.int16))
        kept.append(made.keep(alarm(second)))
        made.hear(rng.integers(-9000, 9000, (2 * RATE, 1)).astype(np.int16))
    left = sorted(tmp_path.glob("vivavoce-*"))
    assert left == sorted(kept)[-len(left) :]
    assert 0 < sum(path.stat().st_size for path in left) <= 50_000
    assert (tmp_path / "notes.flac").exists()


@pytest.mark.parametrize("broken", ["__init__", "write", "close"])
def test_clip_that_cannot_be_written_is_told_and_given_up_while_the_stream_goes_on(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Told()
    made = said.recorder(tmp_path)
    made.hear(numbered(RATE))

    original, failures = getattr(soundfile.SoundFile, broken), [OSError(28, "No space left on device")]

    def fail_once(*arguments: Any, **settings: Any) -> Any:
        if failures:
            raise failures.pop()
        return original(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(soundfile.SoundFile, broken, fail_once)
        made.keep(alarm(1.0))
        made.hear(numbered(RATE))
    made.hear(numbered(RATE))
    assert len(said) == 1
    assert "cannot be recorded" in said[0]
    assert "No space left" in said[0]
    made.keep(alarm(3.0))
    made.hear(numbered(RATE))
    assert len(list(tmp_path.glob("*.flac"))) == 1, "the next alarm is recorded again"
    assert [path for path in tmp_path.iterdir() if path.suffix == ".partial"] == []
