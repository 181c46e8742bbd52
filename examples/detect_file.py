"""Judges recordings: a path in, a verdict with its score out, and where in the file it comes from.

python examples/detect_file.py examples/audio/human_june_fr.flac examples/audio/synthetic_piper_en.flac
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vivavoce import Detector, Result, VivavoceError


def describe(result: Result) -> str:
    """The result in words, with one line a window."""
    lines = [str(result) if result.remedy is None else f"{result}. {result.remedy}"]
    if result.probability is not None:
        lines[0] += f", P(bona fide) {result.probability:.2f}"
    lines += [f"    {one.start:5.1f} to {one.end:5.1f} s  {one.score:+.2f}" for one in result.segments]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", type=Path, help="WAV, FLAC, Ogg or MP3 files")
    parser.add_argument("--bundle", type=Path, help="a bundle's folder; the embedded one by default")
    parser.add_argument("--accept", help='bona fide from this threshold on, such as "fpr=5%%"; `vivavoce info` lists them')
    parser.add_argument("--reject", help='spoof below this one, such as "fnr=5%%"; without both, the bundle\'s own')
    options = parser.parse_args(arguments)

    detector = Detector(options.bundle, accept=options.accept, reject=options.reject)
    for recording in options.recordings:
        print(f"{recording}: {describe(detector.detect(recording))}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except VivavoceError as error:
        sys.exit(f"Error: {error}")
