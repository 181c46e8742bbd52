"""The builder of extra training speech: nothing of dev or eval, one treatment for both classes, a corpus that can be read."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import tarfile
import urllib.request
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from training_data import build as builder
from training_data import human, packages, synthesis
from training_data.build import build
from training_data.corpus import Corpus, seeded
from training_data.human import HUMAN, Human, recordings
from training_data.packages import Missing, need, need_module, unpack
from training_data.resynthesis import RESYNTHESIS, Resynthesis, drawn, resynthesize
from training_data.synthesis import SYNTHESIS, Synthesizer
from training_data.texts import OWN, text
from training_data.utterances import FRAME, RATE, activity, pieces, set_level, to_pcm, trim
from training_data.voice import Voice
from vivavoce.audio import Samples
from vivavoce_calibration.corpora import read_corpus

KEPT_OUT = re.compile(
    r"pico|rhvoice|azure|\bedge|clunits|festvox-ru|msu_ru|gnuspeech|\bsam\b|amazon|lpc|menardi|sounds-(it|ru)|ravdess|tess|ptdb",
    re.IGNORECASE,
)
REMADE = [system for group in RESYNTHESIS for system in group]


def speech(seconds: float, seed: int = 0) -> Samples:
    """Bursts of a buzzing tone with pauses between them, faint noise throughout."""
    time = np.arange(int(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 120 * harmonic * time) / harmonic for harmonic in range(1, 20))
    gate = np.convolve(np.sin(2 * np.pi * 0.4 * time) > -0.6, np.ones(160) / 160, "same")
    noise = np.random.default_rng(seed).normal(0, 1e-3, len(time))
    return (0.1 * buzz * gate + noise).astype(np.float32)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The builder with one human source of two speakers, one synthesizer and one resynthesis; the folder to build in."""
    package = tmp_path / "cache" / "fake-voices"
    for speaker, seconds in (("anna", 9.0), ("ben", 4.0), ("ben", 1.3), ("ben", 1.2)):
        folder = package / "sounds" / speaker
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{seconds}.wav", speech(seconds), RATE)
    pattern = re.compile(r"/sounds/(?P<who>[^/]+)/.*\.wav$")
    source = Human(name="fake", package="fake-voices", licence="CC0", pattern=pattern, language="en", most=100)
    engine = Synthesizer("buzzer", "tts_formant", "none", "CC0", (Voice("one", "fi"),), lambda *_: (speech(3.0), RATE), 3)
    backwards = Resynthesis("backwards", "vocoder", "none", "CC0", lambda x, rng: x[::-1].copy(), 1.0)
    monkeypatch.setattr(builder, "HUMAN", (source,))
    monkeypatch.setattr(builder, "SYNTHESIS", (engine,))
    monkeypatch.setattr(builder, "RESYNTHESIS", ((backwards,),))
    monkeypatch.setattr("training_data.resynthesis.RESYNTHESIS", ((backwards,),))
    return tmp_path


def grow(folder: Path, **options: object) -> Corpus:
    settings = {"only": None, "limit": None, "part": "1/1", **options}
    build(folder / "out", cache=folder / "cache", **settings)  # type: ignore[arg-type]
    return Corpus(folder / "out")


# The tables.


def test_no_source_belongs_to_dev_or_eval(shared: Path) -> None:
    with (shared / "corpus" / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] in ("dev", "eval")]
    # What the training part has of a family may be heard in dev too, from other pages: "seen" tells.
    held_out = {row["source"] for row in rows if row["key"] == "bonafide"} | {
        row["system"] for row in rows if row["seen"] == "no"
    }
    ours = {source.name for source in HUMAN} | {system.name for system in (*SYNTHESIS, *REMADE)}
    assert len(held_out) > 50
    assert not ours & held_out


@pytest.mark.parametrize("entry", [*HUMAN, *SYNTHESIS, *REMADE], ids=lambda entry: entry.name)
def test_no_family_that_is_kept_out(entry: Human | Synthesizer | Resynthesis) -> None:
    words = [entry.name, entry.package]
    words += [voice.name for voice in entry.voices] if isinstance(entry, Synthesizer) else []
    assert not [word for word in words if KEPT_OUT.search(word)]
    assert entry.licence


def test_names_are_unique_and_voices_have_texts() -> None:
    names = [entry.name for entry in (*HUMAN, *SYNTHESIS, *REMADE)]
    assert len(set(names)) == len(names)
    spoken = {voice.language for system in SYNTHESIS for voice in system.voices}
    assert spoken <= {*OWN, "bg", "cs", "de", "en", "es", "fr", "it", "nl", "pl", "ru", "sv"}


def test_every_human_piece_has_one_counterpart_by_signal_processing() -> None:
    signal = RESYNTHESIS[0]
    assert sum(system.share for system in signal) == pytest.approx(1)
    chosen = [[system for system in drawn(f"piece{number}") if system in signal] for number in range(2000)]
    assert all(len(systems) == 1 for systems in chosen)
    for system in signal:
        assert sum(system in systems for systems in chosen) / 2000 == pytest.approx(system.share, abs=0.04)


