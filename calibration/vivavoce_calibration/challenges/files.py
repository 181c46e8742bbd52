"""Score files and key files as the challenges have them: read, matched, and written.

A table has a header that names its columns, in any order, separated by tabs, commas or spaces: ASVspoof 5's files,
In-the-Wild's meta.csv, or one of your own. A file without a header is known by the number of its columns. The ending of an
audio file is no part of an utterance's name.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vivavoce.errors import few
from vivavoce.files import replacing

from ..corpora import LAYOUTS, CorpusError, Layout, Trial, label, without_ending
from ..metrics import FloatArray

__all__ = [
    "KINDS",
    "SUBMISSIONS",
    "Kind",
    "Matched",
    "Verifier",
    "find_submission",
    "read_matched",
    "read_verifier",
    "write_submission",
]

Kind = Literal["target", "nontarget", "spoof"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SCORES = ("cm", "asv", "sasv")

NAMES = {
    "id": ("filename", "trial", "trial-anon", "utterance", "file-name", "file", "id", "path"),
    "claim": ("spk", "tar-spk-anon"),
    "cm": ("cm-score", "score"),
    "asv": ("asv-score",),
    "sasv": ("sasv-score",),
    "key": ("cm-label", "label", "key"),
    "kind": ("asv-label",),
    "system": ("attack", "attack-anon", "system"),
    "codec": ("codec",),
    "speaker": ("speaker",),
    "source": ("source",),
    "language": ("language",),
    "system_type": ("system-type",),
    "tag": ("track-2-tag",),
}
"""What a column may be called, in any case, with hyphens or underscores."""

WITHOUT_HEADER: dict[int, Layout] = {
    5: LAYOUTS["asvspoof2019_la"],
    6: LAYOUTS["ctrsvdd"],
    8: LAYOUTS["asvspoof2021_la"],
    10: LAYOUTS["asvspoof5"],
    13: LAYOUTS["asvspoof2021_df"],
}
"""The lists that a key file without a header may be, by their number of columns."""

TRACK_2 = {"claim": 0, "id": 1, "system": 3, "kind": 4}
"""ASVspoof 5, track 2: `CLAIMED_SPEAKER AUDIO GENDER SYSTEM KIND`, separated by spaces."""

FIELDS = ("speaker", "system", "system_type", "codec", "transmission", "source", "language")
"""What keys may tell of a trial besides its class."""

Name = str | tuple[str, str]
"""The utterance of a trial, with whom it claims to be where both files tell."""


@dataclass(frozen=True, slots=True)
class Matched:
    """Trials in the keys' order, as arrays (trials,), with their scores; what the files do not tell is None or absent."""

    genuine: NDArray[np.bool_]
    """Whether it is bona fide."""
    kinds: NDArray[np.str_] | None
    """What it is to a verifier: "target", "nontarget" or "spoof"."""
    told: dict[str, NDArray[np.object_]]
    """Its speaker, system, codec and so on, by the names of `FIELDS`; None where unknown."""
    scores: dict[str, FloatArray]
    """The scores of countermeasure ("cm"), verifier ("asv") and both as one ("sasv")."""


def read_matched(scores: Path, keys: Path, *, subset: str | None = None, complete: bool = False) -> Matched:
    """The scores of a file for the trials of another.

    `subset` picks one of those that the keys name; None is what the challenge reports, which for ASVspoof 2021 is "eval".
    `complete=True` keeps what the field leaves out: see `read_corpus`. The score file may have scores for trials that are left
    out, and for no others. Raises CorpusError, naming the line or the first few trials, for what cannot be read or matched.
    """
    found, wanted = _read_scores(scores), _read_keys(keys, subset, complete)
    scored: Sequence[Name] = found.ids
    known: Sequence[Name] = wanted.ids
    if found.claims and wanted.claims:
        scored, known = list(zip(found.claims, found.ids, strict=True)), list(zip(wanted.claims, wanted.ids, strict=True))
    places = {name: place for place, name in enumerate(scored)}
    if len(places) < len(scored):
        raise CorpusError(f"{scores} has {len(scored) - len(places)} scores for trials that have one. Leave one for each.")
    chosen = np.flatnonzero(wanted.reported)
    names = [known[number] for number in chosen.tolist()]
    listed = set(known)
    for missing, what in (
        ([name for name in names if name not in places], f"trials of {keys} have no score in {scores}"),
        ([name for name in scored if name not in listed], f"scores of {scores} have no trial in {keys}"),
    ):
        if missing:
            raise CorpusError(f"{len(missing)} {what}: {few(map(_spelled, missing))}. Score exactly the trials of the keys.")
    order = np.array([places[name] for name in names], dtype=np.intp)
    return Matched(
        genuine=wanted.genuine[chosen],
        kinds=None if wanted.kinds is None else wanted.kinds[chosen],
        told={name: np.array(values, dtype=object)[chosen] for name, values in wanted.told.items()},
        scores={name: values[order] for name, values in found.scores.items()},
    )


