"""Scoring a corpus: the right score for every trial, and a run that survives being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bundles import WINDOW, make_bundle, raw_score
from loudness_corpus import RATE, make_corpus

from vivavoce import ConfigurationError, Detector
from vivavoce.audio import load
from vivavoce_calibration.corpora import CorpusError, Trial, read_corpus
from vivavoce_calibration.scoring import Scored, Scorer, score_corpus, write_scores
from vivavoce_calibration.snr import estimated_snr

EXAMPLES = Path(__file__).parents[2] / "examples" / "audio"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("scoring") / "bundle", precisions=("float32", "int8"))


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    return read_corpus(make_corpus(tmp_path_factory.mktemp("scoring") / "corpus", bonafide=4, spoof=6), subset="dev")


def test_a_trial_that_the_detector_decides_has_its_score(bundle: Path) -> None:
    clip = EXAMPLES / "human_june_fr.flac"
    result = Detector(bundle).detect(clip)
    (scored,) = score_corpus([Trial("june", clip, "bonafide")], Scorer(bundle))
    assert scored == Scored("june", result.score or 0.0, None, result.duration, result.speech, estimated_snr(load(clip, RATE)))
    assert result.score is not None
    assert scored.snr is not None


@pytest.mark.parametrize(("seconds", "starts"), [(0.3, [0]), (1.0, [0]), (1.2, [0, 0.2]), (2.75, [0, 0.5, 1, 1.5, 1.75])])
def test_an_undecided_trial_has_the_mean_score_of_all_its_windows(
    bundle: Path, tmp_path: Path, seconds: float, starts: list[float]
) -> None:
    samples = np.random.default_rng(1).normal(0, 0.01, round(seconds * RATE)).astype(np.float32)
    samples[: len(samples) // 2] *= 3
    soundfile.write(tmp_path / "noise.wav", samples, RATE, subtype="FLOAT")
    (scored,) = score_corpus([Trial("noise", tmp_path / "noise.wav", "spoof")], Scorer(bundle))
    windows = [np.resize(samples[round(start * RATE) :][:WINDOW], WINDOW) for start in starts]
    assert scored.score == pytest.approx(2.0 * np.mean([raw_score(window) for window in windows]), rel=1e-4)
    assert scored.reason == ("too short" if seconds < 1 else "no speech")
    assert scored.duration == pytest.approx(seconds)


def test_processes_give_the_same_scores_in_the_same_order(bundle: Path, trials: list[Trial]) -> None:
    alone = score_corpus(trials, Scorer(bundle))
    assert [one.id for one in alone] == [trial.id for trial in trials]
    assert score_corpus(trials, Scorer(bundle), jobs=2) == alone


@pytest.mark.slow
def test_ray_gives_the_same_scores_in_the_same_order(bundle: Path, trials: list[Trial]) -> None:
    pytest.importorskip("ray")
    assert score_corpus(trials, Scorer(bundle), jobs=2, pool="ray") == score_corpus(trials, Scorer(bundle))


def test_what_is_in_the_journal_is_not_scored_again(bundle: Path, trials: list[Trial], tmp_path: Path) -> None:
    journal, counts = tmp_path / "new" / "journal.jsonl", list[tuple[int, int]]()
    first = score_corpus(trials[:4], Scorer(bundle), journal=journal)
    kept = journal.read_bytes()
    assert score_corpus(trials, Scorer(bundle), journal=journal, advance=lambda *told: counts.append(told))[:4] == first
    assert counts == [(done, 10) for done in range(4, 11)]
    assert journal.read_bytes().startswith(kept)
    assert score_corpus(trials, Scorer(bundle), journal=journal) == score_corpus(trials, Scorer(bundle))


@pytest.mark.parametrize("kept", [1, 2, 40, -1, -2, -40])
def test_a_journal_that_was_cut_anywhere_is_gone_on_with(bundle: Path, trials: list[Trial], tmp_path: Path, kept: int) -> None:
    journal = tmp_path / "journal.jsonl"
    scores = score_corpus(trials, Scorer(bundle), journal=journal)
    whole = journal.read_bytes()
    journal.write_bytes(whole[:kept])
    assert score_corpus(trials, Scorer(bundle), journal=journal) == scores
    assert journal.read_bytes() == whole


def test_scores_of_another_bundle_or_engine_or_corpus_are_refused(bundle: Path, trials: list[Trial], tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    score_corpus(trials[:2], Scorer(bundle), journal=journal)
    kept = journal.read_bytes()
    other = make_bundle(tmp_path / "other", version="2")
    with pytest.raises(ConfigurationError, match=r"scores of another manifest_sha256, .* delete the file"):
        score_corpus(trials, Scorer(other), journal=journal)
    with pytest.raises(ConfigurationError, match=r"scores of another engine, float32\.onnx instead of int8\.onnx"):
        score_corpus(trials, Scorer(bundle, "int8"), journal=journal)
    with pytest.raises(ConfigurationError, match="scores of 1 trials that the corpus has not, such as L_D_0000"):
        score_corpus(trials[1:], Scorer(bundle), journal=journal)
    assert journal.read_bytes() == kept


def test_a_line_that_is_no_score_is_refused(bundle: Path, trials: list[Trial], tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    score_corpus(trials[:2], Scorer(bundle), journal=journal)
    with journal.open("ab") as file:
        file.write(b'{"id": "L_D_0003"}\n')
    with pytest.raises(ConfigurationError, match="line 4, is not a score"):
        score_corpus(trials, Scorer(bundle), journal=journal)


@pytest.mark.parametrize("jobs", [1, 2])
def test_trials_that_cannot_be_scored_are_named_once_all_others_are_scored(
    bundle: Path, trials: list[Trial], tmp_path: Path, jobs: int
) -> None:
    journal = tmp_path / "journal.jsonl"
    (tmp_path / "text.wav").write_text("not audio", encoding="utf-8")
    soundfile.write(tmp_path / "nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    bad = [Trial(name, tmp_path / f"{name}.wav", "spoof") for name in ("text", "nan", "empty")]
    with pytest.raises(CorpusError, match=r"3 of 13 trials cannot be scored, such as text: .*text\.wav cannot be decoded"):
        score_corpus([*bad, *trials], Scorer(bundle), journal=journal, jobs=jobs)
    assert len(journal.read_bytes().splitlines()) == 1 + len(trials)
    for name, says in (("nan", "not finite"), ("empty", "no samples")):
        with pytest.raises(CorpusError, match=says):
            score_corpus([trial for trial in bad if trial.id == name], Scorer(bundle))


def test_a_score_file_has_the_challenge_format_and_every_digit(tmp_path: Path) -> None:
    scores = [Scored("a", 1 / 3, None, 1.0, 1.0), Scored("b", -2e-17, "no speech", 1.0, 0.0)]
    write_scores(tmp_path / "scores.tsv", scores)
    assert (tmp_path / "scores.tsv").read_bytes() == b"filename\tcm-score\na\t0.3333333333333333\nb\t-2e-17\n"
    assert [path.name for path in tmp_path.iterdir()] == ["scores.tsv"]


SCORE = """
import sys
from pathlib import Path
from vivavoce_calibration.corpora import read_corpus
from vivavoce_calibration.scoring import Scorer, score_corpus

