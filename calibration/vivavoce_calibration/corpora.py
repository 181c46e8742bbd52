"""Anti-spoofing corpora, read as one list of trials whatever their layout.

A corpus is a folder with audio and lists that say which file is bona fide and which is spoof. `read_corpus` recognises
the layout, parses the lists, finds each trial's audio by its name, and refuses what does not add up: a list that
silently loses a class or half of its files gives an error rate that looks like any other.
"""

from __future__ import annotations

import codecs
import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Literal

from vivavoce.decoding.folders import AUDIO_SUFFIXES, find
from vivavoce.errors import ConfigurationError, few

__all__ = ["LAYOUTS", "CorpusError", "Key", "Layout", "Trial", "label", "read_corpus", "without_ending"]

Key = Literal["bonafide", "spoof"]

LABEL_WORDS: dict[str, Key] = {
    **dict.fromkeys(("bonafide", "bona-fide", "bona_fide", "real", "genuine", "human"), "bonafide"),
    **dict.fromkeys(("spoof", "fake", "deepfake"), "spoof"),
}


class CorpusError(ConfigurationError):
    """A corpus cannot be used as it is: its lists, its labels or its audio do not add up."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One utterance of a corpus: which file, and what it is. A field is None where the corpus does not tell."""

    id: str
    audio: Path
    """The file; in what a parser yields, its name as the list writes it."""
    key: Key
    speaker: str | None = None
    """Who speaks, or for a spoof whose voice it imitates, by the corpus's own name."""
    system: str | None = None
    """The attack that made a spoof, such as "A07"; None for bona fide speech."""
    codec: str | None = None
    """The codec that the audio passed; "none" where the corpus says that it passed none."""
    transmission: str | None = None
    source: str | None = None
    vocoder: str | None = None
    """The kind of vocoder that made a spoof; None for bona fide speech."""
    language: str | None = None
    subset: str | None = None
    duration: float | None = None
    """Seconds."""
    system_type: str | None = None
    """The kind of system that made a spoof, such as "vc"; None for bona fide speech."""
    snr: float | None = None
    """An estimate in dB; see `estimated_snr`."""
    family: str | None = None
    """What a spoof's system is a variant of; None for bona fide speech."""
    seen: str | None = None
    """"yes" where the training part holds the family of a spoof's system, "no" where not; None for bona fide speech."""
    licence_class: str | None = None
    """What the source's licence allows, such as "open" or "research"."""

    @property
    def group(self) -> str:
        """What balances a class: the system of a spoof, the source of bona fide speech; empty where neither is told."""
        return self.system or self.source or ""


FIELDS = ("codec", "family", "language", "licence_class", "seen", "source", "speaker", "system", "system_type", "transmission")
"""What trials may be chosen by."""


def read_corpus(
    root: Path | str,
    *,
    layout: str | None = None,
    subset: str | None = None,
    complete: bool = False,
    extra: bool = False,
    or_all: bool = False,
    only: Sequence[str] = (),
) -> list[Trial]:
    """The trials of the corpus in the folder `root`, in the order of its lists, each with its audio file.

    `layout` is a name in `LAYOUTS`; None recognises it by the lists. `subset` is one of the layout's subsets or "all";
    None means what is reported by default: all, but for ASVspoof 2021 "eval". `complete=True` keeps what the field
    leaves out: in CtrSVDD the attack A14 and the recordings named acesinger. `extra=True` is for what adds to another
    corpus: it may have one class alone. `or_all=True` takes a corpus that has no subsets, such as two folders, whole.
    `only` leaves out trials of which the corpus tells something else, such as "licence_class=open" or "seen=no"; one that it
    tells nothing of stays, as bona fide speech does with "seen=no". Audio is looked for anywhere under `root` by file name
    without its ending, so a corpus that was converted to another audio format reads the same.

    Raises CorpusError, naming the line or the first few ids, when the layout is not recognised, a line has the wrong
    number of columns or an unknown label, an id is listed twice, an id has no audio or two files, audio beside the
    trials is in no list, a class is empty, or `only` names no field of a trial.
    """
    wanted = [_field(word) for word in only]
    tree = _Tree.walk(Path(root))
    chosen = _layout(layout) if layout else _recognise(tree)
    subset = subset or chosen.default
    if subset not in (choices := (*chosen.subsets, "all")) and not (or_all and not chosen.subsets):
        raise CorpusError(f'{chosen.title} has no subset "{subset}". Choose one of: {", ".join(choices)}.')
    listed = list(chosen.read(chosen, tree))
    _require_unique(listed)
    if or_all and not any(trial.subset for trial in listed):
        subset = "all"
    trials = [trial for trial in listed if subset in ("all", trial.subset) and (complete or chosen.reports(trial))]
    trials = [trial for trial in trials if all(getattr(trial, field) in (None, value) for field, value in wanted)]
    if not (extra and trials):
        _require_both_classes(trials, f'{chosen.title}, subset "{subset}", in {tree.root}')
    if not chosen.names:
        return trials
    located = _locate(trials, tree)
    if not chosen.enrolment:
        _require_listed(located, listed, tree)
    return located