# A verifier's scores.


@dataclass(frozen=True, slots=True)
class Verifier:
    """A speaker verifier's scores for its three kinds of trial, and the utterance of each where the file tells."""

    target: FloatArray
    nontarget: FloatArray
    spoof: FloatArray
    utterances: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] | None = None


def read_verifier(path: Path) -> Verifier:
    """A verifier's scores: `SYSTEM KIND SCORE` a line, as ASVspoof 2019 has them, or a table with `filename`, `asv-label` and
    `asv-score`.

    The kind is target, nontarget or spoof. Raises CorpusError, naming the line, for another layout, and for a missing kind.
    """
    lines = _lines(path)
    if places := _header(lines[0]):
        if missing := {"id", "kind", "asv"} - places.keys():
            raise CorpusError(f"{path} has no column {', '.join(NAMES[name][0] for name in sorted(missing))}. Add it.")
        columns = _columns(path, lines, places)
        utterances, kinds, scores = _utterances(columns["id"]), columns["kind"], _numbers(path, columns["asv"])
    else:
        rows = [line.split() for line in lines]
        if wrong := [number for number, row in enumerate(rows, start=1) if len(row) != 3]:
            raise CorpusError(
                f"{path}, line {wrong[0]}, is not a system, a kind of trial and a score. Give the layout of ASVspoof 2019."
            )
        utterances, kinds, scores = [], [row[1] for row in rows], _numbers(path, [row[2] for row in rows], first=1)
    if set(kinds) != set(KINDS):
        there = ", ".join(dict.fromkeys(kinds))
        raise CorpusError(f"{path} has scores for {there}. Give a file with all of: {', '.join(KINDS)}.")
    masks = [np.array(kinds) == kind for kind in KINDS]
    target, nontarget, spoof = (scores[mask] for mask in masks)
    if not utterances:
        return Verifier(target, nontarget, spoof)
    named = [tuple(np.array(utterances, dtype=object)[mask].tolist()) for mask in masks]
    return Verifier(target, nontarget, spoof, (named[0], named[1], named[2]))


# Submissions.


@dataclass(frozen=True, slots=True)
class Submission:
    """The file that a challenge takes: its name, its header, and the line of a trial with its score."""

    file: str
    line: Callable[[Trial, float], str]
    header: str = ""


SUBMISSIONS: dict[str, Submission] = {
    "asvspoof2019": Submission("score.txt", lambda trial, score: f"{trial.id} {trial.system or '-'} {trial.key} {score!r}"),
    "asvspoof2021": Submission("score.txt", lambda trial, score: f"{trial.id} {score!r}"),
    "asvspoof5": Submission("score.tsv", lambda trial, score: f"{trial.id}\t{score!r}", "filename\tcm-score"),
    "in_the_wild": Submission("score.csv", lambda trial, score: f"{trial.audio.name},{score!r}", "file,score"),
    "ctrsvdd": Submission("score.txt", lambda trial, score: f"{trial.id} {score!r}"),
    "svdd": Submission("score.txt", lambda trial, score: f"{trial.id} {score!r}"),
    "add": Submission("score.txt", lambda trial, score: f"{trial.audio.name} {score!r}"),
}
"""By challenge. ASVspoof 2019's is what its evaluation package reads, which wants attack and key of each trial too."""