def test_recordings_tell_speaker_and_language(tmp_path: Path) -> None:
    for path in (
        "sound/city/cs/vit-m-hlava.ogg",
        "sound/city/cs/vit-hs-klid.ogg",
        "sound/share/border/cs/x.ogg",
        "music/a.ogg",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    found = {recording.path.name: (recording.speaker, recording.language) for recording in recordings(HUMAN[0], tmp_path)}
    assert found == {
        "vit-m-hlava.ogg": ("fillets_cs_m", "cs"),
        "vit-hs-klid.ogg": ("fillets_cs_city", "cs"),
        "x.ogg": ("fillets_cs_border", "cs"),
    }


def test_texts_are_about_as_long_as_asked() -> None:
    short, long = (np.mean([len(text("fi", seconds, seeded(f"{n}"), Path())) for n in range(30)]) for seconds in (1.5, 5.0))
    assert 20 <= short < 60 <= long <= 120


# Cutting and levelling.


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.3, 15), min_size=1, max_size=4), st.integers(0, 9))
def test_pieces_are_of_speech_and_of_1_to_6_seconds(lengths: list[float], seed: int) -> None:
    for piece in pieces(speech(seconds, seed) for seconds in lengths):
        assert RATE <= len(piece) <= 6 * RATE
        active = np.flatnonzero(activity(piece) > -35)
        assert active[0] * FRAME <= 0.25 * RATE + FRAME
        assert len(piece) - (active[-1] + 1) * FRAME <= 0.25 * RATE + FRAME


def test_edges_are_cut_to_a_quarter_second_and_silence_gives_nothing() -> None:
    quiet = np.zeros(2 * RATE, np.float32)
    assert len(trim(np.concatenate([quiet, np.full(RATE, 0.1, np.float32), quiet]))) == 1.5 * RATE
    assert len(trim(quiet)) == 0
    assert list(pieces([quiet])) == []


def test_clips_below_a_second_are_joined_or_left_out() -> None:
    clip = speech(0.7)
    assert [len(piece) for piece in pieces([clip] * 3)] == [3 * len(clip)]
    assert list(pieces([clip])) == []


def test_levels_are_drawn_without_regard_to_the_level_before() -> None:
    x = speech(3.0)
    soft, loud = set_level(x * 0.01, seeded("a")), set_level(x, seeded("a"))
    np.testing.assert_allclose(soft, loud, atol=1e-3)
    assert np.abs(set_level(x, seeded("b"))).max() <= 0.97001


def test_pcm_has_no_digital_silence() -> None:
    samples = to_pcm(np.zeros(RATE, np.float32), seeded("a"))
    assert 0.2 < np.count_nonzero(samples) / RATE < 0.3
    assert np.abs(samples).max() == 1