if __name__ == "__main__":
    bundle, corpus, journal, jobs = sys.argv[1:]
    score_corpus(read_corpus(corpus, subset="dev"), Scorer(Path(bundle)), journal=Path(journal), jobs=int(jobs))
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_is_killed_half_way_goes_on_with_nothing_lost_or_scored_twice(
    bundle: Path, tmp_path: Path, jobs: int
) -> None:
    corpus = make_corpus(tmp_path / "corpus", bonafide=30, spoof=40, seconds=2.0)
    trials, journal = read_corpus(corpus, subset="dev"), tmp_path / "journal.jsonl"
    (tmp_path / "score.py").write_text(SCORE, encoding="utf-8")
    command = [sys.executable, tmp_path / "score.py", bundle, corpus, journal, str(jobs)]
    with subprocess.Popen(command) as process:
        _wait(lambda: journal.exists() and journal.read_bytes().count(b"\n") > 5)
        workers = _children(process.pid)
        process.send_signal(signal.SIGKILL)
    before = [json.loads(line)["id"] for line in journal.read_bytes().splitlines()[1:]]
    assert 5 <= len(before) < len(trials)
    # What scored for the killed process ends by itself.
    _wait(lambda: not any(_runs(worker) for worker in workers))
    subprocess.run(command, check=True)
    after = [json.loads(line)["id"] for line in journal.read_bytes().splitlines()[1:]]
    assert after[: len(before)] == before
    assert sorted(after) == [trial.id for trial in trials]
    assert score_corpus(trials, Scorer(bundle), journal=journal) == score_corpus(trials, Scorer(bundle))


def _wait(done: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def _children(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def _runs(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in status
