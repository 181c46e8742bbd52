"""The report of an evaluation as one page: every figure with its interval and counts, plots, and what to listen to.

The page is self-contained: no script, no font, no request; of other files it has only the players' of the worst trials, in a
folder beside it. It follows the reader's choice of light or dark, fits a narrow screen, and says in tables what the plots show.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from vivavoce.bundle import Calibration
from vivavoce.result import Segment, lowest_stretch

from ..corpora import Key
from ..evaluation import Decisions, Measured, Part, Report, Worst
from ..llr import engine_scores
from . import plots
from .wording import figure, share, spelled

__all__ = ["page"]

MEANINGS = {
    "EER": "both error rates where they are equal; lower is better, 50 % is chance",
    "minDCF": "the least cost that any threshold has; lower is better, 1 is no use",
    "actDCF": "the cost at the threshold that costs ask for; lower is better, near minDCF is well calibrated",
    "AUC": "how often a living voice scores higher than a spoof; higher is better, 0.5 is chance",
    "Cllr": "bits that the ratios cost on average; lower is better, 1 says nothing",
    "minCllr": "what Cllr would be, calibrated as well as can be on these trials; lower is better, the rest is calibration",
    "min t-DCF": "the least cost in front of a speaker verifier; lower is better",
    "HTER": "the mean of both error rates at the threshold; lower is better",
    "FNR": "living voices rejected; lower is better",
    "FPR": "spoofs accepted; lower is better",
}
"""What each figure means, by how its name begins."""

SHOWN = 40
"""Parts in a plot; the table has all."""


def page(report: Report, measured: Measured, calibration: Calibration | None, players: Mapping[str, str] | None = None) -> str:
    """The page as HTML; the same report gives the same text.

    `calibration` is the bundle's own, `measured` its scores, `players` the files of the worst trials by id, as a link has them.
    """
    subject = report.subject
    title = f"{subject.bundle} on {subject.corpus}, {subject.subset}"
    sections = [
        _summary(report),
        _section(
            "Figures",
            _figures(report),
            _decisions(report.decisions),
            _outcomes(report),
            _operating_points(report),
            _segments(report),
        ),
        _section("Worst trials", *(_worst(report, key, players or {}) for key in ("bonafide", "spoof"))),
        _section("Scores", _score_plots(report, measured, calibration)),
        _plots(_parts(spelled(by), list(parts)) for by, parts in groupby(report.parts, key=lambda part: part.by)),
        _section("How this was measured", _method(report), _environment(report)),
    ]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; media-src 'self' file:">
<title>{_text(title)}</title>
<style>{_style()}</style>
</head>
<body>
<main>
<h1>{_text(title)}</h1>
{"".join(sections)}
</main>
</body>
</html>
"""


# Sections.


def _summary(report: Report) -> str:
    subject, point = report.subject, report.threshold
    values = {one.metric: figure(one.metric, one.value) for one in report.figures}
    rejected, accepted = (values[f"{kind} at {point.name}"] for kind in ("FNR", "FPR"))
    speakers = f" of {report.speakers:,} speakers" if report.speakers else ""
    return (
        f"<p>Engine {_text(subject.engine)} on {report.bonafide:,} bona fide and {report.spoof:,} spoofed trials{speakers}. "
        f"The equal error rate is <strong>{values['EER']}</strong>. At the threshold {point.threshold:.3f} "
        f"({_text(point.name)}) {rejected} of the bona fide trials are rejected and {accepted} of the spoofs accepted.</p>"
    )


def _figures(report: Report) -> str:
    rows = [
        (one.metric, figure(one.metric, one.value), *(figure(one.metric, end) for end in (one.low, one.high)))
        for one in report.figures
    ]
    note = (
        "" if report.calibrated else "<p>The bundle has no calibration, so its scores have neither Cllr nor an actual cost.</p>"
    )
    header = ("metric", "value", "low", "high", "what it is")
    told = [(*row, _meaning(row[0])) for row in rows]
    return _table(f"Figures with {report.level:.0%} intervals", header, told) + note


def _meaning(metric: str) -> str:
    return next((text for name, text in MEANINGS.items() if metric.startswith(name)), "")


def _decisions(decisions: Sequence[Decisions]) -> str:
    rows = [
        (
            "bona fide" if one.key == "bonafide" else "spoof",
            f"{one.accepted:,}",
            f"{one.rejected:,}",
            f"{sum(one.undecided.values()):,}",
            ", ".join(f"{reason} {count:,}" for reason, count in one.undecided.items()) or "–",
        )
        for one in decisions
    ]
    return _table("Decisions with the speech gate, in trials", ("class", "accepted", "rejected", "undecided", "because"), rows)


