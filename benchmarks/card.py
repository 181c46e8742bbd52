"""Writes what a bundle measured into docs/: the model card's summary, and error rates by part of a corpus, failures, alarms.

python benchmarks/card.py CORPUS             measure the embedded bundle on dev and eval, rewrite what is between the markers
python benchmarks/card.py CORPUS --bundle B  the same for a bundle that is to be embedded
python benchmarks/card.py --summary          rewrite the card's summary alone, which the bundle itself tells
python benchmarks/card.py --check            fail where these parts do not tell of the bundles that ship

Reports, scores and streams are kept under --out, in a folder for each bundle, and are not measured again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

from markers import between, rewrite
from monitoring import LONG, Heard, Monitored, alarmed, below, delay, false_alarms, hourly, monitor, percent, seconds, table
from shipped import SHIPPED

from vivavoce.band import symmetric
from vivavoce.bundle import MANIFEST, Bundle, Evaluation, Manifest, Rate, default_bundle
from vivavoce.files import replacing, sha256
from vivavoce_calibration.breakdown import RANGES
from vivavoce_calibration.commands.verbs import evaluate_command
from vivavoce_calibration.corpora import Trial, read_corpus
from vivavoce_calibration.evaluation import Part, Report
from vivavoce_calibration.report.wording import share, spelled
from vivavoce_calibration.scoring import Scorer

ROOT = Path(__file__).parent.parent
MARKERS = "<!-- card: begin -->\n", "<!-- card: end -->\n"
SUMMARY = "<!-- summary: begin -->\n", "<!-- summary: end -->\n"
SUBSETS = ("dev", "eval")
FIELDS = ("system_type", "language", "duration", "codec", "snr")
ENOUGH = 15
"""Trials of a class from which its error rate is told."""
TOO_OFTEN = {"source": 0.25, "system": 0.5}
"""The share of living voices rejected, and of spoofs accepted, beyond which a source or a system is named."""
TOLD = tuple(f"accept fpr={rate}%, reject fnr={rate}%" for rate in (1, 5))
"""The bands that the model card tells of."""
SYSTEM_TYPES = {
    "codec_lm": "language models over codec tokens",
    "tts_concat": "text to speech, concatenative",
    "tts_flow": "text to speech, flow matching",
    "tts_hmm": "text to speech, HMM",
    "tts_neural": "text to speech, neural",
    "vc": "voice conversion",
    "vocoder": "vocoders",
}
CLIPS = """Clips of `{corpus}`, {counts}; scores and thresholds were fitted on `{fitted}`. Brackets hold 95 % intervals: of
the EER the bootstrap's over speakers, of shares Clopper and Pearson's, of alarms Poisson's, which takes them for independent.
Living speech rejected is the FNR, spoofs accepted the FPR; rates of fewer than {enough} clips are left out. An undecided clip
counts with the score of its windows. The signal-to-noise ratio is estimated: the level of the speech over that of the
quietest tenth of the clip. A source with a slash is the human references on that project's demonstration page."""
STREAMS = """Streams with the default policy, a window every {hop:g} s. False alarms are those of living speech, the clips of a
source one after another: {hours}. While a verdict of spoof stands nothing raises another alarm, so beside them stands the share
of windows below the threshold. It is not the FNR, for most windows of a stream have a past. Then comes the share of streams
with an alarm, and the median time until a spoofed one raises it. Each stream is clips of one source or system until {long:g} s
are full."""


class Measured(NamedTuple):
    """What is known of a subset: its trials, the score of each, the report on them, and what streams gave."""

    trials: list[Trial]
    scores: dict[str, float]
    report: Report
    streams: Monitored


def measure(bundle: Path, corpus: Path, name: str | None, subset: str, out: Path) -> Measured:
    """Scores a subset, or takes up what `out` holds of it."""
    folder = out / sha256((bundle / MANIFEST).read_bytes())[:12] / subset
    evaluate_command(bundle, corpus, subset=subset, out=folder, name=name, jobs=1)
    trials = read_corpus(corpus, subset=subset)
    rows = (line.split("\t") for line in (folder / "scores.tsv").read_text(encoding="utf-8").splitlines()[1:])
    kept = folder / "streams.json"
    streams = Monitored.model_validate_json(kept.read_bytes()) if kept.exists() else None
    if streams is None or streams.identity != Scorer(bundle).identity():
        streams = monitor(bundle, trials, print)
        with replacing(kept) as file:
            file.write(streams.model_dump_json())
    report = Report.model_validate_json((folder / "report.json").read_bytes())
    return Measured(trials, {name: float(score) for name, score in rows}, report, streams)


