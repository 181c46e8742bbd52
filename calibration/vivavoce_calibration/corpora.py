"""Anti-spoofing corpora, read as one list of trials whatever their layout.

A corpus is a folder that holds audio and lists of which file is bona fide and which is spoof. `read_corpus` finds out which
layout a folder has, parses its lists, finds each trial's audio by its name, and refuses what does not add up: a list that
silently loses a class or half of its files gives an error rate that looks like any other.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vivavoce.errors import ConfigurationError

__all__ = ["LAYOUTS", "CorpusError", "Key", "Layout", "Trial", "read_corpus"]

Key = Literal["bonafide", "spoof"]

LABEL_WORDS: dict[str, Key] = {
    **dict.fromkeys(("bonafide", "bona-fide", "bona_fide", "real", "genuine", "human"), "bonafide"),
    **dict.fromkeys(("spoof", "fake", "deepfake"), "spoof"),
}

AUDIO_SUFFIXES = frozenset(
    ".aif .aifc .aiff .au .caf .flac .mp3 .nist .oga .ogg .opus .rf64 .snd .sph .voc .w64 .wav .wave".split()
)


class CorpusError(ConfigurationError):
    """A corpus cannot be used as it is: its lists, its labels or its audio do not add up."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One utterance of a corpus: which file, and what it is. A field is None where the corpus does not tell."""

    id: str
    audio: Path
    """The file. In what a parser yields: its name as the list writes it, not looked for yet."""
    key: Key
    speaker: str | None = None
    system: str | None = None
    """The attack that made a spoof, such as "A07"; None for bona fide speech."""
    codec: str | None = None
    source: str | None = None
    language: str | None = None
    subset: str | None = None
    duration: float | None = None
    """Seconds."""


def read_corpus(root: Path | str, *, layout: str | None = None, subset: str | None = None) -> list[Trial]:
    """The trials of the corpus in the folder `root`, in the order of its lists, each with its audio file.

    `layout` is a name in `LAYOUTS`; None finds it out from what the folder holds. `subset` is one of that layout's subsets, or
    "all". Audio is looked for anywhere under `root` by file name without its ending, so a corpus that was converted to another
    audio format reads the same.

    Raises CorpusError, naming the line or the first few ids, when the layout is not recognised, a line has the wrong number of
    columns or an unknown label, an id is listed twice, an id has no audio or two files, audio is in no list, or a class is empty.
    """
    tree = _Tree.walk(Path(root))
    chosen = _layout(layout) if layout else _detect(tree)
    choices = ", ".join((*chosen.subsets, "all"))
    subset = subset or chosen.default
    if subset not in (*chosen.subsets, "all"):
        raise CorpusError(f'{chosen.title} has no subset "{subset}". Choose one of: {choices}.')
    listed = list(chosen.read(chosen, tree, subset))
    trials = [trial for trial in listed if subset in ("all", trial.subset)]
    _require_both_classes(trials, f'subset "{subset}" of {chosen.title} in {tree.root}')
    _require_unique(listed)
    found = _locate(trials, tree)
    if not chosen.unlisted:
        _require_listed(found, listed, tree)
    return found


# One parser a format: lines in, trials out. They touch no file.


def parse_asvspoof2019(lines: Iterable[str]) -> Iterator[Trial]:
    """ASVspoof 2019 LA: `SPEAKER AUDIO - SYSTEM KEY`, the system `-` for bona fide speech."""
    for number, (speaker, name, _, system, key) in _rows(lines, 5):
        yield Trial(name, Path(name), _key(key, number), speaker=_known(speaker), system=_known(system))


def _rows(lines: Iterable[str], columns: int) -> Iterator[tuple[int, list[str]]]:
    """Line number, counted from 1, and fields of each line that is not blank."""
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) == columns:
            yield number, fields
        elif fields:
            raise CorpusError(f"line {number} has {len(fields)} columns, not {columns}: {line.strip()[:80]!r}.")


def _key(word: str, number: int) -> Key:
    try:
        return LABEL_WORDS[word.lower()]
    except KeyError:
        raise CorpusError(
            f'line {number} has the unknown label "{word}". Labels are: {", ".join(LABEL_WORDS)}.'
        ) from None


def _known(field: str) -> str | None:
    return None if field in ("-", "") else field


# A folder and what is in it.


@dataclass(frozen=True, slots=True)
class _Tree:
    """Every file under a folder: the audio by name without ending, the rest, lists among them, by path."""

    root: Path
    audio: dict[str, str]
    twins: dict[str, str]
    others: list[Path]

    @staticmethod
    def walk(root: Path) -> _Tree:
        if not root.is_dir():
            raise CorpusError(f"{root} is not a folder. Name the folder that holds the corpus.")
        tree = _Tree(root, {}, {}, [])
        for folder, folders, names in os.walk(root, followlinks=True):
            folders.sort()
            for name in sorted(names):
                stem, suffix = os.path.splitext(name)  # noqa: PTH122 (a Path a file takes seconds for 680,000 files)
                path = f"{folder}/{name}"
                if suffix.lower() not in AUDIO_SUFFIXES:
                    tree.others.append(Path(path))
                elif tree.audio.setdefault(stem, path) != path:
                    tree.twins[stem] = path
        return tree