def _outcomes(report: Report) -> str:
    header = ("", "", "right", "bona fide rejected", "spoofs accepted", "undecided")
    rows = [
        (one.by, one.name, *(share(rate) for rate in (one.accuracy, one.fnr, one.fpr, one.undecided)))
        for one in report.outcomes
    ]
    return _table("At the shipped threshold, by file format and telephone line", header, rows)


def _segments(report: Report) -> str:
    rows = [
        (one.metric, *("–" if value is None else figure(one.metric, value) for value in (one.value, one.low, one.high)))
        for one in report.segments
    ]
    return _table("Which part of an utterance is spoofed", ("metric", "value", "low", "high"), rows) if rows else ""


def _operating_points(report: Report) -> str:
    rows = [
        (
            f"{point.name}{' (default)' if point.name == report.threshold.name else ''}",
            f"{point.threshold:.3f}",
            share(point.fnr),
            share(point.fpr),
        )
        for point in report.operating_points
    ]
    header = ("operating point", "threshold", "bona fide rejected", "spoofs accepted")
    return _table("The bundle's operating points, with the rates that they have here", header, rows)


def _score_plots(report: Report, measured: Measured, calibration: Calibration | None) -> str:
    classes = (measured.bonafide, measured.spoof)
    engine = (engine_scores(calibration, measured.bonafide), engine_scores(calibration, measured.spoof))
    point = report.threshold
    drawn = [
        plots.det(*classes, report.operating_points, point.name),
        plots.histograms(engine, classes if calibration else None, point.threshold, point.name),
    ]
    if calibration:
        drawn += [plots.tippett(*classes, point.threshold), plots.entropy(*classes), plots.reliability(*classes)]
    return _plots(drawn)


def _parts(by: str, parts: Sequence[Part]) -> str:
    rows = [
        (
            part.name,
            f"{part.bonafide:,}",
            f"{part.spoof:,}",
            share(part.eer),
            share(part.fnr),
            share(part.fpr),
            f"{part.undecided:,}",
        )
        for part in sorted(parts, key=_error, reverse=True)
    ]
    header = (by, "bona fide", "spoofs", "EER", "bona fide rejected", "spoofs accepted", "undecided")
    worst = sorted(parts, key=_error, reverse=True)[:SHOWN]
    shown = [part for part in parts if part in worst]
    note = f"<p>The plot shows the {SHOWN} parts with the highest error rates.</p>" if len(parts) > SHOWN else ""
    plot = plots.by_part(by, shown)
    table = _table(f"Error rates by {by}, the worst first; intervals in brackets", header, rows)
    return _section(f"By {by}", note, plot, f"<details><summary>Table by {_text(by)}</summary>{table}</details>")


def _error(part: Part) -> float:
    return max(rate.value for rate in (part.fnr, part.fpr) if rate)


def _worst(report: Report, key: Key, players: Mapping[str, str]) -> str:
    own = [one for one in report.worst if one.key == key]
    title = "The lowest scores of bona fide trials" if key == "bonafide" else "The highest scores of spoofs"
    rows = "".join(f"<li>{_told(one, report.threshold.threshold, players.get(one.id))}</li>" for one in own)
    return f'<h3>{title}</h3><ol class="worst">{rows}</ol>'


def _told(one: Worst, threshold: float, player: str | None) -> str:
    """One trial: its id, score and origin, where its parts stand out, and its player or its path."""
    about = [one.system or one.source, one.reason and f"undecided: {one.reason}"]
    lowest = lowest_stretch(one.segments)
    where = f"stands out from {lowest.start:.2f} to {lowest.end:.2f} s" if lowest else None
    told = " · ".join(filter(None, (*about, where)))
    name = _text(one.id)
    heard = f'<audio controls preload="none" src="{_text(player)}" aria-label="{name}"></audio>' if player else ""
    strip = _strip(one.segments, threshold) if lowest else ""
    first = f"<strong>{one.score:+.2f}</strong> {name}<br><small>{_text(told)}</small>"
    return f"{first}{strip}{heard}<small>{_text(one.audio)}</small>"


def _strip(segments: Sequence[Segment], threshold: float) -> str:
    """The parts of a recording from left to right: the fuller the colour, the further a score is from the threshold."""
    end = segments[-1].end
    parts = "".join(
        f'<rect x="{100 * part.start / end:.2f}" width="{100 * (part.end - part.start) / end:.2f}" height="6"'
        f' fill="var(--{"spoof" if part.score < threshold else "bonafide"})"'
        f' opacity="{min(1, 0.25 + abs(part.score - threshold) / 6):.2f}"/>'
        for part in segments
    )
    return (
        f'<svg class="strip" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" '
        f'aria-label="scores of the parts from 0 to {end:.1f} s">{parts}</svg>'
    )


