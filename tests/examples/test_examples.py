"""Every example runs as its first lines say, is short, and explains itself."""

from __future__ import annotations

import asyncio
import csv
import importlib.util
import json
import re
import shutil
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
from portaudio import FakeSoundDevice
from speaking import RATE, speech

from vivavoce import Detector, Microphone
from vivavoce.bundle import Bundle
from vivavoce.result import REMEDIES

EXAMPLES = Path(__file__).parents[2] / "examples"
AUDIO = EXAMPLES / "audio"
VOICE = AUDIO / "human_june_fr.flac"
SCRIPTS = [*sorted(EXAMPLES.glob("*.py")), EXAMPLES / "browser" / "prepare.py"]


def load(name: str) -> ModuleType:
    """An example as a module; skips where what it needs is not installed."""
    path = next(script for script in SCRIPTS if script.stem == name)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except ImportError as missing:
        pytest.skip(f"{missing.name} is not installed")
    return module


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_is_short(script: Path) -> None:
    assert len(script.read_text("utf-8").splitlines()) < 110


@pytest.mark.parametrize(
    "script", [script for script in SCRIPTS if script.stem != "make_audio"], ids=lambda script: script.stem
)
def test_help_begins_with_the_purpose_and_shows_a_call(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = load(script.stem)
    with pytest.raises(SystemExit) as stopped:
        module.main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert module.__doc__
    assert module.__doc__.splitlines()[0] in shown
    assert f"python {script.relative_to(EXAMPLES.parent).as_posix()} " in shown


def test_detect_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE), RATE)
    assert load("detect_file").main([str(VOICE), str(tmp_path / "silence.wav")]) == 0
    first, *windows, last = capsys.readouterr().out.splitlines()
    result = Detector().detect(VOICE)
    assert str(result) in first
    assert len(windows) == len(result.segments)
    assert "undecided (silent)" in last


def test_monitor_microphone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fake = FakeSoundDevice(FakeSoundDevice.device("USB microphone", 16_000.0))
    open_device = Microphone._open

    def open_and_speak(self: Microphone, device: Any) -> None:
        open_device(self, device)
        fake.streams[-1].hear(speech(9))
        threading.Timer(0.1, self.close).start()

    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(Microphone, "_open", open_and_speak)
    module = load("monitor_microphone")
    assert module.main(["--list"]) == 0
    assert "USB microphone" in capsys.readouterr().out
    assert module.main(["--device", "0", "--alarm-after", "1", "--log", str(tmp_path / "log")]) == 0
    shown = capsys.readouterr().out
    assert "speech-started" in shown
    assert "over: 9 s heard" in shown
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "log").read_text("utf-8").splitlines()]
    assert "verdict" in kinds
    assert kinds[-1] == "finished"


