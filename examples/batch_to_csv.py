"""Judges every recording under a folder, several at a time, and writes a CSV that appears whole or not at all.

`vivavoce scan --csv` does the same from a shell; begin here for columns of your own.

python examples/batch_to_csv.py examples/audio verdicts.csv --jobs 2
"""

from __future__ import annotations

import argparse
import csv
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from vivavoce import AudioError, Detector, VivavoceError
from vivavoce.audio import AUDIO_SUFFIXES

COLUMNS = ("file", "verdict", "score", "probability", "reason", "duration", "speech", "lowest_window", "error")


def row(detector: Detector, folder: Path, file: Path) -> dict[str, object]:
    """One line of the table. A file that cannot be decoded is a line that says why."""
    name = str(file.relative_to(folder))
    try:
        result = detector.detect(file)
    except AudioError as error:
        return {"file": name, "error": str(error)}
    shared = {key: value for key, value in result.to_dict().items() if key in COLUMNS}
    # A spoofed sentence in a long recording moves the mean little; the lowest window tells where to listen.
    lowest = min((segment.score for segment in result.segments), default=None)
    return {"file": name, **shared, "lowest_window": lowest}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="searched for recordings, all levels deep")
    parser.add_argument("csv", type=Path, help="the table to write")
    parser.add_argument("--jobs", type=int, default=1, help="files at the same time; one a core is sensible (1)")
    parser.add_argument("--bundle", type=Path, help="a bundle's folder; the embedded one by default")
    options = parser.parse_args(arguments)

    files = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        parser.error(f"{options.folder} holds no recordings")
    detector = Detector(options.bundle)
    partial_file = options.csv.with_name(f".{options.csv.name}.part")
    with partial_file.open("w", encoding="utf-8", newline="") as out, ThreadPoolExecutor(options.jobs) as pool:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(pool.map(partial(row, detector, options.folder), files))
    partial_file.replace(options.csv)
    print(f"{len(files)} recordings in {options.csv}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except VivavoceError as error:
        sys.exit(f"Error: {error}")