# What is written.


def subject(bundle: Bundle) -> str:
    """What was measured, which the bundle alone tells: the beginning of the part, by which --check knows it."""
    manifest = bundle.manifest
    engine = manifest.engines[0]
    point = bundle.operating_point(manifest.default_operating_point)
    return (
        f"Measured on `{manifest.name}` {manifest.version} (`{engine.file}`, sha256 `{engine.sha256[:16]}`) at its default "
        f"operating point `{point.name}`: bona fide from a score of {signed(point.threshold, 3)}.\n"
    )


def card(bundle: Bundle, found: dict[str, Measured]) -> str:
    """The whole part."""
    manifest = bundle.manifest
    point = bundle.operating_point(manifest.default_operating_point)
    fitted = manifest.calibration.corpus if manifest.calibration else point.corpus
    counts = " and ".join(
        f"{subset} ({one.report.bonafide} bona fide, {one.report.spoof} spoofed)" for subset, one in found.items()
    )
    corpus = next(iter(found.values())).report.subject.corpus
    streams = {subset: one.streams for subset, one in found.items()}
    hours = ", ".join(f"{sum(one.seconds for one in own.sources) / 3600:.2f} h in {subset}" for subset, own in streams.items())
    blocks = [
        subject(bundle).rstrip(),
        paragraph(CLIPS.format(corpus=corpus, counts=counts, fitted=fitted, enough=ENOUGH)),
        lines(("", *columns(found)), [("all", *overall(found))]),
        *(by_part(found, field) for field in FIELDS),
        *failures(found, "source"),
        *failures(found, "system"),
        "## Monitoring",
        paragraph(STREAMS.format(hop=manifest.audio.hop / manifest.audio.sample_rate, hours=hours, long=LONG)),
        table(streams, manifest.operating_points).rstrip(),
        f"At `{point.name}`, by source of living speech of a minute or more:",
        by_source(streams, point.threshold),
        f"At `{point.name}`, by type of system:",
        by_system_type(found, point.threshold),
    ]
    return "\n\n".join(blocks) + "\n"


def columns(found: Iterable[str]) -> list[str]:
    return [f"{subset}: {what}" for subset in found for what in ("EER", "living rejected", "spoofs accepted")]


def overall(found: dict[str, Measured]) -> Iterator[str]:
    for one in found.values():
        eer = next(figure for figure in one.report.figures if figure.metric == "EER")
        rates = next(point for point in one.report.operating_points if point.name == one.report.threshold.name)
        yield share(Rate(value=eer.value, low=eer.low, high=eer.high, trials=eer.bonafide + eer.spoof))
        yield from (told(rates.fnr), told(rates.fpr))


def summary(bundle: Bundle) -> str:
    """The model card's figures, which the manifest tells."""
    manifest = bundle.manifest
    subsets = list(dict.fromkeys((one.corpus, one.subset) for one in manifest.evaluations))
    found = {(one.metric.split()[0], one.corpus, one.subset): one for one in manifest.evaluations}
    counts = {one: found["EER", *one] for one in subsets}
    header = [f"{one[1]}: {counts[one].bonafide} living, {counts[one].spoof} spoofs" for one in subsets]
    rows = [
        (name, *(figure(found.get((metric, *one))) for one in subsets))
        for metric, name in (("EER", "EER"), ("Cllr", "Cllr, bits"), ("minDCF", "minDCF"))
    ]
    measured = manifest.operating_points[0].corpus
    blocks = [
        f"`{manifest.name}` {manifest.version}: {sized(bundle)}. 95 % intervals in brackets.",
        lines(("", *header), rows),
    ]
    bands = [
        (f"{who}, {band.name.rpartition('=')[2]}", *map(share, shares.all()))
        for band in symmetric(bundle)
        for who, shares in (("living", band.living), ("synthetic", band.synthetic))
        if shares and band.name in TOLD
    ]
    if bands:
        blocks += [
            f"What two thresholds do, `accept` by FPR and `reject` by FNR, on {measured}:",
            lines(("voices, both rates", "accepted", "undecided", "rejected"), bands),
        ]
    if manifest.monitoring:
        blocks += [
            f"Hours of listening, on {manifest.monitoring[0].corpus}:",
            lines(
                ("false alarms an hour of living speech", "windows in a row", "below", "spoofs caught within a minute"),
                watched(manifest),
            ),
        ]
    return "\n\n".join(blocks) + "\n"