def test_both_classes_go_the_same_way(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signal = soundfile.read(small / "cache/fake-voices/sounds/anna/9.0.wav", dtype="float32")[0]
    engine = replace(builder.SYNTHESIS[0], speak=lambda *_: (signal, RATE), most=1)
    monkeypatch.setattr(builder, "SYNTHESIS", (engine,))
    corpus = grow(small)
    spoken, recorded = corpus.samples("buzzer_00000"), corpus.samples("fake_anna_0000")
    assert len(spoken) == len(recorded)
    assert np.corrcoef(spoken, recorded)[0, 1] > 0.99999


# Resynthesis.


@pytest.mark.parametrize("system", REMADE, ids=lambda system: system.name)
def test_resynthesis_changes_the_waveform_and_keeps_length_and_level(system: Resynthesis) -> None:
    x = speech(1.5)
    try:
        made = resynthesize(system, x, seeded("a"))
    except Missing as reason:
        pytest.skip(str(reason))
    assert made.shape == x.shape
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    assert np.abs(np.corrcoef(x, made)[0, 1]) < 0.98
    assert 20 * np.log10(np.std(made) / np.std(x)) == pytest.approx(0, abs=0.5)


# The corpus.


def test_the_corpus_can_be_read(small: Path) -> None:
    corpus = grow(small)
    trials = {trial.id: trial for trial in read_corpus(small / "out")}
    keys = [trial.key for trial in trials.values()]
    humans = keys.count("bonafide")
    assert humans >= 3
    assert keys.count("spoof") == humans + 3
    human, made = trials["fake_ben_0000"], trials["fake_ben_0000_backwards"]
    assert (human.speaker, human.language, human.source, human.codec) == ("fake_ben", "en", "fake", "flac")
    assert (made.system, made.speaker, made.duration) == ("backwards", "fake_ben", human.duration)
    info = soundfile.info(human.audio)
    assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_16")
    assert corpus.rows["fake_ben_0000_backwards"].licence == "CC0; source: CC0"


def test_metadata_has_the_columns_of_the_shared_corpus(small: Path, shared: Path) -> None:
    grow(small, limit=1)
    ours, theirs = (path / "metadata.csv" for path in (small / "out", shared / "corpus"))
    first, second = (path.read_text(encoding="utf-8").splitlines()[0].split(",") for path in (ours, theirs))
    assert [column for column in second if column in first] == first


def test_a_build_goes_on_and_makes_what_an_unbroken_one_makes(small: Path) -> None:
    grow(small, limit=1)
    kept = small / "out/train/buzzer_00000.flac"
    before = kept.stat().st_mtime_ns
    grow(small)
    broken = {path.name: path.read_bytes() for path in (small / "out/train").iterdir()}
    assert kept.stat().st_mtime_ns == before
    build(small / "whole", cache=small / "cache", only=None, limit=None, part="1/1")
    whole = {path.name: path.read_bytes() for path in (small / "whole/train").iterdir()}
    assert {name for name in whole if "buzzer" not in name} == {name for name in broken if "buzzer" not in name}
    assert all(broken[name] == data for name, data in whole.items() if "buzzer" not in name)


def test_parts_share_nothing_and_make_the_whole(small: Path) -> None:
    names = [set(grow(small / part.replace("/", "-"), part=part).rows) for part in ()]
    for part in ("1/2", "2/2", "1/1"):
        build(small / part.replace("/", "of"), cache=small / "cache", only=["fake"], limit=None, part=part)
        names.append(set(Corpus(small / part.replace("/", "of")).rows))
    assert not names[0] & names[1]
    assert names[0] | names[1] == names[2]


def test_a_missing_package_is_skipped_and_named(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def speak(*_: object) -> tuple[Samples, int]:
        return speech(1.0), int(bool(need("no-such-program", "the package that has it")))

    monkeypatch.setattr(builder, "SYNTHESIS", (replace(builder.SYNTHESIS[0], speak=speak),))
    corpus = grow(small)
    assert not [name for name in corpus.rows if name.startswith("buzzer")]
    assert [name for name in corpus.rows if name.endswith("backwards")]
    assert "buzzer skipped: The program no-such-program is not installed." in " ".join(capsys.readouterr().out.split())


def test_missing_modules_and_wrong_options_are_said_plainly(small: Path) -> None:
    with pytest.raises(Missing, match="Install no-such-package"):
        need_module("no_such_module", "no-such-package")
    with pytest.raises(typer.BadParameter, match="Choose of: fake, buzzer, backwards"):
        grow(small, only=["nonsense"])
    with pytest.raises(typer.BadParameter, match="is not k/n"):
        grow(small, part="3/2")


def test_programs_write_where_they_are_told() -> None:
    command = ["python3", "-c", "import sys, wave; w = wave.open(sys.argv[1], 'wb'); w.setparams((1, 2, 8000, 0, 'NONE', '')); "
               "w.writeframes(sys.stdin.buffer.read()); w.close()", "{wav}"]  # fmt: skip
    samples, rate = synthesis.by_program(command, b"\x00\x40\x00\xc0")
    assert rate == 8000
    assert samples.tolist() == [0.5, -0.5]


def test_g722_needs_its_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(Missing, match="av is not installed"):
        human.decode(tmp_path / "a.g722")


@pytest.mark.parametrize("file", ["some_voices-1.0-py3-none-any.whl", "some-voices-1.0.tar.gz"])
def test_distributions_are_unpacked_where_their_digest_is_the_one_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    archive = tmp_path / file
    if file.endswith(".whl"):
        with zipfile.ZipFile(archive, "w") as wheel:
            wheel.writestr("voices/anna.wav", b"speech")
    else:
        (tmp_path / "anna.wav").write_bytes(b"speech")
        with tarfile.open(archive, "w:gz") as sources:
            sources.add(tmp_path / "anna.wav", "voices/anna.wav")
    content = archive.read_bytes()
    index = json.dumps({"files": [{"filename": file, "url": "https://files/it"}]}).encode()

    def answer(asked: str | urllib.request.Request) -> io.BytesIO:
        if isinstance(asked, str):
            return io.BytesIO(content)
        assert asked.full_url == f"{packages.INDEX}/some-voices/"
        return io.BytesIO(index)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    cache = tmp_path / "cache"
    with pytest.raises(Missing, match="its sha256 differs"):
        unpack(file, cache, "0" * 64)
    assert not cache.exists()
    folder = unpack(file, cache, hashlib.sha256(content).hexdigest())
    assert (folder / "voices" / "anna.wav").read_bytes() == b"speech"
    monkeypatch.delattr(urllib.request, "urlopen")  # What is there is not fetched again.
    assert unpack(file, cache, "0" * 64) == folder


def test_a_distribution_that_the_index_lacks_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda _: io.BytesIO(b'{"files": []}'))
    with pytest.raises(Missing, match=r"PyPI has no gone-1\.0\.tar\.gz"):
        unpack("gone-1.0.tar.gz", tmp_path, "0" * 64)
