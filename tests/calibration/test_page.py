"""Evaluation, the page that tells it, and calibration of a bundle: figures by definition, pages against hostile names."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from bundles import make_bundle
from loudness_corpus import make_corpus
from rich.console import Console

from vivavoce import ConfigurationError, Detector
from vivavoce.bundle import MANIFEST, Bundle, Manifest
from vivavoce.result import Segment
from vivavoce.terminal.console import show
from vivavoce_calibration.calibrate import calibrated
from vivavoce_calibration.challenges.tandem import asv_error_rates_at_eer, min_adcf, min_tdcf_2021, t_eer
from vivavoce_calibration.commands.tables import evaluation_tables
from vivavoce_calibration.commands.verbs import calibrate_command, evaluate_command
from vivavoce_calibration.corpora import CorpusError, Trial, read_corpus
from vivavoce_calibration.evaluation import Measured, Report, Subject, evaluate
from vivavoce_calibration.llr import min_cllr
from vivavoce_calibration.metrics import (
    act_dcf,
    cllr,
    eer,
    error_rates,
    min_dcf,
    roc_auc,
)
from vivavoce_calibration.operating_points import clopper_pearson
from vivavoce_calibration.report.page import page
from vivavoce_calibration.report.players import players
from vivavoce_calibration.scoring import Scored

SUBJECT = Subject(bundle="loudness 1", manifest_sha256="0" * 64, engine="float32.onnx", corpus="made up", subset="eval")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("report") / "bundle")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("report") / "corpus", bonafide=12, spoof=12, seconds=1.1)


def scored(system: str = "S") -> tuple[list[Trial], list[Scored]]:
    """90 bona fide trials around 1 and 120 spoofs of three systems around -1; every tenth is undecided."""
    rng = np.random.default_rng(2)
    trials, scores = [], []
    for number in range(210):
        genuine = number < 90
        name = f"t{number}"
        made, kind = (None, None) if genuine else (f"{system}{number % 3}", ("vc", "tts", "tts")[number % 3])
        codec = ("flac", "opus")[number % 2] if number > 2 else "rare"
        key = "bonafide" if genuine else "spoof"
        trials.append(Trial(name, Path(f"{name}.wav"), key, f"p{number % 30}", made, codec=codec, system_type=kind))
        reason = "no speech" if number % 10 == 0 else None
        snr = None if number % 10 == 0 else 15.0 + number % 20
        scores.append(Scored(name, float(rng.normal(1 if genuine else -1)), reason, 1.5 + number % 5, 1.0, snr))
    return trials, scores


@pytest.fixture(scope="module")
def report(bundle: Path) -> Report:
    return evaluate(*scored(), Bundle(bundle).manifest, SUBJECT, draws=100)


def test_the_figures_are_those_of_the_metrics(report: Report) -> None:
    trials, scores = scored()
    both = {key: [s.score for t, s in zip(trials, scores, strict=True) if t.key == key] for key in ("bonafide", "spoof")}
    bonafide, spoof = both["bonafide"], both["spoof"]
    rates = error_rates(bonafide, spoof, 0.0)
    expected = {
        **{metric.__name__: metric(bonafide, spoof) for metric in (eer, min_dcf, roc_auc, act_dcf, cllr, min_cllr)},
        **{"HTER at eer": rates.hter, "FNR at eer": rates.fnr, "FPR at eer": rates.fpr},
    }
    names = {"eer": "EER", "min_dcf": "minDCF", "roc_auc": "AUC", "act_dcf": "actDCF", "cllr": "Cllr", "min_cllr": "minCllr"}
    found = {one.metric: one for one in report.figures}
    assert {name: one.value for name, one in found.items()} == pytest.approx({names.get(k, k): v for k, v in expected.items()})
    assert all(one.low <= one.value <= one.high and one.low < one.high for one in report.figures)
    assert {(one.bonafide, one.spoof, one.subset, one.engine) for one in report.figures} == {(90, 120, "eval", "float32.onnx")}
    exact = clopper_pearson(round(rates.fpr * 120), 120)
    assert (found["FPR at eer"].low, found["FPR at eer"].high) == (exact.low, exact.high)


def test_scores_without_calibration_have_no_cost_of_their_own(bundle: Path) -> None:
    manifest = Bundle(bundle).manifest.model_copy(update={"calibration": None})
    found = evaluate(*scored(), manifest, SUBJECT, draws=10)
    assert [one.metric for one in found.figures][:3] == ["EER", "minDCF", "AUC"]
    assert not {"actDCF", "Cllr", "minCllr"} & {one.metric for one in found.figures}
    text = page(found, Measured.of(scored()[0], np.array([one.score for one in scored()[1]])), None)
    assert "no calibration" in text


def test_the_shipped_thresholds_are_measured_on_the_corpus(report: Report) -> None:
    trials, scores = scored()
    assert [point.name for point in report.operating_points] == ["eer", "fpr=1%"]
    for point in report.operating_points:
        accepted = [s.score >= point.threshold for t, s in zip(trials, scores, strict=True) if t.key == "spoof"]
        assert point.fpr == clopper_pearson(sum(accepted), 120)
        assert point.corpus == "made up"


def test_the_decisions_are_those_of_the_detector_and_add_up(report: Report) -> None:
    trials, scores = scored()
    genuine = [s for t, s in zip(trials, scores, strict=True) if t.key == "bonafide"]
    bonafide, spoof = report.decisions
    assert bonafide.accepted == sum(one.score >= 0 for one in genuine if not one.reason)
    assert (bonafide.undecided, spoof.undecided) == ({"no speech": 9}, {"no speech": 12})
    assert bonafide.accepted + bonafide.rejected + 9 == 90
    assert spoof.accepted + spoof.rejected + 12 == 120


def test_the_parts_add_up_to_the_corpus(report: Report) -> None:
    fields = Counter(part.by for part in report.parts)
    assert fields == {"system": 3, "system_type": 2, "codec": 3, "duration": 3, "snr": 4}
    for field in ("codec", "duration", "snr"):
        parts = [part for part in report.parts if part.by == field]
        assert sum(part.bonafide for part in parts) == 90
        assert sum(part.spoof for part in parts) == 120
        assert sum(part.undecided for part in parts) == 21
    for part in report.parts:
        if part.by == "system":
            assert (part.bonafide, part.spoof, part.fnr) == (90, 40, None)
            assert part.undecided == 4
        if part.by == "system_type":
            assert (part.bonafide, part.spoof, part.fnr) == (90, {"vc": 40, "tts": 80}[part.name], None)
    assert next(part.undecided for part in report.parts if (part.by, part.name) == ("snr", "unknown")) == 21
    rare = next(part for part in report.parts if "fewer than 5" in part.name)
    assert (rare.bonafide, rare.spoof, rare.eer, rare.fpr) == (3, 0, None, None)


def test_the_worst_trials_come_first(report: Report) -> None:
    trials, scores = scored()
    lowest = min((s.score, t.id) for t, s in zip(trials, scores, strict=True) if t.key == "bonafide")
    highest = max((s.score, t.id) for t, s in zip(trials, scores, strict=True) if t.key == "spoof")
    assert (report.worst[0].score, report.worst[0].id) == lowest
    assert (report.worst[10].score, report.worst[10].id) == highest
    assert report.worst[0].audio == f"{lowest[1]}.wav"


def test_a_report_is_read_back_as_it_was_written(report: Report) -> None:
    assert Report.model_validate_json(report.model_dump_json()) == report


# The page.


class Checker(HTMLParser):
    """Notes what a page holds, and that every element that is opened is closed."""

    VOID = ("meta", "br", "path", "use", "rect")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.refers: list[str] = []
        self.tags: Counter[str] = Counter()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self._note(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self._note(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title", "desc"):
            self.text.append(data)

    def _note(self, attributes: dict[str, str | None]) -> None:
        self.ids += [value for name, value in attributes.items() if name == "id" and value]
        self.refers += [value for name, value in attributes.items() if name in ("href", "xlink:href", "src") and value]
        self.refers += re.findall(r"url\(([^)]+)\)", " ".join(filter(None, attributes.values())))


def checked(report: Report, trials: list[Trial], scores: list[Scored], bundle: Path) -> tuple[str, Checker]:
    measured = Measured.of(trials, np.array([one.score for one in scores]))
    text = page(report, measured, Bundle(bundle).manifest.calibration)
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert not checker.open
    return text, checker


def test_the_page_is_whole_and_alone(report: Report, bundle: Path) -> None:
    text, found = checked(report, *scored(), bundle)
    assert checked(report, *scored(), bundle)[0] == text
    assert len(found.ids) == len(set(found.ids))
    assert {refer.removeprefix("#") for refer in found.refers} <= set(found.ids)
    assert not found.tags["script"] + found.tags["link"] + found.tags["img"] + found.tags["iframe"]
    assert "default-src 'none'" in text
    assert not re.search(r"#0000\w\w\b", text)
    assert found.tags["svg"] == found.tags["figure"] == 5 + 5
    assert text.count("<desc id=") == 10
    assert "prefers-color-scheme:dark" in text


def test_the_page_tells_every_figure(report: Report, bundle: Path) -> None:
    words = " ".join(" ".join(checked(report, *scored(), bundle)[1].text).split())
    for one in report.figures:
        assert one.metric in words
    for trial in report.worst:
        assert trial.id in words
    error = next(one.value for one in report.figures if one.metric == "EER")
    assert f"equal error rate is {100 * error:.2f} %" in words
    assert "S0 90 40" in words


def test_the_page_draws_where_and_plays_what_was_judged_worst(report: Report, bundle: Path) -> None:
    parts = (Segment(0.0, 0.5, 2.0), Segment(0.5, 1.0, -3.0), Segment(1.0, 1.5, 2.0))
    first, *rest = report.worst
    located = report.model_copy(update={"worst": (first.model_copy(update={"segments": parts}), *rest)})
    measured = Measured.of(scored()[0], np.array([one.score for one in scored()[1]]))
    text = page(located, measured, Bundle(bundle).manifest.calibration, {first.id: "worst/01%20a.flac"})
    assert text.count('class="strip"') == text.count("<audio") == 1
    assert 'src="worst/01%20a.flac"' in text
    assert "stands out from 0.50 to 1.00 s" in text
    assert text.count('fill="var(--spoof)" opacity') == 1


def test_audio_that_no_browser_plays_is_decoded(report: Report, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.au", np.zeros(800), 8_000, subtype="PCM_16")
    one = report.worst[0].model_copy(update={"id": "a b", "audio": str(tmp_path / "a.au")})
    (tmp_path / "worst").mkdir()
    (tmp_path / "worst" / "old.flac").touch()
    assert players([one], tmp_path / "worst") == {"a b": "worst/01%20bonafide%20a.flac"}
    assert [path.name for path in (tmp_path / "worst").iterdir()] == ["01 bonafide a.flac"]
    assert soundfile.info(tmp_path / "worst" / "01 bonafide a.flac").frames == 1600


def test_what_evaluate_prints_fits_a_screen_of_80_columns(report: Report) -> None:
    printed = io.StringIO()
    show(Console(width=80, file=printed), *evaluation_tables(report))
    lines = printed.getvalue().splitlines()
    assert len(lines) <= 50
    assert all(line.count("(") == line.count(")") for line in lines)
    assert {"EER", "duration:", "bonafide"} <= {line.split()[0] for line in lines if line.strip()}


def test_names_from_a_corpus_stay_text(bundle: Path) -> None:
    trials, scores = scored(system='<script>alert("&")</script>')
    found = evaluate(trials, scores, Bundle(bundle).manifest, SUBJECT, draws=10)
    text, checker = checked(found, trials, scores, bundle)
    assert not checker.tags["script"]
    assert "&lt;script&gt;" in text


# The verbs.


def run_evaluate(bundle: Path, corpus: Path, out: Path, **options: object) -> int:
    return evaluate_command(bundle, corpus, out=out, jobs=1, draws=50, **{"subset": "eval", **options})  # type: ignore[arg-type]


def test_evaluate_writes_scores_and_reports(
    bundle: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_evaluate(bundle, corpus, tmp_path / "out", json=True) == 0
    told = Report.model_validate_json(capsys.readouterr().out)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("journal.jsonl", "predictions.csv", "report.html", "report.json", "scores.tsv", "worst")
    ]
    assert Report.model_validate_json((tmp_path / "out" / "report.json").read_bytes()) == told
    assert told.date
    assert told.command
    checker = Checker()
    checker.feed((tmp_path / "out" / "report.html").read_text())
    played = [tmp_path / "out" / unquote(refer) for refer in checker.refers if refer.startswith("worst/")]
    assert len(played) == checker.tags["audio"] == len(told.worst) == 20
    for file, one in zip(played, told.worst, strict=True):
        assert file.read_bytes() == Path(one.audio).read_bytes()
    assert (told.bonafide, told.spoof, told.speakers, told.subject.subset) == (12, 12, 7, "eval")
    assert 0 < next(one.value for one in told.figures if one.metric == "EER") < 0.5
    lines = (tmp_path / "out" / "scores.tsv").read_text().splitlines()
    assert lines[0] == "filename\tcm-score"
    assert [line.split("\t")[0] for line in lines[1:]] == [f"L_E_{number:04}" for number in range(24)]


def test_evaluate_tells_the_cost_before_a_verifier(
    bundle: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    verifier = {"target": rng.normal(3, 1, 50), "nontarget": rng.normal(0, 1, 60), "spoof": rng.normal(2, 1, 70)}
    lines = [f"- {kind} {score}" for kind, scores in verifier.items() for score in scores]
    (tmp_path / "asv.txt").write_text("\n".join(lines) + "\n")
    run_evaluate(bundle, corpus, tmp_path / "out", asv=tmp_path / "asv.txt", json=True)
    told = Report.model_validate_json(capsys.readouterr().out)
    scores = dict(line.split("\t") for line in (tmp_path / "out" / "scores.tsv").read_text().splitlines()[1:])
    keys = {trial.id: trial.key for trial in read_corpus(corpus, subset="eval")}
    cm = [[float(scores[name]) for name in scores if keys[name] == key] for key in ("bonafide", "spoof")]
    found = {one.metric: one for one in told.figures}
    rates = asv_error_rates_at_eer(*verifier.values())
    assert found["min t-DCF 2021"].value == pytest.approx(min_tdcf_2021(*cm, asv=rates))
    assert found["t-EER"].value == pytest.approx(t_eer(*cm, *verifier.values()))
    assert all(found[name].low <= found[name].value <= found[name].high for name in ("min t-DCF 2019", "t-EER"))
    assert "min a-DCF" not in found


def test_evaluate_tells_what_the_verifier_behind_its_gate_is_worth(
    bundle: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = read_corpus(corpus, subset="eval")
    kinds = {trial.id: "spoof" if trial.key == "spoof" else ("target", "nontarget")[n % 2] for n, trial in enumerate(trials)}
    rng = np.random.default_rng(0)
    verified = {name: rng.normal(0 if kind == "nontarget" else 3, 1) for name, kind in kinds.items()}
    lines = [f"{name}\t{kind}\t{verified[name]}" for name, kind in kinds.items()]
    (tmp_path / "asv.tsv").write_text("\n".join(["filename\tasv-label\tasv-score", *lines]) + "\n")
    run_evaluate(bundle, corpus, tmp_path / "out", asv=tmp_path / "asv.tsv", submission="asvspoof5", json=True)
    told = Report.model_validate_json(capsys.readouterr().out)
    assert (tmp_path / "out" / "score.tsv").read_bytes() == (tmp_path / "out" / "scores.tsv").read_bytes()
    scores = {row.split("\t")[0]: row.split("\t")[1] for row in (tmp_path / "out" / "score.tsv").read_text().splitlines()[1:]}
    gated = {name: verified[name] if float(scores[name]) >= told.threshold.threshold else -np.inf for name in kinds}
    classes = [[gated[name] for name in kinds if kinds[name] == kind] for kind in ("target", "nontarget", "spoof")]
    (found,) = (one for one in told.figures if one.metric == "min a-DCF")
    assert found.value == pytest.approx(min_adcf(*classes))
    with pytest.raises(CorpusError, match='No file is for the challenge "2022"'):
        run_evaluate(bundle, corpus, tmp_path / "other", submission="2022")


def test_evaluate_scores_through_telephone_lines(
    bundle: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_evaluate(bundle, corpus, tmp_path / "out", telephone=["g711-alaw"], json=True)
    told = Report.model_validate_json(capsys.readouterr().out)
    assert [(one.by, one.accuracy.trials) for one in told.outcomes if one.by != "format"] == [("all", 24), ("telephone", 24)]
    first, second = ((tmp_path / "out" / name).read_text() for name in ("journal.jsonl", "journal-g711-alaw.jsonl"))
    assert first.splitlines()[1] != second.splitlines()[1]
    with pytest.raises(ConfigurationError, match='no telephone line "g729"'):
        run_evaluate(bundle, corpus, tmp_path / "other", telephone=["g729"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A07 spoof 1.0\n- target\n", "line 2, is not a system, a kind of trial and a score"),
        ("A07 spoof high\n", 'line 1, has "high" for a score'),
        ("A07 spoof 1.0\n- target 2.0\n", r"scores for spoof, target\. Give a file with all of: target, nontarget, spoof"),
        ("", "is empty"),
    ],
)
def test_scores_of_no_verifier_are_refused(content: str, message: str, bundle: Path, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "asv.txt").write_text(content)
    with pytest.raises(CorpusError, match=message):
        run_evaluate(bundle, corpus, tmp_path / "out", asv=tmp_path / "asv.txt")
    assert not (tmp_path / "out").exists()


def test_evaluate_gives_the_same_files_when_it_goes_on(bundle: Path, corpus: Path, tmp_path: Path) -> None:
    run_evaluate(bundle, corpus, tmp_path / "whole")
    run_evaluate(bundle, corpus, tmp_path / "cut")
    journal = tmp_path / "cut" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:1500])
    (tmp_path / "cut" / "report.html").unlink()
    run_evaluate(bundle, corpus, tmp_path / "cut")
    for file in (tmp_path / "whole").iterdir():
        if file.name not in ("worst", "report.html", "report.json"):
            assert (tmp_path / "cut" / file.name).read_bytes() == file.read_bytes()
    whole, cut = (Report.model_validate_json((tmp_path / name / "report.json").read_bytes()) for name in ("whole", "cut"))
    assert whole.model_copy(update={"date": cut.date}) == cut


def test_evaluate_refuses_an_operating_point_that_the_bundle_has_not(bundle: Path, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r'no operating point "fpr=5%"\. Choose eer, fpr=1%'):
        run_evaluate(bundle, corpus, tmp_path / "out", operating_point="fpr=5%")
    assert not (tmp_path / "out").exists()


def run_calibrate(bundle: Path, corpus: Path, out: Path, **options: object) -> Manifest:
    assert calibrate_command(bundle, corpus, out, jobs=1, draws=50, **options) == 0  # type: ignore[arg-type]
    return Bundle(out).manifest


def test_calibrate_writes_a_new_bundle_with_thresholds_that_mean_rates(bundle: Path, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", bonafide=30, spoof=30, seconds=1.1)
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    manifest = run_calibrate(bundle, corpus, tmp_path / "new", name="loudness", test=["eval"])
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    assert manifest.calibration
    assert (manifest.calibration.corpus, manifest.calibration.bonafide, manifest.calibration.spoof) == ("loudness dev", 30, 30)
    names = [point.name for point in manifest.operating_points]
    assert names == ["eer", "llr=0", "fpr=10%", "fnr=10%"]
    assert Counter((one.subset, one.bonafide, one.spoof) for one in manifest.evaluations) == {
        ("dev", 30, 30): 9,
        ("eval", 30, 30): 9,
    }
    assert manifest.regression is None
    strict, lenient = (Detector(tmp_path / "new", operating_point=name).threshold for name in ("fpr=10%", "fnr=10%"))
    assert lenient < Detector(tmp_path / "new").threshold < strict
    with pytest.raises(
        ConfigurationError, match=r'no operating point "fpr=0\.1%"\. Choose eer, llr=0, fpr=10%, fnr=10%, or a number'
    ):
        Detector(tmp_path / "new", operating_point="fpr=0.1%")


def test_a_calibrated_bundle_is_calibrated(bundle: Path, corpus: Path, tmp_path: Path) -> None:
    first = run_calibrate(bundle, corpus, tmp_path / "first")
    again = run_calibrate(tmp_path / "first", corpus, tmp_path / "again")
    assert first.calibration
    assert again.calibration
    assert (again.calibration.scale, again.calibration.offset) == pytest.approx(
        (first.calibration.scale, first.calibration.offset), rel=1e-4
    )
    run_evaluate(tmp_path / "first", corpus, tmp_path / "out", subset="dev", name="corpus")
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    figures = {one["metric"]: one["value"] for one in told["figures"]}
    promised = {one.metric: one.value for one in first.evaluations}
    assert figures == pytest.approx(promised)
    assert figures["actDCF"] < figures["minDCF"] + 0.2


def test_what_two_subsets_hold_is_scored_once(bundle: Path, corpus: Path, tmp_path: Path) -> None:
    whole = run_calibrate(bundle, corpus, tmp_path / "whole")
    part = run_calibrate(bundle, corpus, tmp_path / "part", only=["system=S0"], test=["dev"])
    journals = sorted(path.read_text("utf-8").count('"id"') for path in (tmp_path / "part.scores").iterdir())
    assert journals == [8, 16]
    counts = {one.subset: (one.bonafide, one.spoof) for one in part.evaluations}
    assert counts == {"dev, system=S0": (12, 4), "dev": (12, 12)}
    auc = [next(one.value for one in made.evaluations if (one.metric, one.subset) == ("AUC", "dev")) for made in (whole, part)]
    assert auc[0] == auc[1]


def test_calibrate_refuses_before_it_scores(bundle: Path, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigurationError, match="exists"):
        run_calibrate(bundle, corpus, tmp_path / "there")
    with pytest.raises(ConfigurationError, match='"dev" is fitted on'):
        run_calibrate(bundle, corpus, tmp_path / "new", test=["dev"])
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_default_that_the_trials_do_not_support_is_refused(bundle: Path) -> None:
    manifest = Manifest.model_validate_json((bundle / MANIFEST).read_bytes())
    with pytest.raises(ConfigurationError, match=r'do not support the default "fpr=1%"\. Choose one of: eer'):
        calibrated(manifest, *scored(), SUBJECT, default="fpr=1%", draws=10)
