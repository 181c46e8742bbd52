"""The verbs of the command `vivavoce` that need a corpus. Heavy libraries are imported when a verb runs, not for its help."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from vivavoce.bundle import Bundle, bundle_path
from vivavoce.bundle_writing import descended, require_new
from vivavoce.errors import ConfigurationError, needs_extra
from vivavoce.files import replacing
from vivavoce.machine import machine
from vivavoce.terminal.console import BAD, GOOD, console, grid, show
from vivavoce.terminal.progress_bars import bars

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vivavoce.bundle import Manifest

    from ..corpora import Trial
    from ..evaluation import Report, Subject
    from ..scoring import Scored, Scorer

__all__ = ["calibrate_command", "compare_command", "evaluate_command"]

EXTRA = "calibrate"

BundleFolder = Annotated[Path, typer.Argument(help="A bundle's folder, or default: the embedded one.")]
CorpusFolder = Annotated[Path, typer.Argument(help="A corpus' folder.")]
Layout = Annotated[str | None, typer.Option(help="The corpus' layout; recognised by its lists by default.")]
Only = Annotated[
    list[str] | None, typer.Option(help="Leave out trials that are told to be others, such as seen=no. May be given often.")
]
Name = Annotated[str | None, typer.Option(help="What to call the corpus; its folder's name by default.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes that score at the same time; one a core by default.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads for one inference.")]
Precision = Annotated[str | None, typer.Option(help="The engine, where the bundle has several.")]
Draws = Annotated[int | None, typer.Option(min=1, help="Draws of the bootstrap; 1,000 by default, fewer for large corpora.")]
OnRay = Annotated[bool, typer.Option("--ray", help="Score with Ray, here or on the cluster that RAY_ADDRESS names.")]


def evaluate_command(
    bundle: BundleFolder,
    corpus: CorpusFolder,
    layout: Layout = None,
    subset: Annotated[str | None, typer.Option(help="The subset; what the field reports by default.")] = None,
    only: Only = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder for scores and report; give the same one to go on after an interruption.")
    ] = None,
    name: Name = None,
    operating_point: Annotated[str | None, typer.Option(help="The threshold to report at; the bundle's default.")] = None,
    asv: Annotated[
        Path | None,
        typer.Option(
            help="Scores of a speaker verifier, for t-DCF and t-EER: SYSTEM KIND SCORE a line, as ASVspoof 2019; for a-DCF "
            "too, a table with filename, asv-label and asv-score."
        ),
    ] = None,
    submission: Annotated[
        str | None, typer.Option(help="Write the scores as a challenge takes them too: asvspoof5, ctrsvdd, add, ….")
    ] = None,
    telephone: Annotated[
        list[str] | None,
        typer.Option(
            help="Score everything through a telephone line too: g711-alaw, gsm-fr, amr-nb, …, or all. May be given often."
        ),
    ] = None,
    segment_hop: Annotated[
        float | None, typer.Option(help="PartialSpoof: score segments of so many seconds too, such as 0.32, in one process.")
    ] = None,
    jobs: Jobs = None,
    threads: Threads = 1,
    precision: Precision = None,
    draws: Draws = None,
    ray: OnRay = False,
    json: Annotated[bool, typer.Option("--json", help="The report as JSON, instead of tables.")] = False,
) -> int:
    """Score a corpus and report error rates.

    By system, codec, source, duration, noise and language; give the same --out to go on after an interruption.
    """
    with needs_extra(EXTRA):
        from ..challenges.files import find_submission, read_verifier
        from ..corpora import read_corpus
        from ..evaluation import evaluate
        from ..scoring import Scorer
        from .tables import evaluation_tables

    bundle = bundle_path(bundle)
    opened = Bundle(bundle)
    manifest = opened.manifest
    point = opened.operating_point(operating_point or manifest.default_operating_point)
    verifier = read_verifier(asv) if asv else None
    if submission:
        find_submission(submission)
    trials = read_corpus(corpus, layout=layout, subset=subset, only=only or ())
    scorer = Scorer(bundle, precision, threads)
    subject = _subject(scorer, trials, corpus, name, subset, only)
    folder = out or Path(f"{manifest.name}-{subject.corpus}-{subject.subset}")
    scores = _scored(trials, scorer, folder / "journal.jsonl", jobs, ray)
    lines = {
        name: _scored(trials, replace(scorer, line=name), folder / f"journal-{name}.jsonl", jobs, ray)
        for name in _telephone_lines(telephone or [])
    }
    report = evaluate(trials, scores, manifest, subject, operating_point=point, verifier=verifier, lines=lines, draws=draws)
    report = report.model_copy(update={"date": f"{date.today()}", "command": _command()})
    if segment_hop:
        report = _located(report, trials, scores, scorer, corpus, segment_hop)
    _write_evaluation(folder, trials, scores, manifest, report, submission)
    if json:
        print(report.model_dump_json())
    else:
        show(
            console(), *evaluation_tables(report), grid({"written to": str(folder), "read first": str(folder / "report.html")})
        )
    return GOOD


def calibrate_command(
    bundle: BundleFolder,
    corpus: CorpusFolder,
    out: Annotated[Path, typer.Option(help="The folder of the new bundle; it must not exist.")],
    layout: Layout = None,
    subset: Annotated[
        str | None, typer.Option(help="The subset to fit on, never the one that is reported: dev, or all of two folders.")
    ] = None,
    only: Only = None,
    test: Annotated[
        list[str] | None, typer.Option(help="Another subset whose figures the manifest gets too; may be given often.")
    ] = None,
    name: Name = None,
    prior: Annotated[float, typer.Option(help="P(bona fide), for the fit and for probabilities.")] = 0.5,
    default: Annotated[str | None, typer.Option(help="The default operating point; the bundle's own, or else eer.")] = None,
    bundle_name: Annotated[str | None, typer.Option(help="The new bundle's name; its folder's by default.")] = None,
    bundle_version: Annotated[str, typer.Option(help="The new bundle's version.")] = "1",
    monitor: Annotated[
        bool, typer.Option("--monitor", help="Let streams hear the trials too: settings of a monitor, with their false alarms.")
    ] = False,
    scores: Annotated[Path | None, typer.Option(help="The folder for scores; OUT.scores by default.")] = None,
    jobs: Jobs = None,
    threads: Threads = 1,
    precision: Precision = None,
    draws: Draws = None,
    ray: OnRay = False,
) -> int:
    """Fit scores and thresholds to a corpus, into a new bundle.

    Scores become log-likelihood ratios, thresholds have error rates. Give the same --scores to go on after an interruption.
    """
    with needs_extra(EXTRA):
        from ..calibrate import calibrated, figures_on, rewritten
        from ..corpora import read_corpus
        from ..scoring import Scorer
        from .tables import calibration_tables

    require_new(out)
    bundle = bundle_path(bundle)
    opened = Bundle(bundle)
    fitted = read_corpus(corpus, layout=layout, subset=subset or "dev", or_all=subset is None, only=only or ())
    subset = subset or ("dev" if any(trial.subset for trial in fitted) else "all")
    subset, tests = ", ".join([subset, *(only or ())]), test or []
    if subset in tests:
        raise ConfigurationError(f'The subset "{subset}" is fitted on. Test on another one, or leave --test out.')
    scorer = Scorer(bundle, precision, threads)
    folder = scores or out.with_name(f"{out.name}.scores")
    chosen = {subset: fitted} | {one: read_corpus(corpus, layout=layout, subset=one) for one in tests}
    found = _scored_once(chosen, scorer, folder, jobs, ray)
    subjects = {one: _subject(scorer, trials, corpus, name, one) for one, trials in chosen.items()}
    manifest = calibrated(
        opened.manifest, chosen[subset], found[subset], subjects[subset], prior=prior, default=default, draws=draws
    )
    for one in tests:
        figures = figures_on(chosen[one], found[one], opened.manifest, manifest, subjects[one], draws=draws)
        manifest = manifest.model_copy(update={"evaluations": (*manifest.evaluations, *figures)})
    if monitor:
        last = list(chosen)[-1]
        manifest = _monitored(opened, manifest, chosen[subset], chosen[last], f"{subjects[subset].corpus} {last}")
    written = rewritten(opened, descended(manifest, opened, bundle_name or out.resolve().name, bundle_version), out)
    show(console(), *calibration_tables(written.manifest), grid({"written to": str(out), "scores in": str(folder)}))
    return GOOD


def compare_command(
    candidate: BundleFolder,
    reference: Annotated[Path, typer.Argument(help="The folder of the bundle that the first is to stand in for.")],
    corpus: CorpusFolder,
    limits: Annotated[Path | None, typer.Option(help="Limits (TOML); where one is broken the exit code is 1.")] = None,
    layout: Layout = None,
    subset: Annotated[str | None, typer.Option(help="The subset; what the field reports by default.")] = None,
    only: Only = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder for scores and outcome; give the same one to go on after an interruption.")
    ] = None,
    into: Annotated[Path | None, typer.Option(help="A new folder: the candidate's bundle, with the outcome in it.")] = None,
    name: Name = None,
    jobs: Jobs = None,
    threads: Threads = 1,
    precision: Precision = None,
    reference_precision: Annotated[str | None, typer.Option(help="The reference's engine, where it has several.")] = None,
    draws: Draws = None,
    ray: OnRay = False,
    json: Annotated[bool, typer.Option("--json", help="The outcome as JSON, instead of tables.")] = False,
) -> int:
    """Compare two bundles on a corpus.

    Or two engines of one: the gate for a quantized engine. Give the same --out to go on after an interruption.

    Exit code: 0 the limits are kept or none are set, 1 at least one is broken, 2 the command could not run.
    """
    with needs_extra(EXTRA):
        from ..calibrate import rewritten
        from ..corpora import read_corpus
        from ..evaluation import with_durations
        from ..regression import Side, compare, load_limits
        from ..scoring import Scorer
        from .tables import regression_tables

    if into:
        require_new(into)
    candidate, reference = bundle_path(candidate), bundle_path(reference)
    # Both, before hours of scoring with the first.
    opened, _ = Bundle(candidate), Bundle(reference)
    allowed = load_limits(limits) if limits else None
    scorers = Scorer(candidate, precision, threads), Scorer(reference, reference_precision, threads)
    trials = read_corpus(corpus, layout=layout, subset=subset, only=only or ())
    subject = _subject(scorers[0], trials, corpus, name, subset, only)
    folder = out or Path(f"{candidate.resolve().name}-against-{reference.resolve().name}-{subject.corpus}-{subject.subset}")
    journals = (folder / "candidate.jsonl", folder / "reference.jsonl")
    scores = [_scored(trials, *pair, jobs, ray) for pair in zip(scorers, journals, strict=True)]
    sides = [Side.of(*pair) for pair in zip(scorers, scores, strict=True)]
    timed = with_durations(trials, scores[0])
    found = compare(timed, *sides, corpus=subject.corpus, subset=subject.subset, limits=allowed, draws=draws)
    with replacing(folder / "regression.json") as file:
        file.write(found.model_dump_json(indent=2) + "\n")
    if into:
        rewritten(opened, opened.manifest.model_copy(update={"regression": found}), into)
    if json:
        print(found.model_dump_json())
    else:
        show(console(), *regression_tables(found), grid({"written to": str(folder)}))
    return BAD if found.broken else GOOD


def _command() -> str:
    """What was called, as a shell would take it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _located(
    report: Report, trials: Sequence[Trial], scores: Sequence[Scored], scorer: Scorer, corpus: Path, hop: float
) -> Report:
    """The report with what segments tell, and with those of the worst trials."""
    from ..challenges.partialspoof import located, segment_figures

    with bars() as stage:
        places = located(trials, scorer.detector(), hop, stage("segments"))
    found = segment_figures(trials, scores, places, corpus, hop, draws=report.draws)
    worst = tuple(one.model_copy(update={"segments": places[one.id]}) for one in report.worst)
    return report.model_copy(update={"segments": found, "worst": worst})


