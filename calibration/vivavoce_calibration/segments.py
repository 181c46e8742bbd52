"""PartialSpoof's segments: which parts of an utterance are spoofed, and how well scores of its parts tell that."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vivavoce.errors import ConfigurationError
from vivavoce_calibration.corpora import CorpusError
from vivavoce_calibration.metrics import FloatArray, Interval, checked, eer, joint_interval

__all__ = [
    "Labelled",
    "labelled_segments",
    "labelled_time",
    "labelled_utterances",
    "range_eer",
    "segment_eer",
    "segment_labels",
    "utterance_eer",
]


@dataclass(frozen=True, slots=True)
class Labelled:
    """What an EER is taken of: one value for each bona fide and each spoofed part, and the utterances that the parts are of."""

    metric: Callable[[FloatArray, FloatArray], float]
    bonafide: FloatArray
    spoof: FloatArray
    utterances: tuple[Sequence[str], Sequence[str]]

    def eer(self) -> float:
        """The EER, from 0 to 1."""
        return self.metric(self.bonafide, self.spoof)

    def interval(self, speakers: Mapping[str, str | None], *, draws: int, level: float = 0.95) -> Interval | None:
        """The EER with its bootstrap interval: speakers are drawn with all their utterances, utterances with all their parts.

        An utterance whose speaker is None is drawn for itself. Where a class has one speaker, utterances are drawn instead;
        None where it has one utterance.
        """
        for known in (speakers, {}):
            one, other = ([known.get(name) or name for name in names] for names in self.utterances)
            if len(set(one)) > 1 and len(set(other)) > 1:
                classes = {"bona fide": self.bonafide, "spoofed": self.spoof}
                drawn = dict(zip(classes, (one, other), strict=True))
                return joint_interval(self.metric, classes, speakers=drawn, draws=draws, level=level)
        return None


def segment_labels(path: Path | str) -> dict[str, NDArray[np.bool_]]:
    """PartialSpoof's labels of segments: for each utterance an array (segments,), True where a segment is bona fide.

    `path` is one of `segment_labels/{train,dev,eval}_seglab_{0.01,0.02,0.04,0.08,0.16,0.32,0.64}.npy`; the number is a
    segment's length in seconds. Such a file is a pickled dict; only dicts, lists, strings, numbers and arrays of them
    are taken from it, and nothing that it names is called.

    Raises CorpusError when there is no such file, or it holds anything else, or labels other than 0 (spoof) and 1
    (bona fide).
    """
    try:
        return {str(name): _labels(value) for name, value in _read_dict(Path(path)).items()}
    except (pickle.UnpicklingError, ValueError, TypeError, LookupError, AttributeError, EOFError, OSError) as error:
        raise CorpusError(f"{path} holds no segment labels: {error}. Take the file as PartialSpoof ships it.") from error


def segment_eer(
    labels: Mapping[str, NDArray[np.bool_]],
    scores: Mapping[str, ArrayLike],
    *,
    label_seconds: float,
    score_seconds: float,
) -> float:
    """The EER over all segments of all utterances, from 0 to 1, at the resolution of the labels.

    `labels` are `segment_labels`; `scores` has the same utterances, each an array (segments,), higher for bona fide.
    The lengths of a segment, in seconds, may differ by a whole factor: of finer scores the lowest within a label's
    segment counts, for one spoofed part makes a segment spoof; coarser scores are repeated. Where both ends do not
    meet, for a front-end drops what fills no frame, up to two of the longer segments are cut off.

    This is the point-based EER of Zhang et al., "Range-based equal error rate for spoof localization", Interspeech
    2023, with the rule of its section 4.3 for other resolutions.

    Raises ConfigurationError when utterances or lengths do not match, or a score is not a number.
    """
    return labelled_segments(labels, scores, label_seconds=label_seconds, score_seconds=score_seconds).eer()


def labelled_segments(
    labels: Mapping[str, NDArray[np.bool_]],
    scores: Mapping[str, ArrayLike],
    *,
    label_seconds: float,
    score_seconds: float,
) -> Labelled:
    """The segments that `segment_eer` is of, from the same arguments."""
    _require_same(labels, scores)
    pooled = max(1, round(label_seconds / score_seconds))
    repeated = max(1, round(score_seconds / label_seconds))
    if not math.isclose(label_seconds * repeated, score_seconds * pooled, rel_tol=1e-6):
        raise ConfigurationError(
            f"Segments of {label_seconds} s and {score_seconds} s do not fit. Choose one a whole multiple of the other."
        )
    bonafide, spoof = [], []
    for name, truth in labels.items():
        values = np.asarray(scores[name], dtype=np.float64)
        values = np.repeat(np.minimum.reduceat(values, np.arange(0, len(values), pooled)), repeated)
        if abs(len(values) - len(truth)) > 2 * repeated:
            raise ConfigurationError(
                f"{name} has {len(truth)} labels and scores for {len(values)}. Check the length of a segment."
            )
        length = min(len(values), len(truth))
        bonafide.append(values[:length][truth[:length]])
        spoof.append(values[:length][~truth[:length]])
    owners = _owners(labels, bonafide), _owners(labels, spoof)
    return Labelled(eer, np.concatenate(bonafide), np.concatenate(spoof), owners)


def _owners(names: Iterable[str], parts: Iterable[FloatArray]) -> list[str]:
    return [name for name, values in zip(names, parts, strict=True) for _ in range(len(values))]


def utterance_eer(labels: Mapping[str, NDArray[np.bool_]], scores: Mapping[str, ArrayLike]) -> float:
    """The EER over utterances, from 0 to 1, each with the score of its lowest segment: one spoofed part makes it spoofed.

    `labels` and `scores` are as for `segment_eer`, of any resolutions. Raises ConfigurationError when utterances do not match.
    """
    return labelled_utterances(labels, scores).eer()


def labelled_utterances(labels: Mapping[str, NDArray[np.bool_]], scores: Mapping[str, ArrayLike]) -> Labelled:
    """The utterances that `utterance_eer` is of, from the same arguments."""
    _require_same(labels, scores)
    names = tuple([name for name, truth in labels.items() if truth.all() == living] for living in (True, False))
    bonafide, spoof = (np.array([np.min(np.asarray(scores[name], np.float64)) for name in own]) for own in names)
    return Labelled(eer, bonafide, spoof, (names[0], names[1]))


def range_eer(
    spoofed: Mapping[str, Sequence[tuple[float, float]]],
    durations: Mapping[str, float],
    scores: Mapping[str, ArrayLike],
    *,
    score_seconds: float,
) -> float:
    """The range-based EER, from 0 to 1: of time, not of segments, so that no resolution has to be chosen for the labels.

    `spoofed` are the stretches (start, end) of each utterance that are spoofed, in seconds, in order and apart; `durations` the
    utterances' seconds, and `scores` those of their segments of `score_seconds`, higher for bona fide; the last one ends with
    the utterance. A threshold takes for spoofed what scores at or below it. The EER is the mean of the share of spoofed time
    that is missed and that of bona fide time that is taken for spoofed, at the threshold where they are closest: Zhang et al.,
    "Range-based equal error rate for spoof localization", Interspeech 2023. Its code looks for the threshold by bisection; this
    is the exact minimum, from pieces cut at all marks, sorted by score.

    Raises ConfigurationError when utterances do not match, scores leave time uncovered, or one is not a number.
    """
    return labelled_time(spoofed, durations, scores, score_seconds=score_seconds).eer()


def labelled_time(
    spoofed: Mapping[str, Sequence[tuple[float, float]]],
    durations: Mapping[str, float],
    scores: Mapping[str, ArrayLike],
    *,
    score_seconds: float,
) -> Labelled:
    """The pieces of time that `range_eer` is of, from the same arguments; each is told by its number."""
    _require_same(durations, scores)
    pieces = [
        _pieces(name, spoofed.get(name, ()), length, np.asarray(scores[name], dtype=np.float64), score_seconds)
        for name, length in durations.items()
    ]
    owners = _owners(durations, [values for values, _, _ in pieces])
    values, bonafide, spoof = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    checked(values, "scored")
    living, fake = np.flatnonzero(bonafide), np.flatnonzero(spoof)
    if not (living.size and fake.size):
        raise ConfigurationError("All of the time is of one class. Give utterances with bona fide and with spoofed parts.")
    distinct, group = np.unique(values, return_inverse=True)

    def metric(one: FloatArray, other: FloatArray) -> float:
        false_alarms, flagged = (
            np.append(0, np.cumsum(np.bincount(group[own], seconds[own], distinct.size)))
            for own, seconds in ((one.astype(int), bonafide), (other.astype(int), spoof))
        )
        false_alarms, misses = false_alarms / false_alarms[-1], 1 - flagged / flagged[-1]
        point = np.argmin(np.abs(false_alarms - misses))
        return float((false_alarms[point] + misses[point]) / 2)

    names = tuple([owners[place] for place in places] for places in (living, fake))
    return Labelled(metric, living.astype(np.float64), fake.astype(np.float64), (names[0], names[1]))


def _pieces(
    name: str, spoofed: Sequence[tuple[float, float]], length: float, scores: FloatArray, seconds: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The scores of an utterance's segments, and how much of each is bona fide and spoofed, in seconds: each (segments,)."""
    if len(scores) * seconds < length - 2 * seconds or not len(scores):
        raise ConfigurationError(
            f"{name} lasts {length:.2f} s and has scores for {len(scores) * seconds:.2f} s. Check the length of a segment."
        )
    starts = seconds * np.arange(len(scores))
    ends = np.minimum(starts + seconds, length)
    ends[-1] = max(ends[-1], length)
    fake = np.zeros(len(scores))
    for begin, end in spoofed:
        fake += np.clip(np.minimum(ends, end) - np.maximum(starts, begin), 0, None)
    whole = np.clip(ends - starts, 0, None)
    return scores, np.maximum(whole - fake, 0), fake