def write_submission(challenge: str, folder: Path, trials: Iterable[Trial], scores: Iterable[float]) -> Path:
    """Writes the scores into `folder` as a challenge of `SUBMISSIONS` takes them, and tells the file's path.

    Raises CorpusError where there is no such challenge.
    """
    submission = find_submission(challenge)
    path = folder / submission.file
    with replacing(path) as file:
        file.writelines(f"{line}\n" for line in [submission.header] if line)
        file.writelines(f"{submission.line(trial, float(score))}\n" for trial, score in zip(trials, scores, strict=True))
    return path


def find_submission(challenge: str) -> Submission:
    """The file that a challenge takes. Raises CorpusError where there is no such challenge."""
    if challenge not in SUBMISSIONS:
        raise CorpusError(f'No file is for the challenge "{challenge}". Choose one of: {", ".join(SUBMISSIONS)}.')
    return SUBMISSIONS[challenge]


# Reading scores.


@dataclass(frozen=True, slots=True)
class _Scores:
    ids: list[str]
    claims: list[str] | None
    scores: dict[str, FloatArray]


def _read_scores(path: Path) -> _Scores:
    lines = _lines(path)
    if places := _header(lines[0]):
        kinds = [name for name in SCORES if name in places]
        if "id" not in places or not kinds:
            lacking = "id" if kinds else "cm"
            raise CorpusError(f"{path} has no column of {'trials' if kinds else 'scores'}. Name it {NAMES[lacking][0]}.")
        columns = _columns(path, lines, places)
        # A dash is what ASVspoof 5 writes for a score that a system has not.
        scores = {kind: _numbers(path, columns[kind]) for kind in kinds if set(columns[kind]) != {"-"}}
        return _Scores(_utterances(columns["id"]), columns.get("claim"), scores)
    rows = [line.replace(",", " ").split() for line in lines]
    for number, row in enumerate(rows, start=1):
        if len(row) not in (2, 4):
            raise CorpusError(
                f"{path}, line {number}, has {len(row)} columns. "
                "Give trial and score, or trial, attack, key and score, or a header."
            )
    return _Scores(_utterances(row[0] for row in rows), None, {"cm": _numbers(path, [row[-1] for row in rows], first=1)})


# Reading keys.


@dataclass(frozen=True, slots=True)
class _Keys:
    ids: list[str]
    genuine: NDArray[np.bool_]
    reported: NDArray[np.bool_]
    told: dict[str, list[str | None]]
    claims: list[str] | None = None
    kinds: NDArray[np.str_] | None = None


def _read_keys(path: Path, subset: str | None, complete: bool) -> _Keys:
    lines = _lines(path)
    try:
        if places := _header(lines[0]):
            return _keys_of_table(_columns(path, lines, places))
        width = len(lines[0].split())
        if width == 5 and any(line.split()[-1:] in (["target"], ["nontarget"]) for line in lines):
            return _keys_of_table(_columns(path, ["spk filename gender attack asv-label", *lines], TRACK_2, 1), 1)
        if width == 2:
            return _keys_of_table(_columns(path, ["filename label", *lines], {"id": 0, "key": 1}, 1), 1)
        if width not in WITHOUT_HEADER:
            raise CorpusError(
                f"line 1 has {width} columns, as no list that is known. "
                "Give a list of a challenge, two columns of trial and label, or a header."
            )
        return _keys_of_list(WITHOUT_HEADER[width], lines, subset, complete)
    except CorpusError as error:
        raise error if str(path) in str(error) else CorpusError(f"{path}: {error}") from None


