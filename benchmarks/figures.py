"""Writes the figures of README.md: what the embedded bundle measured on its corpora, and what it costs on this machine.

python benchmarks/figures.py           measure and rewrite the part of README.md between the two markers
python benchmarks/figures.py --errors  rewrite only the size and the error rates in it, which the bundle itself tells
python benchmarks/figures.py --check   fail where these are not those of the embedded bundle
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from markers import between, rewrite

from vivavoce.bundle import Bundle, Evaluation, default_bundle

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
ERRORS_END = "<!-- errors: end -->\n"


def errors(bundle: Bundle) -> str:
    """The bundle's size, and the table of the manifest's evaluations."""
    manifest = bundle.manifest
    (engine, *_) = manifest.engines
    size = (bundle.path / engine.file).stat().st_size / 1e6
    rows = [
        f"The embedded bundle is `{manifest.name}` {manifest.version}: "
        f"{manifest.model.parameters / 1e6:.1f} million parameters, {size:.1f} MB as {engine.precision.upper()}.",
        "",
        "| metric | corpus | value | interval | bona fide | spoof | engine |",
        "| --- | --- | ---: | --- | ---: | ---: | --- |",
        *(row(evaluation) for evaluation in manifest.evaluations),
    ]
    return "\n".join(rows) + "\n" + ERRORS_END


def row(e: Evaluation) -> str:
    """One evaluation as a line of the table."""
    percent = e.metric.split()[0] in ("EER", "FPR", "FNR", "HTER")
    value, low, high = (f"{100 * x:.1f} %" if percent else f"{x:.3f}" for x in (e.value, e.low, e.high))
    interval = f"{low} to {high} ({e.level:.0%})"
    return f"| {e.metric} | {e.corpus} {e.subset} | {value} | {interval} | {e.bonafide} | {e.spoof} | {e.engine} |"


def costs() -> str:
    """What `vivavoce bench` prints on this machine, conditions first."""
    command = [sys.executable, "-m", "vivavoce", "bench"]
    environment = os.environ | {"COLUMNS": "110", "NO_COLOR": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    lines = [line.rstrip() for line in done.stdout.strip().splitlines()]
    return "\n```text\n$ vivavoce bench\n" + "\n".join(lines) + "\n```\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    for option in ("--errors", "--check"):
        which.add_argument(option, action="store_true")
    options = parser.parse_args()
    inside = between(README, BEGIN, END)
    table = errors(Bundle(default_bundle()))
    if options.check:
        return 0 if inside.startswith(table) else 1
    measured = inside.split(ERRORS_END)[1] if options.errors else costs()
    rewrite(README, BEGIN, END, table + measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