def sized(bundle: Bundle) -> str:
    """How large a bundle is."""
    (engine, *_) = bundle.manifest.engines
    size = (bundle.path / engine.file).stat().st_size / 1e6
    return f"{bundle.manifest.model.parameters / 1e6:.1f} million parameters, {size:.1f} MB as {engine.precision.upper()}"


def watched(manifest: Manifest) -> Iterator[tuple[str, ...]]:
    """The settings of a monitor, without those that another beats in both."""
    most = -1.0
    for row in sorted(manifest.monitoring, key=lambda row: (row.false_alarms.value, -row.caught.value)):
        if row.caught.value <= most:
            continue
        most, false = row.caught.value, row.false_alarms
        rate = f"{false.value:.1f} ({false.low:.1f} to {false.high:.1f}), {false.count} in {false.hours:.2f} h"
        windows = f"{row.alarm_after}, one every {row.hop:g} s"
        yield rate, windows, signed(row.threshold, 2), told(row.caught)


def figure(one: Evaluation | None) -> str:
    if one is None:
        return "–"
    scale, digits, unit = (100, 1, " %") if one.metric == "EER" else (1, 3, "")
    value, low, high = (f"{scale * number:.{digits}f}" for number in (one.value, one.low, one.high))
    return f"{value}{unit} ({low} to {high})"


def told(rate: Rate | None) -> str:
    """A rate with its interval and count, or a dash where it is of too few."""
    return f"{share(rate)} of {rate.trials}" if rate and rate.trials >= ENOUGH else "–"


def by_part(found: dict[str, Measured], field: str) -> str:
    """The error rates of each part, in all subsets, as a table."""
    parts = {subset: {part.name: part for part in one.report.parts if part.by == field} for subset, one in found.items()}
    names = dict.fromkeys(name for own in parts.values() for name in own)
    ordered = sorted(names, key=lambda name: RANGES.get(field, {}).get(name, 0.0))
    rows = [(readable(name), *(cell for own in parts.values() for cell in cells(own.get(name)))) for name in ordered]
    return lines((spelled(field), *columns(found)), rows)


def cells(part: Part | None) -> tuple[str, str, str]:
    if part is None:
        return "–", "–", "–"
    few = min(part.bonafide, part.spoof) < ENOUGH
    return "–" if few else share(part.eer), told(part.fnr), told(part.fpr)


def readable(name: str) -> str:
    """The names of the corpus's types of systems and codecs, in words."""
    rate = name.removeprefix("ogg")
    return f"Opus, {rate} kbit/s" if rate != name else SYSTEM_TYPES.get(name, "FLAC" if name == "flac" else name)


def failures(found: dict[str, Measured], field: str) -> Iterator[str]:
    """What is wrong more often than `TOO_OFTEN`, in a sentence and a table with an example of each, the worst first."""
    rated = [
        (rate, subset, part.name)
        for subset, one in found.items()
        for part in one.report.parts
        if part.by == field and (rate := part.fnr if field == "source" else part.fpr) and rate.trials >= ENOUGH
    ]
    worst = sorted((one for one in rated if one[0].value > TOO_OFTEN[field]), key=lambda one: -one[0].value)
    done = "of living speech with more than a quarter rejected" if field == "source" else "that pass more often than not"
    yield f"**{field.title()}s {done}: {len(worst)} of the {len(rated)} with {ENOUGH} clips or more.**"
    if worst:
        rows = [(f"{name} ({subset})", told(rate), example(found[subset], field, name)) for rate, subset, name in worst]
        yield lines((field, "rejected" if field == "source" else "accepted", "furthest off, with its score"), rows)