def _write_evaluation(
    folder: Path,
    trials: Sequence[Trial],
    scores: Sequence[Scored],
    manifest: Manifest,
    report: Report,
    submission: str | None,
) -> None:
    """Scores, decisions and report, each a file of the folder; and the scores as a challenge takes them."""
    import numpy as np

    from ..challenges.files import write_submission
    from ..decisions import verdicts, write_predictions
    from ..evaluation import Measured
    from ..report.page import page
    from ..report.players import players
    from ..scoring import write_scores

    write_scores(folder / "scores.tsv", scores)
    told = verdicts(scores, manifest, report.threshold)
    write_predictions(folder / "predictions.csv", trials, scores, told, manifest, report.threshold.threshold)
    if submission:
        write_submission(submission, folder, trials, (one.score for one in scores))
    measured = Measured.of(trials, np.array([one.score for one in scores]))
    heard = players(report.worst, folder / "worst")
    with replacing(folder / "report.json") as file, replacing(folder / "report.html") as html:
        file.write(report.model_dump_json(indent=2) + "\n")
        html.write(page(report, measured, manifest.calibration, heard))


def _monitored(opened: Bundle, manifest: Manifest, first: Sequence[Trial], second: Sequence[Trial], corpus: str) -> Manifest:
    """The manifest with what streams of the calibrated bundle bring, whose settings are chosen on the first trials."""
    from ..calibrate import rewritten
    from ..monitoring import monitored

    with TemporaryDirectory() as folder, bars() as stage:
        made = rewritten(opened, manifest, Path(folder) / "calibrated")
        rows = monitored(made.path, first, second, corpus=corpus, advance=stage("streams"))
    return manifest.model_copy(update={"monitoring": rows})


