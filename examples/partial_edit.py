"""Which second of a recording was replaced: the stretch whose scores stand out from the rest.

python examples/partial_edit.py RECORDING

Every recording has a lowest stretch; it tells where to listen first. docs/limits.md has what the embedded model finds.
"""

from __future__ import annotations

import argparse
import sys

from vivavoce import Detector, VivavoceError
from vivavoce.result import lowest_stretch


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording")
    parser.add_argument("--hop", type=float, default=0.5, help="seconds a segment (0.5)")
    options = parser.parse_args(arguments)
    result = Detector().detect(options.recording, segment_hop=options.hop)
    print(result)
    for segment in result.segments:
        print(f"{segment.start:7.2f} to {segment.end:7.2f} s  {segment.score:+6.2f}")
    lowest = lowest_stretch(result.segments)
    if lowest is None:
        print("There is too little speech to compare.")
    else:
        print(f"Listen first from {lowest.start:.2f} to {lowest.end:.2f} s, where the score is {lowest.score:+.2f} on average.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except VivavoceError as error:
        sys.exit(f"Error: {error}")