# One parser a format: lines in, trials out.


def parse_asvspoof2019(lines: Iterable[str]) -> Iterator[Trial]:
    """ASVspoof 2019 LA and what follows it: `SPEAKER AUDIO - SYSTEM KEY`, the system `-` for bona fide speech."""
    for number, (speaker, name, _, system, key) in _rows(lines, 5):
        yield Trial(name, Path(name), label(key, number), speaker=_known(speaker), system=_known(system))


def parse_asvspoof2021_la(lines: Iterable[str]) -> Iterator[Trial]:
    """ASVspoof 2021 LA keys: `SPEAKER AUDIO CODEC TRANSMISSION SYSTEM KEY TRIM SUBSET`.

    Bona fide lines have `bonafide` in the columns of the system and of the key.
    """
    for number, (speaker, name, codec, transmission, system, key, _, subset) in _rows(lines, 8):
        yield Trial(
            name,
            Path(name),
            label(key, number),
            speaker=_known(speaker),
            system=_attack(system),
            codec=_known(codec),
            transmission=_known(transmission),
            subset=_subset(subset, number),
        )


def parse_asvspoof2021_df(lines: Iterable[str]) -> Iterator[Trial]:
    """ASVspoof 2021 DF keys: `SPEAKER AUDIO CODEC SOURCE SYSTEM KEY TRIM SUBSET VOCODER TASK TEAM GENDER LANGUAGE`."""
    for number, fields in _rows(lines, 13):
        speaker, name, codec, source, system, key, _, subset, vocoder, *_, language = fields
        yield Trial(
            name,
            Path(name),
            label(key, number),
            speaker=_known(speaker),
            system=_attack(system),
            codec="none" if codec == "nocodec" else _known(codec),
            source=_known(source),
            vocoder=_attack(vocoder),
            language=_known(language),
            subset=_subset(subset, number),
        )


def parse_asvspoof5(lines: Iterable[str]) -> Iterator[Trial]:
    """ASVspoof 5, track 1: `SPEAKER AUDIO GENDER CODEC QUALITY SEED ADAPTATION SYSTEM KEY -`, separated by spaces.

    The codec `-` means none; the adaptation (AC1 to AC3) belongs to the attack and is no codec.
    """
    for number, (speaker, name, _, codec, _, _, _, system, key, _) in _rows(lines, 10):
        yield Trial(
            name,
            Path(name),
            label(key, number),
            speaker=_known(speaker),
            system=_attack(system),
            codec=_known(codec) or "none",
        )


def parse_in_the_wild(lines: Iterable[str]) -> Iterator[Trial]:
    """In-the-Wild's meta.csv: the header `file,speaker,label`, then one file name with its ending a line."""
    for number, row in enumerate(csv.reader(lines), start=1):
        if number == 1:
            if row != ["file", "speaker", "label"]:
                raise CorpusError(f"line 1 is {','.join(row)[:80]!r}, not the header 'file,speaker,label'.")
        elif len(row) == 3:
            yield Trial(without_ending(Path(row[0]).name), Path(row[0]), label(row[2], number), speaker=_known(row[1]))
        elif row:
            raise CorpusError(_wrong_columns(number, len(row), 3))


def parse_ctrsvdd(lines: Iterable[str]) -> Iterator[Trial]:
    """CtrSVDD: `SOURCE SINGER AUDIO - SYSTEM KEY`, the key `bonafide` or `deepfake`."""
    for number, (source, singer, name, _, system, key) in _rows(lines, 6):
        yield Trial(name, Path(name), label(key, number), speaker=singer, system=_known(system), source=source)


def parse_folders(lines: Iterable[str]) -> Iterator[Trial]:
    """Plain folders: one path a line, its first folder named by a label word, or by a subset and the second by the word.

    A folder below tells who speaks in living speech, and what system made a spoof. The id is the path without ending.
    """
    for number, line in enumerate(lines, start=1):
        path = Path(line)
        subset = path.parts[0].lower() if path.parts[0].lower() in SUBSETS_2019 else None
        word, *below = path.parts[1 if subset else 0 : -1]
        key, group = label(word, number), below[0] if below else None
        speaker, system = (group, None) if key == "bonafide" else (None, group)
        yield Trial(path.with_suffix("").as_posix(), path, key, speaker=speaker, system=system, subset=subset)