def _telephone_lines(names: Sequence[str]) -> list[str]:
    """The lines that are asked for, and are there; one that is named and is not there is an error."""
    from ..telephone import LINES, available

    if "all" in names:
        return [name for name in LINES if available(name)]
    if missing := [name for name in names if not available(name)]:
        raise ConfigurationError(f'No codec for {", ".join(missing)} is here. Run: pip install "vivavoce[formats]"')
    return list(names)


def _subject(
    scorer: Scorer,
    trials: Sequence[Trial],
    corpus: Path,
    name: str | None,
    subset: str | None,
    only: Sequence[str] | None = None,
) -> Subject:
    """What is scored, on what. Raises CorpusError, before hours of scoring, where a class has one trial."""
    from ..corpora import CorpusError
    from ..evaluation import Subject

    for key, count in Counter(trial.key for trial in trials).items():
        if count < 2:
            raise CorpusError(f"One of the {len(trials)} trials is {key}, which has no interval. Give two of each at least.")
    subsets = {trial.subset or "all" for trial in trials}
    chosen = subset or (subsets.pop() if len(subsets) == 1 else "all")
    return Subject.of(scorer, name or corpus.resolve().name, ", ".join([chosen, *(only or ())]))


def _scored_once(
    chosen: Mapping[str, Sequence[Trial]], scorer: Scorer, folder: Path, jobs: int | None, ray: bool
) -> dict[str, list[Scored]]:
    """The scores of each subset; what several of them hold is scored with the first."""
    known: dict[Path, Scored] = {}
    found = {}
    for name, trials in chosen.items():
        fresh = [trial for trial in trials if trial.audio not in known]
        scores = _scored(fresh, scorer, folder / f"{name}.jsonl", jobs, ray) if fresh else []
        known |= zip((trial.audio for trial in fresh), scores, strict=True)
        found[name] = [known[trial.audio] for trial in trials]
    return found


def _scored(trials: Sequence[Trial], scorer: Scorer, journal: Path, jobs: int | None, ray: bool) -> list[Scored]:
    """The scores, with a bar on stderr where that is a terminal."""
    from ..scoring import score_corpus

    with bars() as stage:
        return score_corpus(
            trials,
            scorer,
            journal=journal,
            jobs=jobs or machine().cores,
            pool="ray" if ray else "processes",
            advance=stage(journal.stem),
        )
