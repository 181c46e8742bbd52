"""The example clips: credited, decodable, alive, and stored alike in both classes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

EXAMPLES = Path(__file__).parents[2] / "examples"
AUDIO = EXAMPLES / "audio"
CLIPS = sorted(path for path in AUDIO.iterdir() if path.name != "CREDITS.md")
CREDITS = (AUDIO / "CREDITS.md").read_text("utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in CREDITS.splitlines() if line.startswith("| `")]
CLASSES = ("human", "synthetic")


def of_class(name: str) -> list[Path]:
    return [path for path in CLIPS if path.name.startswith(f"{name}_")]


def rms_dbfs(path: Path) -> float:
    samples, _ = soundfile.read(path)
    return float(10 * np.log10(np.mean(samples**2)))


def storage(path: Path) -> tuple[str, str, int, int]:
    info = soundfile.info(path)
    return info.format, info.subtype, info.samplerate, info.channels


def test_credits_name_every_clip_once_and_nothing_else() -> None:
    assert sorted(row[0] for row in ROWS) == [f"`{path.name}`" for path in CLIPS]
    assert [path for name in CLASSES for path in of_class(name)] == CLIPS


def test_every_credit_is_complete_and_its_licence_is_explained_above_the_table() -> None:
    explained = set(re.findall(r"^- \*\*(.+?)\*\*: ", CREDITS, re.MULTILINE))
    for row in ROWS:
        assert len(row) == 5
        assert all(row)
        assert re.match(r"(Debian|PyPI) [\w-]+ \d", row[2]), "the origin names a package and its version"
    assert {row[3] for row in ROWS} == explained


@pytest.mark.parametrize("clip", CLIPS, ids=lambda path: path.name)
def test_clip_holds_a_few_seconds_of_unclipped_sound_with_pauses(clip: Path) -> None:
    samples, rate = soundfile.read(clip, always_2d=True)
    assert 2 <= len(samples) / rate <= 10
    assert 0.1 < np.abs(samples).max() < 0.95
    frame = rate // 50
    mono = samples.mean(axis=1)[: len(samples) // frame * frame]
    levels = 10 * np.log10(np.mean(mono.reshape(-1, frame) ** 2, axis=1) + 1e-12)
    assert np.percentile(levels, 95) - np.percentile(levels, 5) > 20, "speech rises far above its own pauses"


def test_both_classes_are_stored_alike() -> None:
    human, synthetic = (sorted(map(storage, of_class(name))) for name in CLASSES)
    assert human == synthetic
    assert len({kind[0] for kind in human}) == 3


def test_levels_say_nothing_about_the_class() -> None:
    human, synthetic = (sorted(map(rms_dbfs, of_class(name))) for name in CLASSES)
    assert -27 < min(human + synthetic) < max(human + synthetic) < -19
    np.testing.assert_allclose(human, synthetic, atol=0.5)


def test_folder_stays_small() -> None:
    assert sum(path.stat().st_size for path in AUDIO.iterdir()) < 1_500_000


def test_recipe_lists_the_same_clips_in_pairs_stored_alike() -> None:
    tomllib = pytest.importorskip("tomllib")
    recipe = tomllib.loads((EXAMPLES / "audio_sources.toml").read_text("utf-8"))["clip"]
    assert sorted(clip["file"] for clip in recipe) == [path.name for path in CLIPS]
    for human, synthetic in zip(recipe[::2], recipe[1::2], strict=True):
        assert (human["file"].split("_")[0], synthetic["file"].split("_")[0]) == CLASSES
        assert all(human[key] == synthetic[key] for key in ("sample_rate", "channels", "level"))
        assert Path(human["file"]).suffix == Path(synthetic["file"]).suffix
        assert soundfile.info(AUDIO / human["file"]).samplerate == human["sample_rate"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="make_audio.py reads TOML with the standard library")
def test_recipe_explains_itself_without_the_engines() -> None:
    command = [sys.executable, str(EXAMPLES / "make_audio.py"), "--help"]
    assert "pip install" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
