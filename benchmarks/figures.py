"""Writes the figures of README.md: what the embedded bundle measured on its corpora, and what it costs on this machine.

python benchmarks/figures.py           measure and rewrite the part of README.md between the two markers
python benchmarks/figures.py --errors  rewrite only the size and the error rates in it, which the bundle itself tells
python benchmarks/figures.py --check   fail where these are not those of the embedded bundle
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from markers import between, rewrite

from vivavoce.bundle import Bundle, Evaluation, default_bundle

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
ERRORS_END = "<!-- errors: end -->\n"


METRICS = ("EER", "AUC", "Cllr", "minDCF")


def errors(bundle: Bundle) -> str:
    """The bundle's size, and what the manifest's evaluations say, a column for each set of trials."""
    manifest = bundle.manifest
    (engine, *_) = manifest.engines
    size = (bundle.path / engine.file).stat().st_size / 1e6
    found = {(one.metric, f"{one.corpus} {one.subset}"): one for one in manifest.evaluations}
    trials = list(dict.fromkeys(subset for _, subset in found))
    counts = [f"{found['EER', one].bonafide} living, {found['EER', one].spoof} spoofs" for one in trials]
    rows = [
        f"The embedded bundle is `{manifest.name}` {manifest.version}: "
        f"{manifest.model.parameters / 1e6:.1f} million parameters, {size:.1f} MB as {engine.precision.upper()}.",
        "",
        f"| | {' | '.join(f'{one}: {count}' for one, count in zip(trials, counts, strict=True))} |",
        f"| --- | {' | '.join('---:' for _ in trials)} |",
        *(f"| {metric} | {' | '.join(cell(found.get((metric, one))) for one in trials)} |" for metric in METRICS),
    ]
    return "\n".join(rows) + "\n" + ERRORS_END


def cell(e: Evaluation | None) -> str:
    """One figure with its interval."""
    if e is None:
        return "–"
    scale, digits, unit = (100, 1, " %") if e.metric == "EER" else (1, 3, "")
    value, low, high = (f"{scale * x:.{digits}f}" for x in (e.value, e.low, e.high))
    return f"{value}{unit} ({low} to {high})"


def costs() -> str:
    """What `vivavoce bench` measures on this machine, as a table."""
    command = [sys.executable, "-m", "vivavoce", "bench", "--json"]
    return told(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def told(report: dict[str, Any]) -> str:
    """The costs in a report of `vivavoce bench`."""
    (engine,), machine = report["engines"], report["machine"]
    factor, latency, fresh = engine["real_time_factor"], engine["window_latency"], engine["fresh_process"]
    rows = {
        "real-time factor, somebody speaking throughout": f"{factor['whole']:.3f}",
        "calls on one core, as many": f"{1 / factor['whole']:.0f}",
        "one window, median and 95th percentile": f"{1000 * latency['median']:.0f} and {1000 * latency['p95']:.0f} ms",
        "from the start of a process to its first verdict": f"{fresh['first_verdict']:.1f} s",
        "peak of resident memory": f"{fresh['peak_bytes'] / 1e6:.0f} MB",
    }
    onnxruntime = report["versions"]["onnxruntime"]
    where = f"{machine['processor']} ({', '.join(machine['instructions'])}), one thread, onnxruntime {onnxruntime}"
    lines = [f"| {where} | |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n" + "\n".join(lines) + "\n"


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