def _rows(lines: Iterable[str], columns: int) -> Iterator[tuple[int, list[str]]]:
    """Number, counted from 1, and fields of each line that is not blank."""
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) == columns:
            yield number, fields
        elif fields:
            raise CorpusError(_wrong_columns(number, len(fields), columns))


def _wrong_columns(number: int, found: int, expected: int) -> str:
    formats = {
        5: "ASVspoof 2019 lists",
        6: "CtrSVDD lists",
        8: "ASVspoof 2021 LA keys",
        10: "ASVspoof 5 lists",
        12: "ASVspoof 2021 PA keys",
        13: "ASVspoof 2021 DF keys",
    }
    hint = f"{formats[found]} have {found}; is it one?" if found in formats else "Is the file complete?"
    return f"line {number} has {found} columns instead of {expected}. {hint}"


def label(word: str, number: int) -> Key:
    """The class that a label word means. Raises CorpusError, naming the line `number`, for another word."""
    if (key := LABEL_WORDS.get(word.lower())) is None:
        raise CorpusError(f'line {number} has the unknown label "{word}". Use one of: {", ".join(LABEL_WORDS)}.')
    return key


def _subset(word: str, number: int) -> str:
    if word not in SUBSETS_2021:
        raise CorpusError(f'line {number} has the unknown subset "{word}". Use one of: {", ".join(SUBSETS_2021)}.')
    return word


def _field(word: str) -> tuple[str, str]:
    """A field of a trial and the value that it must have, from "FIELD=VALUE"."""
    field, _, value = word.partition("=")
    if field not in FIELDS or not value:
        raise CorpusError(f'"{word}" chooses no trials. Give FIELD=VALUE, with one of: {", ".join(FIELDS)}.')
    return field, value


def _known(field: str) -> str | None:
    return None if field in ("-", "") else field


def _attack(field: str) -> str | None:
    return None if field in ("-", "bonafide") else field


# The folder of a corpus, and what reads it.


@dataclass(frozen=True, slots=True)
class _Tree:
    """The files under a folder: audio by folder and name, and what may be a list."""

    root: Path
    audio: list[tuple[Path, str]]
    lists: list[Path]

    @staticmethod
    def walk(root: Path) -> _Tree:
        if not root.is_dir():
            raise CorpusError(f"{root} is not a folder. Name the folder that holds the corpus.")
        tree, seen = _Tree(root, [], []), set()
        for place, folders, names in os.walk(root, followlinks=True):
            folder = Path(place)
            folders[:] = [] if folder.resolve() in seen else sorted(folders)
            seen.add(folder.resolve())
            # macOS puts a companion beside each file on foreign disks: "._" and its name.
            visible = [name for name in sorted(names) if not name.startswith(".")]
            tree.audio.extend((folder, name) for name in visible if _suffix(name) in AUDIO_SUFFIXES)
            tree.lists.extend(folder / name for name in visible if _suffix(name) in (".csv", ".tsv", ".txt"))
        return tree


def _suffix(name: str) -> str:
    return name[name.rfind(".") :].lower()


def without_ending(name: str) -> str:
    """The file name without the ending of an audio format; `LA_E_1.5` has none to lose."""
    return name[: name.rfind(".")] if _suffix(name) in AUDIO_SUFFIXES else name


def _read_lists(layout: Layout, tree: _Tree) -> Iterator[Trial]:
    """The trials of all lists, their audio not looked for yet."""
    lists = {path: subset for path in tree.lists if (subset := layout.subset_of(path)) is not None}
    if not lists:
        raise CorpusError(f"{tree.root} has no list of {layout.title}. Add {' or '.join(layout.names)}.")
    for path, subset in lists.items():
        try:
            for trial in layout.parse(StringIO(_text(path), newline="")):
                yield replace(trial, subset=subset) if subset else trial
        except (CorpusError, UnicodeError, csv.Error) as error:
            raise CorpusError(f"{path}, read as {layout.title}: {error}") from None


def _text(path: Path) -> str:
    """A list's text, in UTF-8, or in what the byte order mark says that an editor or a shell on Windows left in front."""
    data = path.read_bytes()
    try:
        return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"it is no text in UTF-8 or UTF-16 ({error}). Save it as UTF-8.") from None


METADATA = {"utterance", "speaker", "stored", "kbps", "source", "language", "duration_s"}