def example(one: Measured, field: str, name: str) -> str:
    """The clip of a source, or of a system, whose score is furthest on the wrong side."""
    living = field == "source"
    own = [trial.id for trial in one.trials if getattr(trial, field) == name and (trial.key == "bonafide") == living]
    clip = (min if living else max)(own, key=lambda name: one.scores[name])
    return f"`{clip}`, {signed(one.scores[clip], 2)}"


def by_source(streams: dict[str, Monitored], threshold: float) -> str:
    rows = []
    for subset, own in streams.items():
        long = [one for one in own.sources if one.seconds >= 60]
        for one in sorted(long, key=lambda one: -false_alarms([one], threshold).value):
            alarms = len(one.alarms(threshold))
            rows.append(
                (
                    f"{one.name} ({subset})",
                    f"{alarms} in {one.seconds:.0f} s",
                    hourly(false_alarms([one], threshold)),
                    percent(below([one], threshold)),
                )
            )
    return lines(("source", "false alarms", "an hour", "windows below"), rows)


def by_system_type(found: dict[str, Measured], threshold: float) -> str:
    rows = []
    for subset, one in found.items():
        types = {trial.system: trial.system_type or "unknown" for trial in one.trials if trial.key == "spoof"}
        for name in sorted(set(types.values())):
            own: list[Heard] = [heard for heard in one.streams.joined if heard.key == "spoof" and types[heard.name] == name]
            if len(own) >= ENOUGH:
                cells = told(alarmed(own, threshold)), seconds(delay(own, threshold))
                rows.append((f"{readable(name)} ({subset})", *cells))
    return lines(("type of system", "streams with an alarm", "after"), rows)


def signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def paragraph(text: str) -> str:
    return fill(" ".join(text.split()), width=140, break_on_hyphens=False)


def lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, without the rows and columns that hold nothing but dashes."""
    rows = [row for row in rows if set(row[1:]) != {"–"}]
    kept = [number for number in range(len(header)) if number == 0 or any(row[number] != "–" for row in rows)]
    rule = ["---", *["---:"] * (len(kept) - 1)]
    written = [[row[number] for number in kept] for row in (header, *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (written[0], rule, *written[1:]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="?", type=Path, help="a corpus that the builders' tools read, with dev and eval")
    parser.add_argument("--bundle", type=Path, help="default: the embedded bundle; with --check all that ship")
    parser.add_argument("--name", help="what to call the corpus; default: its folder's name")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "card", help="where to keep scores; default: runs/card")
    parser.add_argument("--page", type=Path, help="the page with the markers; default: that of the bundle's name in docs/")
    parser.add_argument("--card", type=Path, help="the page with the summary; default: that of the bundle's name in docs/")
    parser.add_argument("--summary", action="store_true", help="rewrite the summary alone")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a part is of another bundle")
    options = parser.parse_args()
    if options.check and not options.bundle:
        return 0 if all(told_of(*one) for one in SHIPPED.values()) else 1
    bundle = Bundle(options.bundle or default_bundle())
    pages = SHIPPED.get(bundle.manifest.name)
    page, own = options.page or (pages and pages.page), options.card or (pages and pages.card)
    if page is None or own is None:
        parser.error(f'No bundle "{bundle.manifest.name}" ships. Name its pages with --page and --card.')
    place = bundle.path
    if options.check:
        return 0 if told_of(place, own, page) else 1
    if options.summary:
        rewrite(own, *SUMMARY, summary(bundle))
        return 0
    if options.corpus is None:
        parser.error("Name a corpus, --summary or --check.")
    found = {subset: measure(place, options.corpus, options.name, subset, options.out) for subset in SUBSETS}
    rewrite(page, *MARKERS, card(bundle, found))
    rewrite(own, *SUMMARY, summary(bundle))
    return 0


def told_of(place: Path, own: Path, page: Path) -> bool:
    """Whether a card and a page tell of the bundle that lies there."""
    bundle = Bundle(place)
    return between(page, *MARKERS).startswith(subject(bundle)) and between(own, *SUMMARY) == summary(bundle)


if __name__ == "__main__":
    sys.exit(main())
