"""Singing from end to end: a checkpoint of CtrSVDD's baseline becomes an INT8 bundle, evaluated as that challenge does."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_networks import countermeasure

from vivavoce.bundle import Bundle
from vivavoce_calibration.challenges.files import read_matched
from vivavoce_calibration.commands.verbs import evaluate_command
from vivavoce_calibration.metrics import eer
from vivavoce_converters.checkpoints.official import CTRSVDD, official_name
from vivavoce_converters.commands.verbs import convert_command, quantize_command

RATE = 16_000
SPOOFS = {"A09": 5, "A12": 4, "A14": 3}
"""Deepfakes of each attack; A14 is none of those that the challenge reports, and of the living ACESinger is none."""


def sung(rng: np.random.Generator, harmonics: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """A second of a note with vibrato."""
    time = np.arange(RATE) / RATE
    phase = 2 * np.pi * (rng.uniform(150, 600) * time + 0.5 * np.sin(2 * np.pi * 5.5 * time))
    return 0.1 * sum(np.sin(n * phase) / n for n in range(1, harmonics + 1)) + 0.002 * rng.standard_normal(RATE)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Half a dozen notes of each kind, in lists for train, dev and test as they are distributed."""
    rng = np.random.default_rng(0)
    (tmp_path / "ctrsvdd" / "flac").mkdir(parents=True)
    for subset in ("train", "dev", "test"):
        kinds = [("m4singer", "-", "bonafide")] * 8 + [("acesinger", "-", "bonafide")] * 2
        kinds += [("jvsmusic", attack, "deepfake") for attack, count in SPOOFS.items() for _ in range(count)]
        lines = []
        for number, (source, attack, label) in enumerate(kinds):
            name = f"CtrSVDD_{subset}_{number:04d}"
            soundfile.write(tmp_path / "ctrsvdd" / "flac" / f"{name}.flac", sung(rng, 3 if label == "bonafide" else 12), RATE)
            lines.append(f"{source} singer{number % 7} {name} - {attack} {label}\n")
        (tmp_path / "ctrsvdd" / f"{subset}.txt").write_text("".join(lines))
    return tmp_path / "ctrsvdd"


@pytest.mark.slow
def test_a_checkpoint_of_ctrsvdd_is_converted_quantized_and_evaluated_by_its_convention(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = countermeasure(wavlm=True, normalize=True, merge="sea", kind="nes2net")
    state = {official_name(key, network, CTRSVDD): tensor for key, tensor in network.state_dict().items()}
    torch.save(state, tmp_path / "checkpoint.pth")
    convert_command(tmp_path / "checkpoint.pth", tmp_path / "float", trained_on=["CtrSVDD train"])
    quantize_command(tmp_path / "float", "x86-vnni", corpus, tmp_path / "int8", count=8, no_gate=True)
    made = Bundle(tmp_path / "int8").manifest
    assert made.model.provenance["conversion"]["family"] == CTRSVDD.name
    assert made.engines[0].precision == "int8"
    capsys.readouterr()
    out = tmp_path / "report"
    assert (
        evaluate_command(tmp_path / "int8", corpus, subset="test", out=out, submission="ctrsvdd", jobs=1, draws=20, json=True)
        == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert (report["bonafide"], report["spoof"], report["subject"]["subset"]) == (8, 9, "test")
    by_attack = {part["name"]: part["spoof"] for part in report["parts"] if part["by"] == "system"}
    assert by_attack == {"A09": 5, "A12": 4}
    matched = read_matched(out / "score.txt", corpus / "test.txt")
    scores = matched.scores["cm"]
    pooled = next(one for one in report["figures"] if one["metric"] == "EER")
    assert pooled["value"] == eer(scores[matched.genuine], scores[~matched.genuine])
    with (out / "predictions.csv").open() as file:
        assert [row["reason"] for row in csv.DictReader(file)].count("no speech") == 17, "a note is no speech"