def _read_vivavoce(layout: Layout, tree: _Tree) -> Iterator[Trial]:
    """The trials of all lists; where metadata.csv has a row for one, it tells what a list has no column for."""
    path = tree.root / "metadata.csv"
    rows = csv.DictReader(StringIO(_text(path) if path.is_file() else ""))
    if lacking := METADATA - set(rows.fieldnames or METADATA):
        raise CorpusError(f"{path} has no column {', '.join(sorted(lacking))}. Add it, or take the file away.")
    metadata = {row["utterance"]: row for row in rows}
    for trial in _read_lists(layout, tree):
        if row := metadata.get(trial.id):
            trial = replace(
                trial,
                speaker=row["speaker"] or None,
                codec=row["stored"] + row["kbps"].removeprefix("0"),
                source=row["source"] or None,
                language=row["language"] or None,
                duration=float(row["duration_s"]) if row["duration_s"] else None,
                system_type=_known(row.get("system_type", "")),
                family=_known(row.get("family", "")),
                seen=_known(row.get("seen", "")),
                licence_class=_known(row.get("licence_class", "")),
            )
        yield trial


def _read_folders(layout: Layout, tree: _Tree) -> Iterator[Trial]:
    """The trials of the folders that are named by a label word, in the corpus or in a folder named by a subset."""
    # By what scan takes for recordings: one that is named otherwise is one too.
    found = find(tree.root)
    paths, strange = ([Path(name).relative_to(tree.root) for name in names] for names in (found.recordings, found.passed_over))
    if others := [path.as_posix() for path in strange if _is_labelled(path)]:
        raise CorpusError(
            f"{len(others)} files in {tree.root} are of no kind that is known: {few(others)}. "
            f"Convert them, or keep them elsewhere."
        )
    for trial in layout.parse(path.as_posix() for path in paths if _is_labelled(path)):
        yield replace(trial, audio=tree.root / trial.audio)