def _require_same(truth: Mapping[str, object], scores: Mapping[str, object]) -> None:
    if unmatched := sorted(set(truth) ^ set(scores)):
        raise ConfigurationError(
            f"{len(unmatched)} utterances lack labels or scores, such as {unmatched[0]}. Score what is labelled."
        )


# Reading without running what a file says.


def _read_dict(path: Path) -> dict[Any, Any]:
    """The dict in a .npy file of an array that has no dimensions and one element."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        shape, _, dtype = (
            np.lib.format.read_array_header_1_0(file) if version == (1, 0) else np.lib.format.read_array_header_2_0(file)
        )
        if shape != () or dtype.kind != "O":
            raise ValueError(f"an array of {dtype} and shape {shape} instead of one dict")
        content = _LabelUnpickler(file).load()
    if isinstance(content, _PickledArray) and content.shape == ():
        (content,) = content.values()
    if not isinstance(content, dict):
        raise ValueError("its content is no dict")
    return content


def _labels(value: _PickledArray | list[Any]) -> NDArray[np.bool_]:
    words = np.asarray(value.values() if isinstance(value, _PickledArray) else value).astype(str)
    if words.ndim != 1 or not np.isin(words, ("0", "1")).all():
        raise ValueError(f"labels {words.tolist()!r:.60} instead of 0 and 1")
    bonafide: NDArray[np.bool_] = words == "1"
    return bonafide


class _PickledType:
    """Stands in for numpy.dtype while unpickling."""

    def __init__(self, name: str, *_: object) -> None:
        self.name, self.order = name, "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


class _PickledArray:
    """Stands in for numpy.ndarray while unpickling: a crafted state would let numpy's own reach beyond its memory."""

    def __init__(self, *_: object) -> None:
        self.shape: tuple[int, ...] = ()
        self.type = _PickledType("O")
        self.data: Any = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.type, _, self.data = state

    def values(self) -> Any:
        """The list of an object array, or an array (n,) of strings or integers."""
        if self.type.name.startswith("O") and isinstance(self.data, list):
            return self.data
        type_name = self.type.order + self.type.name
        if not re.fullmatch(r"[<>|=][USiu]\d+", type_name) or len(self.shape) != 1:
            raise ValueError(f"an array of {type_name} and shape {self.shape}")
        return np.frombuffer(self.data, dtype=type_name)


class _LabelUnpickler(pickle.Unpickler):
    """Builds dicts, lists, strings and numbers, and stand-ins for arrays. It calls nothing that a file names."""

    STAND_INS: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): _PickledArray,
        ("numpy", "dtype"): _PickledType,
        ("numpy.core.multiarray", "_reconstruct"): _PickledArray,
        ("numpy._core.multiarray", "_reconstruct"): _PickledArray,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self.STAND_INS[module, name]