def _locate(trials: list[Trial], tree: _Tree) -> list[Trial]:
    """The trials with the files of their audio."""
    stems = [_stem(trial) for trial in trials]
    if missing := [trial.id for trial, stem in zip(trials, stems, strict=True) if stem not in tree.audio]:
        raise CorpusError(
            f"{len(missing)} of {len(trials)} listed ids have no audio under {tree.root}: {_few(missing)}. "
            f"Add the files, as any of {' '.join(sorted(AUDIO_SUFFIXES))}."
        )
    for stem in stems:
        if stem in tree.twins:
            raise CorpusError(
                f"Two files are named {stem}: {tree.audio[stem]} and {tree.twins[stem]}. Leave one of them in the folder."
            )
    return [replace(trial, audio=Path(tree.audio[stem])) for trial, stem in zip(trials, stems, strict=True)]


def _stem(trial: Trial) -> str:
    name, suffix = os.path.splitext(trial.audio.name)  # noqa: PTH122 ("LA_E_1.5" has no audio suffix to lose)
    return name if suffix.lower() in AUDIO_SUFFIXES else trial.audio.name


def _require_both_classes(trials: list[Trial], where: str) -> None:
    for key in ("bonafide", "spoof"):
        if not any(trial.key == key for trial in trials):
            raise CorpusError(
                f"The {where} has no {key} trial among {len(trials)}. Check that the list is complete and of that layout."
            )


def _require_unique(trials: list[Trial]) -> None:
    if twice := [name for name, lines in Counter(trial.id for trial in trials).items() if lines > 1]:
        raise CorpusError(f"{len(twice)} ids are listed more than once: {_few(twice)}. Leave one line for each id.")


def _require_listed(found: list[Trial], listed: list[Trial], tree: _Tree) -> None:
    """Refuse audio that no list names in the folders where the trials' audio lies."""
    folders = {str(trial.audio.parent) for trial in found}
    names = {_stem(trial) for trial in listed}
    if extra := [s for s, path in tree.audio.items() if s not in names and path.rpartition("/")[0] in folders]:
        raise CorpusError(
            f"{len(extra)} audio files beside the trials are in no list: {_few(extra)}. "
            "Complete the list, or move the files out of the corpus."
        )


def _few(ids: list[str]) -> str:
    return ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")


# The layouts.


@dataclass(frozen=True, slots=True)
class Layout:
    """How one corpus is laid out: by which lists it is known, what it splits into, how it is read."""

    title: str
    lists: re.Pattern[str]
    """Matches the path of a list under the corpus; a group named `subset` names the subset that the list is of."""
    parse: Callable[[Iterable[str]], Iterator[Trial]]
    read: Callable[[Layout, _Tree, str], Iterable[Trial]]
    subsets: tuple[str, ...] = ()
    default: str = "all"
    unlisted: bool = False
    """Whether audio that no list names belongs there: speakers' enrolment utterances."""


def _read_lists(layout: Layout, tree: _Tree, subset: str) -> Iterator[Trial]:
    """The trials of every list that can hold trials of the subset."""
    for path in tree.others:
        match = layout.lists.search(path.relative_to(tree.root).as_posix())
        named = match.groupdict().get("subset") if match else None
        if match and (named is None or subset in (named, "all")):
            with path.open(encoding="utf-8", newline="") as file:
                try:
                    for trial in layout.parse(file):
                        yield replace(trial, subset=named) if named else trial
                except (CorpusError, UnicodeDecodeError) as error:
                    raise CorpusError(f"{path}, read as {layout.title}: {error}") from None


def _read_vivavoce(layout: Layout, tree: _Tree, subset: str) -> Iterator[Trial]:
    """The lists, completed by metadata.csv."""
    with (tree.root / "metadata.csv").open(encoding="utf-8", newline="") as file:
        metadata = {row["utterance"]: row for row in csv.DictReader(file)}
    for trial in _read_lists(layout, tree, subset):
        row = metadata.get(trial.id, {})
        kbps = row.get("kbps", "0")
        yield replace(
            trial,
            speaker=row.get("speaker") or None,  # blank where the list says "nan": the speaker is not known
            codec=row.get("stored", "") + (kbps if kbps != "0" else "") or None,
            source=row.get("source") or None,
            language=row.get("language") or None,
            duration=float(row["duration_s"]) if row.get("duration_s") else None,
        )


SUBSETS_2019 = ("train", "dev", "eval")
LISTS_2019 = r"\.LA\.cm\.(?P<subset>train|dev|eval)\.tr[nl]\.txt$"

LAYOUTS: dict[str, Layout] = {
    "vivavoce": Layout(
        "vivavoce", re.compile("vivavoce" + LISTS_2019), parse_asvspoof2019, _read_vivavoce, SUBSETS_2019
    ),
    "asvspoof2019_la": Layout(
        "ASVspoof 2019 LA",
        re.compile("ASVspoof2019" + LISTS_2019),
        parse_asvspoof2019,
        _read_lists,
        SUBSETS_2019,
        unlisted=True,
    ),
}


def _layout(name: str) -> Layout:
    if name not in LAYOUTS:
        raise CorpusError(f'There is no corpus layout "{name}". Choose one of: {", ".join(LAYOUTS)}.')
    return LAYOUTS[name]


def _detect(tree: _Tree) -> Layout:
    paths = [path.relative_to(tree.root).as_posix() for path in tree.others]
    found = [name for name, layout in LAYOUTS.items() if any(layout.lists.search(path) for path in paths)]
    if len(found) == 1:
        return LAYOUTS[found[0]]
    fact = f"could be any of: {', '.join(found)}" if found else "has none of the known layouts"
    raise CorpusError(f"{tree.root} {fact}. Name the layout, one of: {', '.join(LAYOUTS)}.")
