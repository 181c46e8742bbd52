"""Writes the figures of README.md: what the bundles that ship measured on their corpora, and what they cost on this machine.

python benchmarks/figures.py           measure and rewrite the part of README.md between the two markers,
                                       but for what was measured of these bundles on other processors
python benchmarks/figures.py --errors  rewrite only the sizes and the error rates in it, which the bundles themselves tell
python benchmarks/figures.py --check   fail where these are not those of the bundles that ship
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from card import figure, sized
from markers import between, rewrite
from shipped import SHIPPED

from vivavoce.bundle import Bundle, default_bundle

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
ERRORS_END = "<!-- errors: end -->\n"
METRICS = ("EER", "Cllr", "minDCF")


def errors(bundles: Sequence[Bundle]) -> str:
    """The bundles' sizes, and what the manifests' evaluations say, a column for each set of trials of the first."""
    found = [{(one.metric, f"{one.corpus} {one.subset}"): one for one in each.manifest.evaluations} for each in bundles]
    trials = list(dict.fromkeys(subset for _, subset in found[0]))
    counts = [f"{found[0]['EER', one].bonafide} living, {found[0]['EER', one].spoof} spoofs" for one in trials]
    rows = [
        *(described(bundle) for bundle in bundles),
        "",
        f"| | | {' | '.join(f'{one}: {count}' for one, count in zip(trials, counts, strict=True))} |",
        f"| --- | --- | {' | '.join('---:' for _ in trials)} |",
        *(
            f"| `{bundle.manifest.name}` | {metric} | {' | '.join(figure(own.get((metric, one))) for one in trials)} |"
            for bundle, own in zip(bundles, found, strict=True)
            for metric in METRICS
        ),
    ]
    return "\n".join(rows) + "\n" + ERRORS_END


def described(bundle: Bundle) -> str:
    """A line of a list: the bundle, its version, and its size."""
    manifest = bundle.manifest
    place = "embedded" if bundle.path == default_bundle() else f"the extra `{manifest.name}`"
    return f"- `{manifest.name}` {manifest.version}, {place}: {sized(bundle)}."


def costs(bundles: Sequence[Bundle], before: str) -> str:
    """What `vivavoce bench` measures on this machine, a column for each bundle, after what `before` has of others."""
    command = [sys.executable, "-m", "vivavoce", "bench", "--json"]
    runs = (subprocess.run([*command, one.path], check=True, capture_output=True, text=True) for one in bundles)
    reports = [json.loads(run.stdout) for run in runs]
    machine, onnxruntime = reports[0]["machine"], reports[0]["versions"]["onnxruntime"]
    processor = f"| {machine['processor']} ({', '.join(machine['instructions'])}), "
    names = f" | {' | '.join(f'`{one.manifest.name}` {one.manifest.version}' for one in bundles)} |"
    columns = [told(report) for report in reports]
    lines = [
        f"{processor}one thread, onnxruntime {onnxruntime}{names}",
        f"| --- | {' | '.join('---:' for _ in reports)} |",
        *(f"| {name} | {' | '.join(column[name] for column in columns)} |" for name in columns[0]),
    ]
    return "\n" + "\n\n".join([*elsewhere(before, processor, names), "\n".join(lines)]) + "\n"


def elsewhere(tables: str, processor: str, names: str) -> list[str]:
    """Those of the tables that begin with another processor, and end their first line with the same bundles."""
    found = tables.strip().split("\n\n")
    return [one for one in found if one.partition("\n")[0].endswith(names) and not one.startswith(processor)]


def told(report: dict[str, Any]) -> dict[str, str]:
    """The costs in a report of `vivavoce bench`."""
    (engine,) = report["engines"]
    factor, latency, fresh = engine["real_time_factor"], engine["window_latency"], engine["fresh_process"]
    return {
        "real-time factor, somebody speaking throughout": f"{factor['whole']:.3f}",
        "calls on one core, as many": f"{1 / factor['whole']:.0f}",
        "one window, median and 95th percentile": f"{1000 * latency['median']:.0f} and {1000 * latency['p95']:.0f} ms",
        "from the start of a process to its first verdict": f"{fresh['first_verdict']:.1f} s",
        "peak of resident memory": f"{fresh['peak_bytes'] / 1e6:.0f} MB",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    for option in ("--errors", "--check"):
        which.add_argument(option, action="store_true")
    options = parser.parse_args()
    inside = between(README, BEGIN, END)
    bundles = [Bundle(one.bundle) for one in SHIPPED.values()]
    table = errors(bundles)
    if options.check:
        return 0 if inside.startswith(table) else 1
    before = inside.split(ERRORS_END)[1]
    measured = before if options.errors else costs(bundles, before)
    rewrite(README, BEGIN, END, table + measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