def _is_labelled(path: Path) -> bool:
    folders = [folder.lower() for folder in path.parts[:-1]]
    return any(folder in LABEL_WORDS for folder in folders[1:2] if folders[0] in SUBSETS_2019) or (
        bool(folders) and folders[0] in LABEL_WORDS
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """How one corpus is laid out. A list belongs to the first layout in `LAYOUTS` that it matches."""

    title: str
    names: tuple[str, ...]
    """What a list's path ends with; `{subset}` stands for any of `subsets`, `*` for any name. Empty: no lists."""
    parse: Callable[[Iterable[str]], Iterator[Trial]]
    subsets: tuple[str, ...] = ()
    default: str = "all"
    line: str = ""
    """What the first line of a list matches, where its name alone does not tell."""
    read: Callable[[Layout, _Tree], Iterable[Trial]] = _read_lists
    enrolment: bool = False
    """Whether the folders also hold utterances that enrol speakers, which no list of trials names."""
    reports: Callable[[Trial], bool] = lambda trial: True
    """Whether the field reports on a trial."""

    def subset_of(self, path: Path) -> str | None:
        """The subset that a list is of, "" where its lines tell that; None if it is no list of this layout."""
        subsets = f"({'|'.join(self.subsets)})"
        for name in self.names:
            pattern = re.escape(name).replace(r"\*", "[^/]*").replace(r"\{subset\}", subsets)
            if match := re.search(f"(?:^|/){pattern}$", path.as_posix()):
                return "".join(match.groups()) if re.search(self.line, _first_line(path)) else None
        return None


def _first_line(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(1 << 12)
    encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    return (head.decode(encoding, errors="replace").splitlines() or [""])[0]


# The table of layouts, special ones first.

SUBSETS_2019 = ("train", "dev", "eval")
SUBSETS_2021 = ("progress", "eval", "hidden")

LAYOUTS: dict[str, Layout] = {
    "asvspoof2019_la": Layout(
        "ASVspoof 2019 LA",
        ("ASVspoof2019.LA.cm.{subset}.trn.txt", "ASVspoof2019.LA.cm.{subset}.trl.txt"),
        parse_asvspoof2019,
        SUBSETS_2019,
        enrolment=True,
    ),
    "asvspoof2021_la": Layout(
        "ASVspoof 2021 LA",
        ("CM/trial_metadata.txt",),
        parse_asvspoof2021_la,
        SUBSETS_2021,
        default="eval",
        line=r"\bLA_E_",
        enrolment=True,
    ),
    "asvspoof2021_df": Layout(
        "ASVspoof 2021 DF",
        ("CM/trial_metadata.txt",),
        parse_asvspoof2021_df,
        SUBSETS_2021,
        default="eval",
        line=r"\bDF_E_",
    ),
    "asvspoof5": Layout(
        "ASVspoof 5",
        ("ASVspoof5.{subset}.tsv", "ASVspoof5.{subset}.track_1.tsv"),
        parse_asvspoof5,
        SUBSETS_2019,
        enrolment=True,
    ),
    "in_the_wild": Layout("In-the-Wild", ("meta.csv",), parse_in_the_wild, line="^file,speaker,label"),
    "ctrsvdd": Layout(
        "CtrSVDD",
        ("{subset}.txt",),
        parse_ctrsvdd,
        ("train", "dev", "test"),
        line=r"\bCtrSVDD_",
        reports=lambda trial: trial.system != "A14" and trial.source != "acesinger",
    ),
    "partialspoof": Layout("PartialSpoof", ("PartialSpoof.LA.cm.{subset}.trl.txt",), parse_asvspoof2019, SUBSETS_2019),
    "vivavoce": Layout(
        "vivavoce",
        ("*.LA.cm.{subset}.trn.txt", "*.LA.cm.{subset}.trl.txt"),
        parse_asvspoof2019,
        SUBSETS_2019,
        line=r"\S[ \t]+\S",
        read=_read_vivavoce,
    ),
    "folders": Layout("A bonafide and a spoof folder", (), parse_folders, SUBSETS_2019, read=_read_folders),
}


def _layout(name: str) -> Layout:
    if name not in LAYOUTS:
        raise CorpusError(f'There is no corpus layout "{name}". Choose one of: {", ".join(LAYOUTS)}.')
    return LAYOUTS[name]


def _recognise(tree: _Tree) -> Layout:
    """The one layout that the lists under a folder belong to; without lists, folders named by label words."""
    owners = (
        next((name for name, layout in LAYOUTS.items() if layout.subset_of(path) is not None), None) for path in tree.lists
    )
    found = sorted({name for name in owners if name})
    if not found and any(_is_labelled((folder / name).relative_to(tree.root)) for folder, name in tree.audio):
        found = ["folders"]
    if len(found) != 1:
        fact = f"holds lists of {' and '.join(found)}" if found else "has no list of a known layout"
        raise CorpusError(
            f"{tree.root} {fact}. Name the layout, one of: {', '.join(LAYOUTS)}. The last is two folders, bonafide and spoof; "
            f"their names may be {', '.join(LABEL_WORDS)}."
        )
    return LAYOUTS[found[0]]


# What must add up.


def _require_both_classes(trials: list[Trial], where: str) -> None:
    keys = {trial.key for trial in trials}
    for key in ("bonafide", "spoof"):
        if key not in keys:
            raise CorpusError(f"{where}: none of the {len(trials)} trials is {key}. Complete the lists.")


def _require_unique(trials: list[Trial]) -> None:
    if twice := [name for name, lines in Counter(trial.id for trial in trials).items() if lines > 1]:
        raise CorpusError(f"{len(twice)} ids are listed more than once: {few(twice)}. Leave one line for each.")


def _locate(trials: list[Trial], tree: _Tree) -> list[Trial]:
    """The trials with the paths of their audio."""
    files: dict[str, tuple[Path, str]] = {}
    twins: dict[str, tuple[Path, str]] = {}
    for file in tree.audio:
        if files.setdefault(stem := without_ending(file[1]), file) is not file:
            twins[stem] = file
    stems = [without_ending(trial.audio.name) for trial in trials]
    if missing := [stem for stem in stems if stem not in files]:
        raise CorpusError(
            f"{len(missing)} of {len(trials)} ids have no audio under {tree.root}: {few(missing)}. "
            f"Add the files, each ending in one of {' '.join(sorted(AUDIO_SUFFIXES))}."
        )
    if twice := [stem for stem in stems if stem in twins]:
        first, second = (Path(*found[twice[0]]) for found in (files, twins))
        raise CorpusError(f"{len(twice)} ids have two audio files, such as {first} and {second}. Leave one for each.")
    return [replace(trial, audio=Path(*files[stem])) for trial, stem in zip(trials, stems, strict=True)]


def _require_listed(located: list[Trial], listed: list[Trial], tree: _Tree) -> None:
    folders = {trial.audio.parent for trial in located}
    stems = {without_ending(trial.audio.name) for trial in listed}
    if extra := [name for folder, name in tree.audio if folder in folders and without_ending(name) not in stems]:
        raise CorpusError(
            f"{len(extra)} audio files beside the trials are in no list: {few(extra)}. "
            "Complete the lists, or keep the files elsewhere."
        )
