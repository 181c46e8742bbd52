"""PartialSpoof's segment labels and segment EER."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vivavoce.errors import ConfigurationError
from vivavoce_calibration.corpora import CorpusError
from vivavoce_calibration.metrics import eer
from vivavoce_calibration.segments import (
    labelled_segments,
    labelled_time,
    labelled_utterances,
    range_eer,
    segment_eer,
    segment_labels,
    utterance_eer,
)


def save(path: Path, content: Any) -> Path:
    """As PartialSpoof ships its labels: a pickled dict in an array without dimensions."""
    np.save(path, content, allow_pickle=True)
    return path


def save_pickle(path: Path, pickled: bytes) -> Path:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(pickled)
    return path


labels_by_name = st.dictionaries(st.text(max_size=8), st.lists(st.booleans(), max_size=9), max_size=5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=labels_by_name, dtype=st.sampled_from(["<U1", ">U1", "S1", "i1", "<i8", ">u4"]))
def test_labels_survive_as_any_type_that_numpy_saves(tmp_path: Path, labels: dict[str, list[bool]], dtype: str) -> None:
    content = {name: np.array([int(label) for label in values]).astype(dtype) for name, values in labels.items()}
    found = segment_labels(save(tmp_path / "labels.npy", content))
    assert {name: values.tolist() for name, values in found.items()} == labels
    assert all(values.dtype == bool for values in found.values())


def test_labels_in_lists_and_in_object_arrays(tmp_path: Path) -> None:
    content = {"list": ["1", "0"], "objects": np.array(["0", "1", "1"], dtype=object)}
    found = segment_labels(save(tmp_path / "labels.npy", content))
    assert {name: values.tolist() for name, values in found.items()} == {
        "list": [True, False],
        "objects": [False, True, True],
    }


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_labels_saved_by_old_and_new_numpy(tmp_path: Path, module: bytes) -> None:
    pickled = pickle.dumps(np.array({"CON_T_0": np.array([1, 0, 1])}, dtype=object), protocol=3)
    pickled = re.sub(rb"cnumpy\._?core\.multiarray\n", b"c" + module + b"\n", pickled)
    assert module in pickled
    assert segment_labels(save_pickle(tmp_path / "labels.npy", pickled))["CON_T_0"].tolist() == [True, False, True]


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_nothing_that_a_file_names_is_called(tmp_path: Path) -> None:
    path = save(tmp_path / "labels.npy", {"a": Attack(tmp_path / "ran")})
    with pytest.raises(CorpusError, match=r"holds no segment labels: it asks for \w+\.mkdir"):
        segment_labels(path)
    assert not (tmp_path / "ran").exists()
    np.load(path, allow_pickle=True)
    assert (tmp_path / "ran").exists(), "the attack would not have worked in the first place"


def crafted(dtype: str, data: bytes) -> bytes:
    """A pickle of {"a": array of one element} whose array claims to be of another type and has other memory."""
    pickled = pickle.dumps(np.array({"a": np.zeros(1, "<u8")}, dtype=object), protocol=3)
    memory, name = b"C\x08" + bytes(8), b"X\x02\x00\x00\x00u8"
    assert (pickled.count(memory), pickled.count(name)) == (1, 1)
    pickled = pickled.replace(memory, b"C" + bytes([len(data)]) + data)
    return pickled.replace(name, b"X" + len(dtype).to_bytes(4, "little") + dtype.encode())


NOT_LABELS: dict[str, tuple[bytes, str]] = {
    "an object array made of bytes": (crafted("O8", b"\x41" * 8), "an array of <O8"),
    "memory that does not fit the type": (crafted("u8", b"\x01" * 7), "buffer size must be a multiple"),
    "a structured type": (crafted("u4,O", b"\x01" * 8), "an array of <u4,O"),
    "a number that is no label": (crafted("u8", b"\x02" + bytes(7)), r"labels \['2'\] instead of 0 and 1"),
    "no pickle": (b"no pickle", ""),
    "nothing": (b"", ""),
    "a list": (pickle.dumps(np.array([1, 2], dtype=object), protocol=3), "its content is no dict"),
    "a string": (pickle.dumps("text"), "its content is no dict"),
}


@pytest.mark.parametrize("case", NOT_LABELS)
def test_what_is_no_dict_of_labels_is_refused(tmp_path: Path, case: str) -> None:
    pickled, reason = NOT_LABELS[case]
    with pytest.raises(CorpusError, match=f"holds no segment labels: .*{reason}"):
        segment_labels(save_pickle(tmp_path / "labels.npy", pickled))


@pytest.mark.parametrize(
    "content",
    [
        {"a": ["0", "2"]},
        {"a": [["0"], ["1"]]},
        {"a": 1.5},
        {"a": np.array([True])},
        {"a": np.array([1.0])},
        {"a": None},
    ],
    ids=str,
)
def test_other_labels_than_0_and_1_are_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    with pytest.raises(CorpusError, match="holds no segment labels"):
        segment_labels(save(tmp_path / "labels.npy", content))


def test_other_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", np.zeros(3))
    (tmp_path / "text.npy").write_text("text")
    for name in ("plain.npy", "text.npy", "absent.npy"):
        with pytest.raises(CorpusError, match=rf"{name} holds no segment labels: .* Take the file as PartialSpoof"):
            segment_labels(tmp_path / name)


# Segment EER.


def corpus(rng: np.random.Generator, segments: int) -> dict[str, NDArray[np.bool_]]:
    return {f"utterance {number}": rng.random(segments) < 0.6 for number in range(8)}


def test_at_one_resolution_it_is_the_eer_of_all_segments() -> None:
    rng = np.random.default_rng(0)
    labels = corpus(rng, 30)
    scores = {name: rng.normal(size=30) + values for name, values in labels.items()}
    truth, values = (np.concatenate([each[name] for name in labels]) for each in (labels, scores))
    found = segment_eer(labels, scores, label_seconds=0.16, score_seconds=0.16)
    assert found == eer(values[truth], values[~truth])


@pytest.mark.parametrize(("factor", "length"), [(2, 12), (4, 12), (5, 12), (32, 12)])
def test_of_finer_scores_the_lowest_counts(factor: int, length: int) -> None:
    rng = np.random.default_rng(factor)
    labels = corpus(rng, -(-length // factor))
    scores = {name: rng.normal(size=length) for name in labels}
    pooled = {
        name: np.array([min(values[start : start + factor]) for start in range(0, length, factor)])
        for name, values in scores.items()
    }
    found = segment_eer(labels, scores, label_seconds=0.02 * factor, score_seconds=0.02)
    assert found == segment_eer(labels, pooled, label_seconds=1, score_seconds=1)


def test_coarser_scores_are_repeated() -> None:
    rng = np.random.default_rng(1)
    labels = corpus(rng, 24)
    scores = {name: rng.normal(size=6) for name in labels}
    found = segment_eer(labels, scores, label_seconds=0.04, score_seconds=0.16)
    repeated = {name: np.array([value for value in values for _ in range(4)]) for name, values in scores.items()}
    assert found == segment_eer(labels, repeated, label_seconds=0.04, score_seconds=0.04)


def test_ends_that_do_not_meet_are_cut_off_and_no_more() -> None:
    labels = {"a": np.array([True, False, True, False])}
    assert segment_eer(labels, {"a": [1, 0, 1, 0, 9, 9]}, label_seconds=0.02, score_seconds=0.02) == 0
    assert segment_eer(labels, {"a": [1, 0]}, label_seconds=0.02, score_seconds=0.02) == 0
    with pytest.raises(ConfigurationError, match=r"a has 4 labels and scores for 7\. Check the length of a segment"):
        segment_eer(labels, {"a": [1, 0, 1, 0, 9, 9, 9]}, label_seconds=0.02, score_seconds=0.02)


def test_scores_that_do_not_match_are_refused() -> None:
    labels = {"a": np.array([True, False])}
    with pytest.raises(ConfigurationError, match="2 utterances lack labels or scores, such as a"):
        segment_eer(labels, {"b": [1, 0]}, label_seconds=0.02, score_seconds=0.02)
    with pytest.raises(ConfigurationError, match=r"Segments of 0\.03 s and 0\.02 s do not fit"):
        segment_eer(labels, {"a": [1, 0]}, label_seconds=0.03, score_seconds=0.02)
    with pytest.raises(ConfigurationError, match="not a number"):
        segment_eer(labels, {"a": [np.nan, 0]}, label_seconds=0.02, score_seconds=0.02)


# Utterances and ranges.


@given(st.lists(st.tuples(st.lists(st.integers(-2, 2), min_size=2, max_size=6), st.integers(0, 9)), min_size=2, max_size=4))
def test_the_range_eer_is_counted_in_time(drawn: list[tuple[list[int], int]]) -> None:
    """At marks and segments of whole 10 ms, every 10 ms counted one by one."""
    scores = {f"{number}": [float(value) for value in values] for number, (values, _) in enumerate(drawn)}
    scores |= {"living": [0.0, 1.0]}
    durations = {name: 0.05 * len(values) - 0.02 for name, values in scores.items()}
    spoofed = {f"{number}": [(0.01 * begin, 0.01 * begin + 0.02)] for number, (_, begin) in enumerate(drawn)}
    spoofed = {
        name: [(begin, min(end, durations[name])) for begin, end in marks if begin < durations[name] - 1e-9]
        for name, marks in spoofed.items()
    }
    ticks = [
        (scores[name][tick // 5], any(begin - 1e-9 < 0.01 * tick < end - 1e-9 for begin, end in spoofed.get(name, ())))
        for name in scores
        for tick in range(5 * len(scores[name]) - 2)
    ]
    fakes = sum(fake for _, fake in ticks)
    if fakes:
        rates = [
            (
                sum(score <= threshold and not fake for score, fake in ticks) / (len(ticks) - fakes),
                sum(score > threshold and fake for score, fake in ticks) / fakes,
            )
            for threshold in (-9, -2, -1, 0, 1, 2)
        ]
        closest = min(abs(alarm - miss) for alarm, miss in rates)
        expected = [(alarm + miss) / 2 for alarm, miss in rates if abs(alarm - miss) < closest + 1e-9]
        found = range_eer(spoofed, durations, scores, score_seconds=0.05)
        assert any(found == pytest.approx(value, abs=1e-9) for value in expected)


def test_an_utterance_is_its_lowest_segment() -> None:
    labels = {"living": np.array([True, True]), "edited": np.array([True, False])}
    assert utterance_eer(labels, {"living": [3, 1], "edited": [5, 0]}) == 0
    assert utterance_eer(labels, {"living": [3, -1], "edited": [5, 0]}) == 1
    with pytest.raises(ConfigurationError, match="1 utterances lack labels or scores, such as edited"):
        utterance_eer(labels, {"living": [1]})


def test_time_without_scores_or_of_one_class_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"a lasts 2\.00 s and has scores for 0\.64 s"):
        range_eer({"a": [(0, 1)]}, {"a": 2.0}, {"a": [1.0, 0.0]}, score_seconds=0.32)
    with pytest.raises(ConfigurationError, match="All of the time is of one class"):
        range_eer({}, {"a": 0.6}, {"a": [1.0, 0.0]}, score_seconds=0.32)
    with pytest.raises(ConfigurationError, match="not a number"):
        range_eer({"a": [(0, 0.1)]}, {"a": 0.6}, {"a": [np.nan, 0.0]}, score_seconds=0.32)


def test_intervals_draw_whole_utterances_of_whole_speakers() -> None:
    rng = np.random.default_rng(1)
    labels = corpus(rng, 20) | {f"living {number}": np.ones(20, bool) for number in range(4)}
    scores = {name: rng.normal(size=20) + truth for name, truth in labels.items()}
    marks = {name: [(0.1 * at, 0.1 * at + 0.1) for at in np.flatnonzero(~truth)] for name, truth in labels.items()}
    everything = [
        labelled_segments(labels, scores, label_seconds=0.1, score_seconds=0.1),
        labelled_utterances(labels, scores),
        labelled_time(marks, dict.fromkeys(labels, 2.0), scores, score_seconds=0.1),
    ]
    one_each: dict[str, str | None] = dict.fromkeys(labels)
    pairs: dict[str, str | None] = {name: f"{name.split()[0]} {int(name[-1]) // 2}" for name in labels}
    for found in everything:
        alone, paired = (found.interval(speakers, draws=50) for speakers in (one_each, pairs))
        assert alone
        assert paired
        assert alone.low < found.eer() == alone.value < alone.high
        assert (alone.clusters, paired.clusters) == (12, 6)
        assert found.interval(dict.fromkeys(labels, "one speaker"), draws=50) == alone
    assert (
        labelled_utterances({"a": np.array([True]), "b": np.array([False])}, {"a": [1], "b": [0]}).interval({}, draws=9) is None
    )