def _method(report: Report) -> str:
    return (
        "<p>Higher scores are more bona fide. Every trial counts in every figure but the decisions: one that the detector "
        "leaves undecided, for want of speech or another reason, has the mean score of all its windows. EER, minDCF and actDCF "
        "follow ASVspoof 5 (P(spoof) 0.05, a miss costs 1, a false alarm 10). By system and by vocoder, a part is the "
        f"spoofs of one against all bona fide trials. Intervals have the level {report.level:.0%}: those of rejected and "
        f"accepted shares are Clopper and Pearson's, the others come from {report.draws:,} draws of the bootstrap over "
        "speakers, which has nothing to vary where no score is on the wrong side.</p>"
    )


def _environment(report: Report) -> str:
    subject = report.subject
    known = {"corpus": f"{subject.corpus}, {subject.subset}", "date": report.date, "command": report.command}
    known |= {"bundle": subject.bundle, "manifest sha256": subject.manifest_sha256, "engine": subject.engine}
    rows = [(name.replace("_", " "), value) for name, value in {**known, **subject.environment}.items() if value]
    return _table("When, what and with what", ("what", "which"), rows)


# HTML.


def _section(title: str, *content: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{''.join(content)}</section>"


def _plots(drawn: Iterable[str]) -> str:
    """As many beside each other as the screen is wide."""
    return f'<div class="plots">{"".join(drawn)}</div>'


def _table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls by itself where it is wider than the screen; on a narrow one each row is a paragraph."""
    head = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{_text(first)}</th>{"".join(map(_cell, header[1:], rest))}</tr>' for first, *rest in rows
    )
    name = _text(caption)
    return (
        f'<div class="table" role="region" tabindex="0" aria-label="{name}"><table><caption>{name}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(name: str, value: str) -> str:
    return f'<td data-name="{_text(name)}">{_text(value)}</td>'


def _text(value: str) -> str:
    return html.escape(value)


def _style() -> str:
    light, dark = ("".join(f"--{name}:{pair[number]};" for name, pair in plots.COLOURS.items()) for number in (0, 1))
    return f"""
:root{{color-scheme:light dark;--paper:#fff;{light}}}
@media (prefers-color-scheme:dark){{:root{{--paper:#14181d;{dark}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}}
main{{max-width:70rem;margin:0 auto;padding:1rem}}
h1{{font-size:1.6rem;line-height:1.2;overflow-wrap:anywhere}}
h2{{font-size:1.2rem;margin:2rem 0 .5rem}}
.plots{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:1rem 2rem;align-items:start}}
.plots>*{{min-width:0}}
figure{{margin:0;max-width:32rem}}
figure svg{{display:block;width:100%;height:auto;overflow:visible}}
figcaption{{font-size:.85rem;color:var(--muted)}}
figure text{{font-family:system-ui,sans-serif!important}}
.table{{overflow-x:auto;margin:.75rem 0;
background:linear-gradient(to left,var(--paper) 1rem,transparent) right local no-repeat,
linear-gradient(to left,var(--line),transparent 1rem) right scroll no-repeat}}
table{{width:100%;border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}}
caption{{text-align:left;color:var(--muted);padding:.25rem 0}}
th,td{{text-align:left;padding:.25rem .9rem .25rem 0;border-bottom:1px solid var(--line);white-space:nowrap}}
th{{font-weight:600}}tbody th{{font-weight:400}}
td:last-child{{white-space:normal;min-width:12rem}}
h3{{font-size:1rem;margin:1rem 0 .5rem}}
.worst{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:1rem 2rem;padding:0;margin:0;
list-style:none;font-size:.9rem}}
.worst li{{min-width:0;overflow-wrap:anywhere}}.worst small{{color:var(--muted)}}
.worst audio,.strip{{display:block;width:100%;margin:.25rem 0}}.worst audio{{height:2.5rem}}.strip{{height:.75rem}}
summary{{cursor:pointer;color:var(--muted)}}
@media (max-width:40rem){{thead{{position:absolute;clip-path:inset(50%)}}table,tbody{{display:block}}
caption{{display:block}}tr{{display:block;border-bottom:1px solid var(--line);padding:.35rem 0}}
th,td{{display:inline-block;border:0;padding:0 .9rem 0 0;white-space:normal;overflow-wrap:anywhere}}
tbody th{{display:block;font-weight:600}}td:last-child{{min-width:0}}
td::before{{content:attr(data-name) " ";color:var(--muted)}}}}
"""
