"""The generated part of the model card: alarms as streams raise them, figures as the detector gives them, the bundle named."""

from __future__ import annotations

import math
from pathlib import Path

import card
import monitoring
import numpy as np
import pytest
import soundfile
from conftest import ROOT
from numpy.typing import NDArray

from vivavoce import Detector
from vivavoce.audio import load
from vivavoce.bundle import default_bundle
from vivavoce_calibration.corpora import Trial, read_corpus
from vivavoce_calibration.operating_points import clopper_pearson
from vivavoce_calibration.report.wording import share

RATE = 16_000
LOUD, SOFT = 0.03, 0.012
"""Mean magnitudes that the tiny bundle takes for bona fide and for spoof."""


def speech(loudness: float, seconds: float = 4.0) -> NDArray[np.float32]:
    samples = load(ROOT / "examples" / "audio" / "human_june_fr.flac", RATE)[RATE // 2 :][: round(seconds * RATE)]
    return np.asarray(samples * np.float32(loudness / np.abs(samples).mean()))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dev and eval with 16 clips of each of two sources and two systems: half of a source is soft, and 12 of a system loud.
    Those that are never mistaken have 8 in eval, too few to be rated."""
    folder = tmp_path_factory.mktemp("card") / "made-up"
    (folder / "protocols").mkdir(parents=True)
    rows = ["utterance,speaker,language,source,stored,kbps,duration_s,system_type"]
    for subset, counts in {"dev": (16, 16, 16, 16), "eval": (8, 16, 16, 8)}.items():
        (folder / subset).mkdir()
        lines = []
        for number, (group, turn) in enumerate((group, turn) for group, count in enumerate(counts) for turn in range(count)):
            loud = (True, turn % 2 == 0, turn % 4 != 0, False)[group]
            name, key = f"{subset}{number}", "bonafide" if group < 2 else "spoof"
            system = "-" if group < 2 else f"system{group}"
            soundfile.write(folder / subset / f"{name}.wav", speech(LOUD if loud else SOFT) * (1 + number / 1000), RATE)
            lines.append(f"speaker{turn % 4} {name} - {system} {key}\n")
            rows.append(f"{name},speaker{turn % 4},en,source{group},ogg,24,4.0,{'-' if group < 2 else 'vc'}")
        (folder / "protocols" / f"vivavoce.LA.cm.{subset}.trl.txt").write_text("".join(lines))
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_alarms_are_those_that_streams_raise(tiny_bundle: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pieces = [speech(loudness, 3) for loudness in rng.uniform(SOFT, LOUD, 4)]
    pieces.insert(2, np.zeros(7 * RATE, np.float32))
    for number, piece in enumerate(pieces):
        soundfile.write(tmp_path / f"{number}.wav", piece, RATE, subtype="FLOAT")
    trials = [Trial(str(number), tmp_path / f"{number}.wav", "bonafide") for number in range(len(pieces))]
    heard = monitoring.listen(Detector(tiny_bundle, operating_point=monitoring.ALL_PASS), trials)
    assert heard.seconds == pytest.approx(19)
    counts = set()
    for threshold in (*np.quantile([window.score for window in heard.windows], np.linspace(0, 1, 9)), 1e6):
        stream = Detector(tiny_bundle, operating_point=float(threshold)).stream(sample_rate=RATE)
        events = [event for chunk in np.array_split(np.concatenate(pieces), 100) for event in stream.feed(chunk)]
        raised = [event.time for event in events if event.kind == "verdict" and event.changed and event.verdict == "spoof"]
        assert heard.alarms(float(threshold)) == raised
        counts.add(len(raised))
    assert len(raised) == 2  # Everything is spoof: one alarm, and one more after the pause, in which it was forgotten.
    assert len(counts) > 2


@pytest.mark.parametrize(("count", "hours"), [(0, 1.0), (1, 0.5), (7, 2.0)])
def test_the_interval_of_a_rate_leaves_a_fortieth_on_each_side(count: int, hours: float) -> None:
    def at_most(most: int, mean: float) -> float:
        return sum(math.exp(-mean) * mean**k / math.factorial(k) for k in range(most + 1))

    rate = monitoring.per_hour(count, hours)
    assert rate.value == count / hours
    assert at_most(count, rate.high * hours) == pytest.approx(0.025)
    assert at_most(count - 1, rate.low * hours) == pytest.approx(0.975 if count else 0)


def test_recordings_are_joined_until_they_are_long_enough() -> None:
    trials = [
        Trial(f"{system}{number}", Path(), "spoof", f"speaker{number % 2}", system, duration=3.0)
        for number in range(7)
        for system in ("b", "a")
    ]
    found = [[trial.id for trial in batch] for batch in monitoring.joined(trials, monitoring.LONG)]
    assert found == [["a0", "a2", "a4", "a6"], ["b0", "b2", "b4", "b6"]]


def test_the_card_tells_what_the_detector_does(
    tiny_bundle: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n" + "".join(card.MARKERS) + "after\n")
    short = tmp_path / "card.md"
    short.write_text("".join(card.SUMMARY))
    pages = ["--page", str(page), "--card", str(short)]
    arguments = ["card.py", str(corpus), "--bundle", str(tiny_bundle), *pages, "--out", str(tmp_path / "runs")]
    monkeypatch.setattr("sys.argv", arguments)
    assert card.main() == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")

    detector = Detector(tiny_bundle)
    wrong = {}
    for trial in read_corpus(corpus, subset="dev"):
        verdict = detector.detect(trial.audio).verdict
        wrong.setdefault(trial.system or trial.source, []).append(verdict != trial.key)
    rates = {name: share(clopper_pearson(sum(errors), len(errors))) for name, errors in wrong.items()}
    assert {name: sum(errors) for name, errors in wrong.items()} == {"source0": 0, "source1": 8, "system2": 12, "system3": 0}
    assert f"| source1 (dev) | {rates['source1']} of 16 | `dev17`, −" in text
    assert f"| system2 (dev) | {rates['system2']} of 16 | `dev47`, +" in text
    assert "1 of the" not in text
    assert "with more than a quarter rejected: 2 of the 3 with 15 clips or more" in text
    assert "that pass more often than not: 2 of the 3 with 15 clips or more" in text
    assert "source0 (dev) | 0 in 64 s | 0 (0 to 207) | 0 %" in text
    living, spoofs = (share(clopper_pearson(errors, 32)) for errors in (8, 12))
    for name in ("all", "en", "4 to 8 s", "Opus, 24 kbit/s"):
        assert f"{living} of 32 | {spoofs} of 32" in next(line for line in text.splitlines() if line.startswith(f"| {name} |"))

    for bundle, outcome in ((tiny_bundle, 0), (default_bundle(), 1)):
        monkeypatch.setattr("sys.argv", ["card.py", "--check", "--bundle", str(bundle), *pages])
        assert card.main() == outcome


def test_a_bundle_that_does_not_ship_needs_pages_of_its_own(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["card.py", "--check", "--bundle", str(tiny_bundle)])
    with pytest.raises(SystemExit, match="2"):
        card.main()


def test_the_pages_figures_are_those_of_the_bundles_that_ship(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (ROOT / "sdk" / "large").is_dir():
        pytest.skip("a source distribution has the embedded bundle alone")
    monkeypatch.setattr("sys.argv", ["card.py", "--check"])
    assert card.main() == 0