def _keys_of_table(columns: dict[str, list[str]], first: int = 2) -> _Keys:
    if "id" not in columns or not columns.keys() & {"key", "kind"}:
        raise CorpusError("it has no column of trials, or none of labels. Name them filename, and cm-label or asv-label.")
    kinds = columns.get("kind")
    if kinds is not None and (unknown := set(kinds) - set(KINDS)):
        word = min(unknown)
        raise CorpusError(f'line {kinds.index(word) + first} has the unknown kind "{word}". Use one of: {", ".join(KINDS)}.')
    labels = columns["key"] if "key" in columns else ["spoof" if kind == "spoof" else "bonafide" for kind in kinds or ()]
    means = {word: label(word, labels.index(word) + first) == "bonafide" for word in set(labels)}
    told: dict[str, list[str | None]] = {
        name: [None if field in ("-", "", "bonafide") else field for field in columns[name]]
        for name in FIELDS
        if name in columns
    }
    if "speaker" not in told and "claim" in columns:
        told["speaker"] = list(columns["claim"])
    dummies = columns.get("tag")
    reported = np.array([tag != "dummy" for tag in dummies] if dummies else [True] * len(labels), dtype=bool)
    return _Keys(
        _utterances(columns["id"]),
        np.array([means[word] for word in labels], dtype=bool),
        reported,
        told,
        columns.get("claim"),
        None if kinds is None else np.array(kinds),
    )


def _keys_of_list(layout: Layout, lines: Sequence[str], subset: str | None, complete: bool) -> _Keys:
    trials = list(layout.parse(lines))
    named = sorted({trial.subset for trial in trials if trial.subset})
    wanted = subset or (layout.default if named else "all")
    if wanted != "all" and wanted not in named:
        raise CorpusError(f'it names no subset "{wanted}". Choose one of: {", ".join((*named, "all"))}.')
    reported = [wanted in ("all", trial.subset) and (complete or layout.reports(trial)) for trial in trials]
    return _Keys(
        _utterances(trial.id for trial in trials),
        np.array([trial.key == "bonafide" for trial in trials], dtype=bool),
        np.array(reported, dtype=bool),
        {name: [getattr(trial, name) for trial in trials] for name in FIELDS},
    )


# Lines and tables.


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig").rstrip()
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not a text file in UTF-8: {error.reason} at byte {error.start}.") from None
    if not text:
        raise CorpusError(f"{path} is empty. Give a file with a line for each trial.")
    return text.splitlines()


def _separator(line: str) -> str | None:
    return next((mark for mark in ("\t", ",") if mark in line), None)


def _header(line: str) -> dict[str, int]:
    """The place of each column that is known; empty where the line is no header. Of two for the same, the first counts."""
    words = [word.strip().lower().replace("_", "-") for word in line.split(_separator(line))]
    places = {
        name: min(words.index(word) for word in spelled if word in words)
        for name, spelled in NAMES.items()
        if any(word in words for word in spelled)
    }
    return places if len(places) > 1 else {}


def _columns(path: Path, lines: Sequence[str], places: dict[str, int], first: int = 2) -> dict[str, list[str]]:
    """The known columns below the header; the first row is in line `first` of the file."""
    separator = _separator(lines[0])
    width = len(lines[0].split(separator))
    if separator == "," and any('"' in line for line in lines):
        rows = list(csv.reader(lines[1:]))
        widths, fields = [len(row) for row in rows], [field for row in rows for field in row]
    else:
        # As one list of all fields: a million lists of few fields each take longer than all the metrics do.
        mark = separator or " "
        below = lines[1:] if separator else [" ".join(line.split()) for line in lines[1:]]
        widths, fields = [line.count(mark) + 1 for line in below], mark.join(below).split(mark)
    if wrong := [place for place, count in enumerate(widths) if count != width]:
        raise CorpusError(
            f"{path}, line {wrong[0] + first}, has {widths[wrong[0]]} columns instead of {width}. Is the file complete?"
        )
    return {name: list(map(str.strip, fields[place::width])) for name, place in places.items()}


def _numbers(path: Path, fields: Sequence[str], first: int = 2) -> FloatArray:
    """The scores in a column whose first one is in line `first`."""
    try:
        values = np.array(list(map(float, fields)))
        if not np.isnan(values).any():
            return values
    except ValueError:
        pass
    for number, field in enumerate(fields, start=first):
        try:
            wrong = np.isnan(float(field))
        except ValueError:
            wrong = True
        if wrong:
            raise CorpusError(f'{path}, line {number}, has "{field}" for a score. Give a number for each trial.')
    raise AssertionError


def _utterances(names: Iterable[str]) -> list[str]:
    return [without_ending(name) if "." in name else name for name in names]


def _spelled(name: Name) -> str:
    return name if isinstance(name, str) else " ".join(name)