def test_server() -> None:
    module = load("server")

    async def calls() -> list[Any]:
        server = await module.serve(Detector(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            good = [module.call(path, "127.0.0.1", port) for path in (VOICE, AUDIO / "synthetic_piper_en.flac")]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"no JSON\n")
            return [*await asyncio.gather(*good), json.loads(await reader.readline())]

    *answers, refused = asyncio.run(calls())
    assert refused["kind"] == "error"
    for path, events in zip((VOICE, AUDIO / "synthetic_piper_en.flac"), answers, strict=True):
        assert events[-1]["kind"] == "finished"
        assert events[-1]["verdict"] == Detector().detect(path).verdict
        assert events[-1]["score"] == pytest.approx(Detector().detect(path).score, abs=0.1), "but for 16-bit samples"
        assert any(event["kind"] == "score" for event in events[:-1])


def test_the_page_in_the_browser_gives_the_advice_of_the_package() -> None:
    script = (EXAMPLES / "browser" / "app.js").read_text("utf-8")
    assert all(f'"{reason}": "{remedy}"' in script for reason, remedy in REMEDIES.items())


def test_voice_agent_gate(capsys: pytest.CaptureFixture[str], tiny_bundle: Path) -> None:
    module = load("voice_agent_gate")
    assert module.main([str(VOICE), "--bundle", str(tiny_bundle)]) == 0
    decisions = [line.split()[2] for line in capsys.readouterr().out.splitlines()]
    assert decisions[:2] == ["hold", "allow"]

    gate = module.Gate(Detector(tiny_bundle), RATE, sure=1, patience=2.0)
    seen = []
    for part in (speech(4), np.zeros(4 * RATE, np.float32), 0.05 * speech(4)):
        for start in range(0, len(part), 320):
            seen.append(gate.push(part[start : start + 320]))
    changes = [one for one, before in zip(seen, [None, *seen[:-1]], strict=True) if one != before]
    assert changes == ["hold", "allow", "hold", "deny"], "loud, nobody, quiet: the bundle takes quiet for spoof"


def test_batch_to_csv(tmp_path: Path) -> None:
    for name in ("human_june_fr.flac", "synthetic_piper_en.flac"):
        (tmp_path / "in" / "deeper").mkdir(parents=True, exist_ok=True)
        shutil.copy(AUDIO / name, tmp_path / "in" / "deeper")
    (tmp_path / "in" / "broken.wav").write_text("no audio")
    assert load("batch_to_csv").main([str(tmp_path / "in"), str(tmp_path / "out.csv"), "--jobs", "2"]) == 0
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [
        str(Path(name)) for name in ("broken.wav", "deeper/human_june_fr.flac", "deeper/synthetic_piper_en.flac")
    ]
    assert "cannot be decoded" in rows[0]["error"]
    result = Detector().detect(VOICE)
    assert float(rows[1]["score"]) == pytest.approx(result.score)
    assert float(rows[1]["lowest_window"]) == min(segment.score for segment in result.segments)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out.csv"]


def test_convert_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = pytest.importorskip("loudness_corpus").make_corpus(tmp_path / "corpus", bonafide=8, spoof=8)
    arguments = ["--out", str(tmp_path / "bundle"), "--corpus", str(corpus), "--subset", "dev"]
    assert load("convert_checkpoint").main(arguments) == 0
    converted, quantized, _ = capsys.readouterr().out.splitlines()
    difference = re.search(r"at most (\S+) from torch", converted)
    assert difference
    assert float(difference[1]) < 1e-4
    assert "int8" in quantized
    assert Bundle(tmp_path / "bundle-int8").manifest.engines[0].precision == "int8"


def test_recalibrate(tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = pytest.importorskip("loudness_corpus").make_corpus(tmp_path / "corpus")
    recordings = tmp_path / "recordings"
    for key, numbers in {"bonafide": range(40), "spoof": range(40, 100)}.items():
        (recordings / key).mkdir(parents=True)
        for number in numbers:
            shutil.copy(corpus / "dev" / f"L_D_{number:04}.wav", recordings / key)
    arguments = [str(recordings), "--bundle", str(tiny_bundle), "--out", str(tmp_path / "new"), "--prior", "0.9"]
    assert load("recalibrate").main(arguments) == 0
    before, after = (float(found) for found in re.findall(r"Cllr\s+(\S+) bits", capsys.readouterr().out))
    assert after < before
    manifest = Bundle(tmp_path / "new").manifest
    assert manifest.calibration
    assert (manifest.calibration.bonafide, manifest.calibration.spoof, manifest.calibration.prior) == (20, 30, 0.9)


def test_voice_login(tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = pytest.importorskip("loudness_corpus").make_corpus(tmp_path / "corpus")
    assert load("voice_login_worth").main([str(corpus), "--bundle", str(tiny_bundle)]) == 0
    shown = capsys.readouterr()
    _, counts, _, *rows, advice = shown.out.splitlines()
    assert "dev, voices: " in shown.err
    # 40 recordings of 7 speakers, two of each enrolled; the 26 others are each one target and six nontarget attempts.
    assert set(counts.removeprefix("Attempts: ").split(", ")) == {"60 spoof", "26 target", "156 nontarget"}
    costs = {row[:18].strip(): float(row[18:28]) for row in rows}
    assert len(costs) == 2 + len(Bundle(tiny_bundle).manifest.operating_points)
    assert all(0 <= cost <= 1 for cost in costs.values())
    assert costs[advice.removeprefix("Take the row that costs least: ").partition(". A band")[0]] == min(costs.values())


def test_partial_edit_tells_where_to_listen(capsys: pytest.CaptureFixture[str]) -> None:
    clip = AUDIO / "human_allison_en.flac"
    assert load("partial_edit").main([str(clip), "--hop", "1"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 1 + 7 + 1
    assert rows[-1].startswith("Listen first from ")


def test_voice_login_enrols_verifies_and_steps_up(tiny_bundle: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.wav" for name in ("loud", "between", "quiet")}
    for file, gain in zip(files.values(), (1.0, 0.32, 0.05), strict=True):
        soundfile.write(file, gain * speech(4), RATE)
    detector = Detector(tiny_bundle)
    scores = {name: detector.detect(file).score or 0.0 for name, file in files.items()}
    banded = Detector(tiny_bundle, accept=scores["between"] + 0.1, reject=min(0.0, scores["between"] - 0.1))
    login = load("voice_login").Login(banded, alike=0.5)
    with pytest.raises(ValueError, match="cannot enrol"):
        login.enrol("ann", [files["quiet"]])
    login.enrol("ann", [files["loud"]])
    assert [login.verify("ann", file)[0] for file in files.values()] == ["accept", "step up", "reject"]


def test_voice_login_counts_what_min_adcf_counts() -> None:
    module = load("voice_login_worth")
    metrics = pytest.importorskip("vivavoce_calibration.metrics")
    tandem = pytest.importorskip("vivavoce_calibration.challenges.tandem")
    rng = np.random.default_rng(0)
    scores = [rng.normal(mean, 1, size) for mean, size in ((2, 300), (0, 500), (1, 200))]
    threshold = module.best_threshold(*scores)
    others, spoofs = (metrics.error_rates(scores[0], one, threshold) for one in scores[1:])
    miss, other, spoof = module.COSTS
    cost = (miss * others.fnr + other * others.fpr + spoof * spoofs.fpr) / min(miss, other + spoof)
    assert cost == pytest.approx(tandem.min_adcf(*scores, costs=tandem.ADCF_PAPER))
