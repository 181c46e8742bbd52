"""Judges every recording under a folder, several at a time, and writes a CSV that appears whole or not at all.

`vivavoce scan --csv` does the same from a shell; begin here for columns of your own.

python examples/batch_to_csv.py examples/audio verdicts.csv --jobs 2
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from vivavoce import Detector, Result, VivavoceError
from vivavoce.decoding.folders import find, told

COLUMNS = ("file", "verdict", "score", "probability", "reason", "duration", "speech", "lowest_window", "error")


def row(name: str, result: Result | VivavoceError) -> dict[str, object]:
    """One line of the table. A file that cannot be judged is a line that says why."""
    if isinstance(result, VivavoceError):
        return {"file": name, "error": str(result)}
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

    found = find(options.folder)
    if not found.recordings:
        parser.error(f"{options.folder} holds no recordings")
    if found.passed_over:
        print(told(found.passed_over), file=sys.stderr)
    detector = Detector(options.bundle)
    partial_file = options.csv.with_name(f".{options.csv.name}.part")
    with partial_file.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        for file, result in zip(found.recordings, detector.detect_many(found.recordings, jobs=options.jobs), strict=True):
            writer.writerow(row(str(Path(file).relative_to(options.folder)), result))
    partial_file.replace(options.csv)
    print(f"{len(found.recordings)} recordings in {options.csv}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except VivavoceError as error:
        sys.exit(f"Error: {error}")
