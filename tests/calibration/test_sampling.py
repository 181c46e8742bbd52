"""The sample for activation ranges stands for the whole corpus."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vivavoce_calibration.corpora import Trial
from vivavoce_calibration.sampling import representative


def corpus(sizes: list[int]) -> list[Trial]:
    return [
        Trial(id=f"{system}-{n}", audio=Path("x"), key="spoof", system=str(system), speaker=str(n % 3))
        for system, size in enumerate(sizes)
        for n in range(size)
    ]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=10), st.integers(1, 60))
def test_groups_are_drawn_in_turn(sizes: list[int], count: int) -> None:
    trials = corpus(sizes)
    sample = representative(trials, count)
    assert len(sample) == len(set(sample)) == min(count, len(trials))
    drawn = Counter(trial.system for trial in sample)
    most = max(drawn.values())
    for system, size in enumerate(sizes):
        assert drawn[str(system)] >= min(size, most - 1)


def test_speakers_of_a_group_are_drawn_in_turn() -> None:
    sample = representative(corpus([30]), 3)
    assert {trial.speaker for trial in sample} == {"0", "1", "2"}


def test_same_trials_same_sample() -> None:
    trials = corpus([5, 9, 2])
    assert representative(trials, 7) == representative(trials, 7)
