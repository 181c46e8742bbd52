"""Folders: the recordings under one, and what was passed over, so that nothing is left out without a word."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from .beginnings import begins

__all__ = ["AUDIO_SUFFIXES", "Found", "find", "told"]

OWN = ".aif .aifc .aiff .au .caf .flac .mp3 .nist .oga .ogg .opus .rf64 .snd .sph .w64 .wav .wave"
BY_FFMPEG = (
    ".3ga .3gp .aac .ac3 .amr .ape .asf .avi .awb .dts .eac3 .flv .gsm .m4a .m4b .m4r .m4v .mka .mkv .mov .mp2 .mp4 .mpc .mpeg"
    " .mpg .ra .rm .spx .tta .vox .weba .webm .wma .wmv .wv"
)

AUDIO_SUFFIXES = frozenset((OWN + " " + BY_FFMPEG).split())
"""How the names of recordings end; those of the second half are read with the extra `formats`. A file that is named itself may
end as it likes, and one in a folder that ends otherwise is looked into."""

BESIDE = frozenset(
    [
        ".c",
        ".cfg",
        ".conf",
        ".css",
        ".csv",
        ".cue",
        ".db",
        ".doc",
        ".docx",
        ".gif",
        ".htm",
        ".html",
        ".ini",
        ".jpeg",
        ".jpg",
        ".js",
        ".json",
        ".jsonl",
        ".lab",
        ".log",
        ".lrc",
        ".lst",
        ".m3u",
        ".m3u8",
        ".md",
        ".md5",
        ".npy",
        ".npz",
        ".odt",
        ".pdf",
        ".pls",
        ".png",
        ".py",
        ".rst",
        ".rtf",
        ".sh",
        ".sha1",
        ".sha256",
        ".srt",
        ".sum",
        ".svg",
        ".textgrid",
        ".tif",
        ".tiff",
        ".toml",
        ".tsv",
        ".txt",
        ".vtt",
        ".webp",
        ".xls",
        ".xlsx",
        ".xml",
        ".yaml",
        ".yml",
    ]
)
"""How the names of files end that lie beside recordings and are none."""

SYNCS = (b"\xff\xfb", b"\xff\xf3", b"\xff\xf1")
"""How MP3 and AAC begin that have no header; samples may begin so too."""


@dataclass
class Found:
    """Paths in order: `recordings`, and what was `passed_over`, files of unknown kinds and folders that cannot be read."""

    recordings: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def find(folder: str | Path) -> Found:
    """What is under a folder. Linked folders are followed, each once. Hidden files, which macOS puts beside others on foreign
    disks, are no recordings; nor are those of kinds that lie beside them, such as text and pictures."""
    found, seen = Found(), set()
    for place, folders, names in os.walk(
        folder, followlinks=True, onerror=lambda error: found.passed_over.append(error.filename)
    ):
        here = os.path.realpath(place)
        folders[:] = [] if here in seen else sorted(folders)
        names = [] if here in seen else names
        seen.add(here)
        for name in names:
            _sort(found, os.path.join(place, name), name)  # noqa: PTH118 - a name need not be text
    found.recordings.sort()
    found.passed_over.sort()
    return found


def told(passed_over: list[str]) -> str:
    """One clause that counts and names what was passed over."""
    names = ", ".join(os.path.basename(path) for path in passed_over[:3]) + (", …" if len(passed_over) > 3 else "")  # noqa: PTH119
    return f"{len(passed_over)} of unknown kinds passed over: {names}"


def _sort(found: Found, path: str, name: str) -> None:
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    if name.startswith(".") or suffix in BESIDE:
        return
    if suffix in AUDIO_SUFFIXES:
        if os.path.isfile(path) or os.path.islink(path):  # noqa: PTH113, PTH114
            found.recordings.append(path)
    elif os.path.isfile(path):  # noqa: PTH113
        (found.recordings if _looks_like_one(path) else found.passed_over).append(path)


def _looks_like_one(path: str) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            head = file.read(16)
    except OSError:
        return False
    return begins(head) or head.startswith(SYNCS)
