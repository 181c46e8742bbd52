"""Score files and key files of the challenges, and `vivavoce metrics` on them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED

from vivavoce_calibration.challenges.files import SUBMISSIONS, read_matched, read_verifier, write_submission
from vivavoce_calibration.challenges.scorecard import METRICS, scorecard
from vivavoce_calibration.challenges.tandem import asv_error_rates_at_eer, min_tdcf_2019
from vivavoce_calibration.commands.metrics import metrics_command
from vivavoce_calibration.commands.verbs import evaluate_command
from vivavoce_calibration.corpora import CorpusError, Trial
from vivavoce_calibration.metrics import eer

GOLDENS = SHARED / "metrics"


def save(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


# One trial of each class for every list that a challenge has, by how many columns it has.
KEYS = {
    "asvspoof2019": ("LA_0039 LA_E_1 - - bonafide", "LA_0014 LA_E_2 - A11 spoof"),
    "asvspoof2021": (
        "LA_0009 LA_E_1 alaw ita_tx bonafide bonafide notrim eval",
        "LA_0009 LA_E_2 none loc_tx A07 spoof notrim eval",
        "LA_0009 LA_E_3 none loc_tx A07 spoof notrim progress",
    ),
    "asvspoof5": (
        "E_1 LA_E_1 F - - - - bonafide bonafide -",
        "E_2 LA_E_2 M C05 1 LA_E_9 AC1 A17 spoof -",
    ),
    "in_the_wild": ("file,speaker,label", "LA_E_1.wav,Alec Guinness,bona-fide", 'LA_E_2.wav,"X, Y",spoof'),
    "ctrsvdd": (
        "m4singer s1 LA_E_1 - - bonafide",
        "m4singer s2 LA_E_2 - A09 deepfake",
        "m4singer s2 LA_E_3 - A14 deepfake",
        "acesinger s3 LA_E_4 - A09 deepfake",
    ),
    "svdd": ("LA_E_1 bonafide", "LA_E_2 deepfake"),
    "add": ("LA_E_1.wav genuine", "LA_E_2.wav fake"),
}


def test_every_challenge_has_a_list_here() -> None:
    assert KEYS.keys() == SUBMISSIONS.keys()


@pytest.mark.parametrize("challenge", KEYS)
def test_what_a_challenge_takes_is_written_and_read_back(challenge: str, tmp_path: Path) -> None:
    trials = [
        Trial(f"LA_E_{number}", Path(f"LA_E_{number}.wav"), "bonafide" if number == 1 else "spoof", system=system)
        for number, system in ((1, None), (2, "A11"), (3, "A14"), (4, "A09"))
    ]
    listed = "\n".join(KEYS[challenge])
    trials = [trial for trial in trials if trial.id in listed]
    scores = [0.1 + 0.2, -1e-17, 5.0, 7.0][: len(trials)]
    written = write_submission(challenge, tmp_path, trials, scores)
    found = read_matched(written, save(tmp_path / "keys", *KEYS[challenge]))
    assert found.genuine.tolist() == [True, False]
    assert found.scores["cm"].tolist() == scores[:2]
    assert (written.name == "score.tsv") == (challenge == "asvspoof5")


def test_what_the_field_leaves_out_is_there_on_request(tmp_path: Path) -> None:
    scores = save(tmp_path / "score.txt", "LA_E_4 4", "LA_E_3 3", "LA_E_2 2", "LA_E_1 1")
    keys = save(tmp_path / "keys", *KEYS["ctrsvdd"])
    assert read_matched(scores, keys).scores["cm"].tolist() == [1, 2]
    assert read_matched(scores, keys, complete=True).scores["cm"].tolist() == [1, 2, 3, 4]
    later = save(tmp_path / "2021", *KEYS["asvspoof2021"])
    scores = save(tmp_path / "score.txt", "LA_E_3 3", "LA_E_2 2", "LA_E_1 1")
    assert read_matched(scores, later, subset="progress").scores["cm"].tolist() == [3]
    assert read_matched(scores, later, subset="all").scores["cm"].tolist() == [1, 2, 3]
    with pytest.raises(CorpusError, match=r'names no subset "dev"\. Choose one of: eval, progress, all'):
        read_matched(scores, later, subset="dev")


def test_a_trial_of_track_2_is_an_utterance_and_a_claim(tmp_path: Path) -> None:
    scores = save(
        tmp_path / "score.tsv", "spk\tfilename\tcm-score\tasv-score\tsasv-score", "a\tE_1\t-\t-\t1", "b\tE_1\t-\t-\t2"
    )
    table = save(
        tmp_path / "key.tsv", "filename\tspk\tasv-label\tcm-label", *("E_1\tb\tnontarget\tbonafide", "E_1\ta\ttarget\tbonafide")
    )
    plain = save(tmp_path / "list", "b E_1 F - nontarget", "a E_1 F - target")
    for keys in (table, plain):
        found = read_matched(scores, keys)
        assert (found.scores["sasv"].tolist(), found.scores.keys()) == ([2, 1], {"sasv"})
        assert found.kinds is not None
        assert found.kinds.tolist() == ["nontarget", "target"]
    full = save(
        tmp_path / "full",
        "tar_spk_anon trial_anon asv-label cm-label track_2_tag",
        "a E_1 target bonafide -",
        "b E_1 spoof spoof dummy",
    )
    assert read_matched(scores, full).genuine.tolist() == [True]


@pytest.mark.parametrize(
    ("scores", "keys", "message"),
    [
        ("A 1\nB 2\nC 3", "A bonafide\nB spoof", r"1 scores of .* have no trial in .*: C\."),
        ("A 1", "A bonafide\nB spoof", r"1 trials of .* have no score in .*: B\."),
        ("A 1\nA 1\nB 2", "A bonafide\nB spoof", "1 scores for trials that have one"),
        ("A 1\nB nan", "A bonafide\nB spoof", 'line 2, has "nan" for a score'),
        ("filename\tcm-score\nA\t1\nB\thigh", "A bonafide\nB spoof", 'line 3, has "high" for a score'),
        ("filename\tcm-score\nA\t1\nB", "A bonafide\nB spoof", "line 3, has 1 columns instead of 2"),
        ("A 1 2", "A bonafide\nB spoof", "line 1, has 3 columns. Give trial and score"),
        ("", "A bonafide", "is empty"),
        ("A 1\nB 2", "A bonafide\nB perhaps", 'keys: line 2 has the unknown label "perhaps"'),
        ("A 1\nB 2", "A b c d e f g", "line 1 has 7 columns, as no list that is known"),
        ("A 1\nB 2", "filename\tasv-label\nA\ttarget\nB\tother", 'line 3 has the unknown kind "other"'),
        ("filename\tspeaker\nA\tx", "A bonafide", "has no column of scores. Name it cm-score"),
    ],
)
def test_what_does_not_match_is_refused(scores: str, keys: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=message):
        read_matched(save(tmp_path / "scores", scores), save(tmp_path / "keys", keys))


def test_a_file_of_a_verifier_stands_in_for_its_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cm = [rng.normal(shift, 1, 40) for shift in (1, -1)]
    verifier = {kind: rng.normal(shift, 1, 30) for kind, shift in (("target", 3), ("nontarget", 0), ("spoof", 2))}
    scores = save(
        tmp_path / "scores", *(f"{key}{n} {one}" for key, values in zip("bs", cm, strict=True) for n, one in enumerate(values))
    )
    keys = save(tmp_path / "keys", *(f"{key}{n} {word}" for key, word in (("b", "real"), ("s", "fake")) for n in range(40)))
    asv = save(tmp_path / "asv", *(f"- {kind} {one}" for kind, values in verifier.items() for one in values))
    told = {one.metric: one for one in scorecard(read_matched(scores, keys), read_verifier(asv), draws=30).figures}
    rates = asv_error_rates_at_eer(*verifier.values())
    assert told["min t-DCF 2019"].value == pytest.approx(min_tdcf_2019(*cm, asv=rates))
    assert told["EER"].value == pytest.approx(eer(*cm))
    assert told["verifier's spoof false alarm rate"].value == rates.spoof_false_alarm
    assert all(one.low is not None and one.high is not None and one.low <= one.value <= one.high for one in told.values())
    assert "min a-DCF" not in told
    table = save(tmp_path / "asv.csv", "filename,asv-label,asv-score", "A.wav,target,1", "B,nontarget,0", "C,spoof,2")
    assert read_verifier(table).utterances == (("A",), ("B",), ("C",))


@pytest.mark.skipif(not GOLDENS.is_dir(), reason=f"{GOLDENS} is not here")
def test_the_command_gives_the_organizers_numbers_without_what_a_bundle_needs(capsys: pytest.CaptureFixture[str]) -> None:
    trials = str(GOLDENS / "trials.csv")
    code = (
        "import sys; from vivavoce_calibration.commands.metrics import metrics_command as run; from pathlib import Path; "
        f"run(Path({trials!r}), Path({trials!r}), draws=0, json=True); "
        "print([name for name in ('torch', 'onnxruntime', 'scipy', 'sklearn', 'matplotlib') if name in sys.modules])"
    )
    printed, loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert loaded == "[]"
    expected = json.loads((GOLDENS / "expected.json").read_text())["ties"]
    told = json.loads(printed)
    values = {one["metric"]: one["value"] for one in told["figures"]}
    assert values.keys() == {metric.name for metric in METRICS}
    assert values["min t-DCF 2021"] == pytest.approx(expected["min_tdcf"]["revised_own_asv"], abs=1e-9)
    assert values["min a-DCF"] == pytest.approx(expected["min_a_dcf"]["challenge"], abs=1e-9)
    assert values["t-EER"] == pytest.approx(expected["t_eer"]["concurrent"], abs=1e-9)
    parts = {(part["by"], part["name"]): part["figures"] for part in told["parts"]}
    assert parts["system", "A31"]["min t-DCF 2021"] == pytest.approx(expected["min_tdcf"]["revised_own_asv_per_attack"]["A31"])
    assert parts["codec", "C11"]["Cllr"] == pytest.approx(expected["cm_per_codec"]["C11"]["cllr"])
    del capsys


def test_the_command_tells_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = save(tmp_path / "scores", "LA_E_1 1", "LA_E_2 2")
    keys = save(tmp_path / "keys", *KEYS["asvspoof2019"])
    assert metrics_command(scores, keys, draws=0) == 0
    printed = capsys.readouterr().out
    assert "1 bona fide, 1 spoof" in printed
    assert "A11" in printed
    assert "100.00 %" in printed


def test_singing_is_evaluated_and_scored_by_its_convention(tiny_bundle: Path, tmp_path: Path) -> None:
    """CtrSVDD's list and audio through `evaluate`, its score file back through `metrics`: the same figures, by attack too."""
    clips = sorted((Path(__file__).parents[2] / "examples" / "audio").glob("*_en.*"))[:4]
    corpus = tmp_path / "corpus"
    (corpus / "test_set").mkdir(parents=True)
    rows = []
    listed = (
        "m4 - bonafide",
        "m4 - bonafide",
        "m4 A09 deepfake",
        "m4 A10 deepfake",
        "m4 A14 deepfake",
        "acesinger A09 deepfake",
    )
    for number, (source, system, key) in enumerate(one.split() for one in listed):
        name = f"CtrSVDD_0001_E_{number:07}"
        shutil.copy(clips[number % 4], corpus / "test_set" / f"{name}{clips[number % 4].suffix}")
        rows.append(f"{source} singer{number} {name} - {system} {key}")
    keys = save(corpus / "test.txt", *rows)
    evaluate_command(tiny_bundle, corpus, out=tmp_path / "out", jobs=1, draws=20, submission="ctrsvdd")
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (told["bonafide"], told["spoof"]) == (2, 2)
    found = scorecard(read_matched(tmp_path / "out" / "score.txt", keys), draws=0)
    values = {one.metric: one.value for one in found.figures}
    assert values["EER"] == next(one["value"] for one in told["figures"] if one["metric"] == "EER")
    assert [part.name for part in found.parts if part.by == "system"] == ["A09", "A10"]
