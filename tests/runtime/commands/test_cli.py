"""The command line: verdicts, formats, exit codes, errors, and what it looks like."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from functools import partial
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bundles import make_bundle
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from vivavoce import Detector
from vivavoce.audio import load
from vivavoce.bundle import Bundle
from vivavoce.cli import main
from vivavoce.commands.app import VERBS, build
from vivavoce.commands.scan_rows import FIELDS, Outcome, Rows, bar
from vivavoce.engines.engine import load_engine
from vivavoce.engines.self_test import self_test
from vivavoce.terminal import console as terminal
from vivavoce.terminal.console import duration, size

ROOT = Path(__file__).parents[3]
AUDIO = ROOT / "examples" / "audio"
VOICE = AUDIO / "human_june_fr.flac"
ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One recording of each kind, for the bundle that measures loudness."""
    folder = tmp_path_factory.mktemp("recordings")
    samples, rate = soundfile.read(VOICE)
    soundfile.write(folder / "bonafide.wav", samples, rate)
    soundfile.write(folder / "spoof.wav", samples * 0.1, rate)
    soundfile.write(folder / "undecided.wav", np.zeros(2 * rate), rate)
    (folder / "unreadable.wav").write_text("no audio")
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def two_engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle like `tiny_bundle`, with an engine named int8.onnx before the other."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "two", precisions=("int8", "float32"))


def run(*arguments: object, **options: Any) -> Any:
    return CliRunner().invoke(build(), [str(argument) for argument in arguments], **options)


def process(*arguments: object, before: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, after the Python statement `before`."""
    code = f"import sys\n{before}\nfrom vivavoce.cli import main\nmain()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


# Scan: verdicts, exit codes, formats.


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        (["bonafide"], 0),
        (["bonafide", "spoof"], 1),
        (["spoof", "undecided", "unreadable"], 1),
        (["bonafide", "undecided"], 3),
        (["unreadable"], 3),
    ],
)
def test_scan_exits_with_the_worst_outcome(kinds: list[str], code: int, recordings: dict[str, Path], tiny_bundle: Path) -> None:
    files = [recordings[kind] for kind in kinds]
    done = run("scan", "--bundle", tiny_bundle, *files)
    assert done.exit_code == code
    assert run("scan", "--bundle", tiny_bundle, "--exit-zero", *files).exit_code == 0
    rows = done.stdout.splitlines()[2:-1]
    words = {"bonafide": "✓ bona fide ", "spoof": "✗ spoof ", "undecided": "? undecided ", "unreadable": "! unreadable "}
    assert [row[:12] for row in rows if not row.startswith("  ")] == [words[kind].ljust(12)[:12] for kind in kinds]


def test_scan_tells_of_a_path_that_is_not_there_before_it_begins(recordings: dict[str, Path], tiny_bundle: Path) -> None:
    done = run("scan", "--bundle", tiny_bundle, recordings["bonafide"], "nope.wav")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "nope.wav does not exist" in done.stderr
    assert run("verify", "nope").exit_code == 2


def test_scan_demo_hears_a_living_and_a_synthetic_voice(tiny_bundle: Path) -> None:
    lines = run("scan", "--demo", "--json", "--exit-zero", "--bundle", tiny_bundle).stdout.splitlines()
    clips = [Path(json.loads(line)["file"]) for line in lines]
    assert [clip.name for clip in clips] == ["human_carlo_it.flac", "synthetic_piper_en.flac"]
    assert all(clip.read_bytes() == (AUDIO / clip.name).read_bytes() for clip in clips)
    assert "vivavoce scan --demo" in run("scan").stderr


def test_scan_summary_counts_every_outcome(recordings: dict[str, Path], tiny_bundle: Path) -> None:
    done = run("scan", "--bundle", tiny_bundle, *recordings.values(), recordings["spoof"])
    assert "5 files: 1 bona fide, 2 spoof, 1 undecided, 1 unreadable; " in done.stdout.splitlines()[-1]


def timeless(output: str) -> list[dict[str, Any]]:
    """The JSON objects of `scan`, without the time at which each was written."""
    lines = [json.loads(line) for line in output.splitlines()]
    assert all(line.pop("clock").endswith("+00:00") for line in lines)
    return lines


def test_scan_json_is_the_result_and_goes_on_after_a_file_that_is_no_audio(
    recordings: dict[str, Path], tiny_bundle: Path
) -> None:
    files = [recordings[kind] for kind in ("unreadable", "bonafide", "undecided", "spoof")]
    done = run("scan", "--json", "--bundle", tiny_bundle, *files)
    lines = timeless(done.stdout)
    assert [line["file"] for line in lines] == list(map(str, files))
    assert "cannot be decoded" in lines[0]["error"]
    assert [lines[0][key] for key in lines[0] if key not in ("file", "error")] == [None] * (len(lines[1]) - 2)
    detector = Detector(tiny_bundle)
    for file, line in zip(files[1:], lines[1:], strict=True):
        expected = json.loads(json.dumps(detector.detect(file).to_dict()))
        assert line == {"file": str(file), **expected, "error": None}


def test_scan_csv_has_frozen_columns_and_the_values_of_json(recordings: dict[str, Path], tiny_bundle: Path) -> None:
    assert " ".join(FIELDS) == (
        "file verdict score probability threshold reject_below reason remedy duration speech missing error clock "
        "bundle version manifest_sha256 engine operating_point vivavoce channel"
    )
    rows = list(csv.DictReader(StringIO(run("scan", "--csv", "--bundle", tiny_bundle, *recordings.values()).stdout)))
    lines = run("scan", "--json", "--bundle", tiny_bundle, *recordings.values()).stdout.splitlines()
    for row, line in zip(rows, map(json.loads, lines), strict=True):
        assert tuple(row) == FIELDS
        line |= line["provenance"] or dict.fromkeys(FIELDS[-7:-1])
        assert row.pop("clock") <= line.pop("clock")
        assert row == {key: "" if line[key] is None else str(line[key]) for key in row}


def test_scan_keeps_the_order_of_files_however_many_are_in_work(recordings: dict[str, Path], tiny_bundle: Path) -> None:
    files = [*recordings.values(), *reversed(recordings.values())] * 2
    one, several = (run("scan", "--json", "--bundle", tiny_bundle, "--jobs", jobs, *files).stdout for jobs in (1, 3))
    assert len(one.splitlines()) == len(files)
    assert timeless(one) == timeless(several)


def test_scan_reads_standard_input(tiny_bundle: Path) -> None:
    done = run("scan", "--json", "--bundle", tiny_bundle, "-", input=VOICE.read_bytes())
    (line,) = timeless(done.stdout)
    assert line == {"file": "-", **json.loads(json.dumps(Detector(tiny_bundle).detect(VOICE).to_dict())), "error": None}


def test_scan_searches_folders_for_visible_audio(tmp_path: Path, tiny_bundle: Path) -> None:
    for name in ("b.WAV", "a.flac", "deep/er/c.ogg", "notes.txt", "._b.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    done = run("scan", "--json", "--bundle", tiny_bundle, tmp_path)
    found = [Path(json.loads(line)["file"]) for line in done.stdout.splitlines()]
    assert found == [tmp_path / name for name in ("a.flac", "b.WAV", "deep/er/c.ogg")]


def test_scan_refuses_a_folder_without_audio_and_settings_that_cannot_be(tmp_path: Path, tiny_bundle: Path) -> None:
    for arguments, words in [
        ([tmp_path], "holds no audio files"),
        (["--json", "--csv", VOICE], "exclude each other"),
        (["--operating-point", "fpr=7%", VOICE], "Choose eer, fpr=1%"),
        (["--operating-point", "nan", VOICE], "Give a finite number"),
    ]:
        done = run("scan", "--bundle", tiny_bundle, *arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        assert words in done.stderr
    assert run("scan", "--bundle", tmp_path / "nowhere", VOICE).exit_code == 2


@pytest.mark.parametrize(("point", "threshold"), [(None, 0.0), ("fpr=1%", 1.5), ("99", 99.0), ("-0.5", -0.5)])
def test_scan_takes_an_operating_point_by_name_or_number(point: str | None, threshold: float, tiny_bundle: Path) -> None:
    options = [] if point is None else ["--operating-point", point]
    line = json.loads(run("scan", "--json", "--bundle", tiny_bundle, *options, VOICE).stdout)
    assert line["threshold"] == threshold
    lower = "spoof" if line["score"] < min(threshold, 0) else "undecided"
    assert line["verdict"] == ("bonafide" if line["score"] >= threshold else lower)


FORMATS = {
    **{".aif": "AIFF", ".aifc": "AIFF", ".oga": "OGG", ".opus": "OGG", ".snd": "AU"},
    **{name: name[1:].upper() for name in (".aiff", ".au", ".caf", ".flac", ".mp3", ".ogg", ".rf64", ".w64", ".wav")},
}


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_every_suffix_that_folders_are_searched_for_can_be_decoded(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"tone{suffix}"
    tone = np.sin(np.arange(16_000) / 8) / 2
    with path.open("wb") as file:
        soundfile.write(file, tone, 16_000, format=FORMATS[suffix], subtype="OPUS" if suffix == ".opus" else None)
    assert np.std(load(path, 16_000)) == pytest.approx(np.std(tone), rel=0.1)


# What people see.


def screen(width: int, outcomes: list[Outcome], detector: Detector, **options: Any) -> list[str]:
    out = Console(file=StringIO(), width=width, highlight=False, markup=False, soft_wrap=True, **options)
    rows = Rows(out, detector)
    for outcome in outcomes:
        rows.write(outcome)
    return out.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def outcomes(recordings: dict[str, Path], tiny_bundle: Path) -> list[Outcome]:
    detector = Detector(tiny_bundle)
    names = {
        "bonafide": "a/rather/long/path/to/a/recording/of/a/living/voice/bonafide.wav",
        "spoof": f"evil{ESCAPE}[2J\n.wav",
        "undecided": "録音の長い名前/とても長い日本語の名前のファイルです.wav",
    }
    judged = [Outcome(names[kind], detector.detect(recordings[kind])) for kind in names]
    return [*judged, Outcome("unreadable.wav", error="unreadable.wav cannot be decoded: Format not recognised. Give WAV.")]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_rows_fit_the_terminal_and_keep_the_verdict(width: int, outcomes: list[Outcome], tiny_bundle: Path) -> None:
    lines = screen(width, outcomes, Detector(tiny_bundle), force_terminal=True, no_color=True)
    plain = [re.sub(rf"{ESCAPE}\[[0-9;]*m", "", line) for line in lines]
    text = Console(width=width)
    assert all(text.render_str(line, markup=False).cell_len <= width for line in plain)
    for words in ("✓ bona fide", "✗ spoof", "? undecided", "! unreadable"):
        assert sum(line.startswith(words) for line in plain) == 1
    assert any(line.endswith("bonafide.wav") for line in plain)
    assert any("silent" in line for line in plain), "the reason has a place at every width"


def test_rows_are_coloured_on_a_terminal_alone(outcomes: list[Outcome], tiny_bundle: Path) -> None:
    detector = Detector(tiny_bundle)
    assert any(f"{ESCAPE}[32m" in line for line in screen(80, outcomes, detector, force_terminal=True))
    piped = "".join(screen(80, outcomes, detector))
    assert ESCAPE not in piped
    assert "a/rather/long/path/to/a/recording/of/a/living/voice/bonafide.wav" in piped, "off a terminal nothing is cut"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}], ids=["colour", "no colour"])
def test_scan_on_a_terminal_colours_unless_told_not_to(variables: dict[str, str], tiny_bundle: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **variables}
    environment = {key: value for key, value in environment.items() if key != "NO_COLOR" or variables}
    command = [sys.executable, "-m", "vivavoce", "scan", "--bundle", str(tiny_bundle), str(VOICE)]
    done = subprocess.run(command, stdout=follower, stderr=subprocess.PIPE, stdin=follower, env=environment, check=False)
    os.close(follower)
    text = b""
    while chunk := _read(leader):
        text += chunk
    os.close(leader)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "✓ bona fide" in text.decode()
    assert ("\x1b[32m✓" in text.decode()) is not bool(variables)
    assert b"1 bona fide, 0 spoof" in text


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says that the other end of a pseudo-terminal is closed with EIO.
        return b""


@given(margin=st.floats(-100, 100), half=st.integers(1, 20), ascii_only=st.booleans())
def test_bar_is_as_wide_as_asked_and_grows_from_the_middle(margin: float, half: int, ascii_only: bool) -> None:
    out = _ConsoleOf("ascii" if ascii_only else "utf-8")
    text = bar(margin, half, out).plain
    assert len(text) == 2 * half + 1
    assert text[half] in "│|"
    left, right = text[:half], text[half + 1 :]
    assert (left if margin >= 0 else right) == " " * half
    filled = (right if margin >= 0 else left[::-1]).rstrip()
    assert " " not in filled
    assert abs(len(filled) - half * min(abs(margin) / 8, 1)) <= 1
    assert text.isascii() or not ascii_only


class _ConsoleOf(Console):
    def __init__(self, encoding: str) -> None:
        super().__init__(file=StringIO())
        self._encoding = encoding

    @property
    def encoding(self) -> str:
        return self._encoding


def test_scan_writes_to_terminals_that_know_ascii_alone(recordings: dict[str, Path], tiny_bundle: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    named = recordings["spoof"].with_name("söng.wav")
    shutil.copy(recordings["spoof"], named)
    done = process("scan", "--bundle", tiny_bundle, recordings["bonafide"], named, env=environment)
    named.unlink()
    assert (done.returncode, done.stderr) == (1, "")
    assert "+ bona fide" in done.stdout
    assert "x spoof" in done.stdout
    assert done.stdout.isascii()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (99.94, "99.9 s"), (99.96, "1:40"), (725, "12:05"), (3599.7, "1:00:00"), (3723, "1:02:03")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(999, "999 bytes"), (164_000, "164 kB"), (4_958_446, "4.96 MB")])
def test_size(count: int, text: str) -> None:
    assert size(count) == text


# Info.


def test_info_json_holds_the_manifest_and_what_would_run(two_engines: Path) -> None:
    told = json.loads(run("info", "--json", two_engines).stdout)
    assert told["manifest"] == Bundle(two_engines).manifest.model_dump(mode="json")
    assert told["engine"] == {"file": "int8.onnx", "provider": "CPUExecutionProvider", "skipped": [], "error": None}
    assert told["versions"]["onnxruntime"] == importlib.metadata.version("onnxruntime")


def test_info_shows_rates_with_intervals_counts_and_corpus(two_engines: Path) -> None:
    text = run("info", two_engines).stdout
    assert "Measured on made up: 100 bona fide and 200 spoof trials" in text
    assert re.search(r"^eer \(default\) +\+0\.000 +5\.0 % \(2\.5–10\.0\)", text, re.MULTILINE)
    assert re.search(r"^int8\.onnx +onnx int8 +any +\d+ bytes +CPUExecutionProvider", text, re.MULTILINE)
    assert re.search(r"made up eval, 100 and 200 *\n(.*\n)*EER +5\.0 % \(2\.0–9\.0\)", text)


def test_info_tells_of_a_bundle_without_calibration_and_measurements(tmp_path: Path) -> None:
    points = [{"name": "as is", "threshold": 0.5}]
    changes = {"calibration": None, "operating_points": points, "default_operating_point": "as is", "evaluations": []}
    text = run("info", make_bundle(tmp_path / "bare", **changes)).stdout
    assert "none: scores are passed on as they are" in text
    assert "Not measured" in text
    assert re.search(r"^one threshold +score from", text, re.MULTILINE)


def test_info_does_without_a_runtime_and_says_what_is_missing(tiny_bundle: Path) -> None:
    done = process("info", tiny_bundle, before="sys.modules['onnxruntime'] = None")
    assert done.returncode == 0
    assert 'pip install "vivavoce[cpu]"' in done.stdout


# Verify.


def states(bundle: Path) -> tuple[int, dict[str, str]]:
    done = run("verify", "--json", bundle)
    told = json.loads(done.stdout)
    assert told["ok"] is (done.exit_code == 0)
    return done.exit_code, {check["subject"]: check["state"] for check in told["checks"]}


def test_verify_checks_every_file_and_every_engine(two_engines: Path) -> None:
    code, found = states(two_engines)
    assert code == 0
    files = ["manifest", "int8.onnx", "float32.onnx", "self-test.flac", "model-card.md"]
    assert found == dict.fromkeys([*files, "self test, int8.onnx", "self test, float32.onnx"], "ok")
    assert run("verify", two_engines).stdout.splitlines()[-1] == f"verified: {two_engines}"


@pytest.mark.parametrize("name", ["float32.onnx", "self-test.flac", "model-card.md"])
@pytest.mark.parametrize("action", ["alter", "remove"])
def test_verify_finds_a_file_that_was_altered_or_removed(name: str, action: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    content = (bundle / name).read_bytes()
    (bundle / name).unlink()
    if action == "alter":
        (bundle / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    code, found = states(bundle)
    assert (code, found[name], found["self test"]) == (1, "failed", "skipped")
    assert "NOT verified" in run("verify", bundle).stdout


def test_verify_reports_files_that_nobody_lists(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    (bundle / "extra").mkdir()
    (bundle / "extra" / "other.onnx").write_bytes(b"")
    code, found = states(bundle)
    assert (code, found["extra/other.onnx"]) == (0, "warning")


@pytest.mark.parametrize("changes", [{"format": "vivavoce-bundle/9"}, {"surprise": 1}, {"engines": []}])
def test_verify_finds_a_manifest_of_another_form(changes: dict[str, Any], tmp_path: Path) -> None:
    assert states(make_bundle(tmp_path / "bundle", **changes)) == (1, {"manifest": "failed"})


def self_test_of(bundle: Path, **changes: Any) -> dict[str, Any]:
    return {**json.loads((bundle / "manifest.json").read_text())["self_test"], **changes}


def test_verify_fails_where_scores_deviate_or_windows_are_missing(tmp_path: Path) -> None:
    sound = make_bundle(tmp_path / "sound")
    expected = Bundle(sound).manifest.self_test.scores
    deviating = make_bundle(tmp_path / "a", self_test=self_test_of(sound, scores=[expected[0], expected[1] + 0.01]))
    short = make_bundle(tmp_path / "b", self_test=self_test_of(sound, scores=[*expected, 0.0]))
    for bundle, words in [(deviating, "largest deviation 0.01, 0.001 allowed"), (short, "3 windows of 16000 are announced")]:
        assert states(bundle)[0] == 1
        assert words in run("verify", bundle).stdout


def engines_of(bundle: Path, **changes: Any) -> list[dict[str, Any]]:
    return [{**engine, **changes} for engine in json.loads((bundle / "manifest.json").read_text())["engines"]]


def test_verify_fails_where_an_engine_does_not_run(tmp_path: Path) -> None:
    sound = make_bundle(tmp_path / "sound")
    bundle = make_bundle(tmp_path / "bundle", engines=engines_of(sound, input="nothing"))
    code, found = states(bundle)
    assert (code, found["self test, float32.onnx"]) == (1, "failed")
    assert "loads, but does not run" in run("verify", bundle).stdout


def test_verify_skips_what_this_machine_cannot_open_but_not_everything(two_engines: Path) -> None:
    done = process("verify", "--json", two_engines, before="sys.modules['onnxruntime'] = None")
    checks = json.loads(done.stdout)["checks"]
    assert done.returncode == 1
    assert [check["state"] for check in checks[-3:]] == ["skipped", "skipped", "failed"]
    assert all('pip install "vivavoce[cpu]"' in check["detail"] for check in checks[-3:-1])


def test_self_test_gives_the_largest_deviation(tmp_path: Path) -> None:
    sound = make_bundle(tmp_path / "sound")
    expected = Bundle(sound).manifest.self_test.scores
    bundle = Bundle(make_bundle(tmp_path / "a", self_test=self_test_of(sound, scores=[expected[0] - 3, expected[1] + 1])))
    (file,) = bundle.manifest.engines
    assert self_test(bundle, load_engine(bundle, file)) == pytest.approx(3, abs=1e-3)
    assert self_test(Bundle(sound), load_engine(bundle, file)) < 1e-3


# The command itself.


def test_help_tells_the_story_on_one_screen() -> None:
    done = process("--help", env={**os.environ, "COLUMNS": "80"})
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    others = [entry.name for entry in importlib.metadata.entry_points(group="vivavoce.commands")]
    assert len(lines) - len(others) <= 26
    assert all(len(line) <= 80 for line in lines)
    for verb in (*VERBS, *others):
        (summary,) = [line for line in lines if line.startswith(f"  {verb} ")]
        assert summary.endswith(".")
    assert "..." not in run("--help", env={"COLUMNS": "50"}).stdout.split("Commands:")[1]


def test_version_and_usage_errors() -> None:
    assert run("--version").stdout == f"vivavoce {importlib.metadata.version('vivavoce')}\n"
    assert run("no-such-verb").exit_code == 2
    assert run("scan").exit_code == 2


def test_help_of_every_verb_needs_no_extra() -> None:
    extras = ("onnxruntime", "onnx", "torch", "sounddevice", "scipy", "sklearn", "matplotlib", "transformers", "safetensors")
    hidden = f"sys.modules.update(dict.fromkeys({extras}))"
    verbs = [*VERBS, *(entry.name for entry in importlib.metadata.entry_points(group="vivavoce.commands"))]
    for verb in verbs:
        done = process(verb, "--help", before=hidden)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Usage: ")
        assert not re.search(r"<\w+(\[[^>]*)?>", done.stdout)


@pytest.mark.parametrize("module", ["typer", "rich"])
def test_without_its_extra_the_command_says_what_to_install(module: str) -> None:
    done = process("--help", before=f"sys.modules[{module!r}] = None")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f'Error: {module} is not installed. Run: pip install "vivavoce[app]"\n'


def test_without_a_runtime_scan_says_what_to_install() -> None:
    done = process("scan", VOICE, "--bundle", "x", before="sys.modules['onnxruntime'] = None")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (40, ["name  rate", "a     1 % (0.5–9.9)"]),
        (15, ["name  rate", "a     1 %", "      (0.5–9.9)"]),
        (14, ["name rate", "a    1 %", "     (0.5–9.9)"]),
    ],
)
def test_narrow_tables_break_between_words(width: int, expected: list[str]) -> None:
    printed = StringIO()
    terminal.show(Console(width=width, file=printed), terminal.table(("name", "rate"), [("a", "1 % (0.5–9.9)")]))
    assert [line.rstrip() for line in printed.getvalue().splitlines()] == expected


def test_columns_that_do_not_fit_beside_each_other_stand_below() -> None:
    printed = StringIO()
    rows = [("a", "(0.5–9.9)", "(1.5–2.9)", "1"), ("b", "–", "–", "2")]
    terminal.show(Console(width=18, file=printed), terminal.table(("name", "first", "second", "n"), rows, title="t"))
    lines = [line.split() for line in printed.getvalue().splitlines()]
    first = [["t"], ["name", "first"], ["a", "(0.5–9.9)"], ["b", "–"]]
    assert lines == [*first, ["name", "second", "n"], ["a", "(1.5–2.9)", "1"], ["b", "–", "2"]]


def test_without_outputs_the_exit_code_alone_tells(tiny_bundle: Path) -> None:
    done = process("scan", VOICE, "--bundle", tiny_bundle, before="sys.stdout = sys.stderr = None")
    assert (done.returncode, done.stdout, done.stderr) == (run("scan", VOICE, "--bundle", tiny_bundle).exit_code, "", "")


def test_errors_are_one_sentence_unless_debugging(tmp_path: Path) -> None:
    command = ("scan", "--bundle", tmp_path, VOICE)
    done = process(*command)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    done = process(*command, env={**os.environ, "VIVAVOCE_DEBUG": "1"})
    assert "Traceback" in done.stderr
    assert "BundleError" in done.stderr


def test_error_that_nobody_expected_is_no_spoof(tiny_bundle: Path) -> None:
    broken = "import vivavoce.detector; vivavoce.detector.Detector.detect_many = lambda self, *_, **__: 1 / 0"
    done = process("scan", "--bundle", tiny_bundle, VOICE, before=broken)
    assert done.returncode == 2
    assert "ZeroDivisionError" in done.stderr


def begin(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vivavoce", *map(str, arguments)]
    # A test run in the background has Ctrl-C ignored, and its children inherit that.
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals of this kind")
@pytest.mark.parametrize("jobs", [1, 2])
def test_interruption_ends_quietly_after_the_results_so_far(jobs: int, tiny_bundle: Path) -> None:
    # Standard input never ends by itself, so the scan waits in the last file.
    with begin("scan", "--json", "--jobs", jobs, "--bundle", tiny_bundle, VOICE, VOICE, VOICE, VOICE, VOICE, "-") as running:
        assert running.stdout is not None
        assert running.stdin is not None
        for _ in range(5):
            assert json.loads(running.stdout.readline())["verdict"] == "bonafide"
        running.send_signal(signal.SIGINT)
        running.stdin.close()
        assert running.wait() == 130
        assert running.stderr is not None
        assert running.stderr.read().startswith("5 of 6 files: 5 bona fide, ")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals of this kind")
def test_what_must_be_whole_holds_an_interruption_back_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    done: list[float] = []

    def interrupted() -> None:
        with terminal.uninterrupted():
            time.sleep(0.001)
            signal.raise_signal(signal.SIGINT)
            done.append(terminal.PATIENCE)

    for patience in (60, 0):
        monkeypatch.setattr(terminal, "PATIENCE", patience)
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    assert done == [60]
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of this kind")
@pytest.mark.parametrize(("form", "unbuffered"), [("--json", "1"), ("--csv", "")])
def test_disk_that_fills_leaves_whole_rows_and_their_number(
    form: str, unbuffered: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    import resource

    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (3000, 3000))
    command = [sys.executable, "-m", "vivavoce", "scan", form, "--bundle", str(tiny_bundle), *[str(VOICE)] * 20]
    with (tmp_path / "rows").open("w") as file:
        done = subprocess.run(
            command,
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            preexec_fn=limit,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    text = (tmp_path / "rows").read_text()
    assert text.endswith("\n")
    rows = [json.loads(line) for line in text.splitlines()] if form == "--json" else list(csv.DictReader(StringIO(text)))
    assert 0 < len(rows) < 20
    assert {row["file"] for row in rows} == {str(VOICE)}
    assert done.returncode == 2
    assert f" {len(rows)} of 20 files are in it, whole rows all." in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals of this kind")
@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]], ids=["table", "json", "csv"])
def test_scan_ends_quietly_when_nobody_reads_on(form: list[str], tiny_bundle: Path) -> None:
    with begin("scan", *form, "--bundle", tiny_bundle, *[VOICE] * 5) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.wait() == 141
        assert running.stderr is not None
        assert running.stderr.read() == ""


PLUGIN = '''
from pathlib import Path
from typing import Annotated
import typer
from vivavoce.errors import ConfigurationError

def weigh(file: Annotated[Path, typer.Argument()], heavy: bool = False) -> int:
    """Weigh a file."""
    if not file.is_file():
        raise ConfigurationError(f"{file} has no weight. Give a file.")
    print(file.stat().st_size)
    return 3 if heavy else 0
'''


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with verbs: one good, one whose library is missing, one broken, one with a name that is taken."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (tmp_path / "plugin_extra.py").write_text(
        "from vivavoce.errors import MissingExtra\nraise MissingExtra('torch', 'convert')"
    )
    (tmp_path / "plugin_broken.py").write_text("1 / 0")
    metadata = tmp_path / "plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    verbs = ["weigh = plugin:weigh", "learn = plugin_extra:learn", "break = plugin_broken:go", "scan = plugin:weigh"]
    (metadata / "entry_points.txt").write_text("\n".join(["[vivavoce.commands]", *verbs]))
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("plugins")
def test_verbs_of_other_packages_join_with_their_exit_codes_and_errors() -> None:
    assert "Weigh a file." in run("--help").stdout
    done = run("weigh", VOICE)
    assert (done.exit_code, done.stdout) == (0, f"{VOICE.stat().st_size}\n")
    assert run("weigh", VOICE, "--heavy").exit_code == 3
    done = run("weigh", "nothing")
    assert (done.exit_code, done.stderr) == (2, "Error: nothing has no weight. Give a file.\n")
    assert "living voice" in run("scan", "--help").stdout, "a verb of ours cannot be replaced"


@pytest.mark.usefixtures("plugins")
def test_verbs_that_cannot_be_loaded_say_why_and_spoil_nothing(tiny_bundle: Path) -> None:
    done = run("learn", "any", "--option")
    assert (done.exit_code, done.stderr) == (2, 'Error: torch is not installed. Run: pip install "vivavoce[convert]"\n')
    done = run("break")
    assert done.exit_code == 2
    assert "plugin_broken:go cannot be loaded: division by zero" in done.stderr
    assert run("verify", tiny_bundle).exit_code == 0


# The page that describes it.

PAGE = (ROOT / "docs" / "cli.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(shutil.which("bash") is None, reason="the page's blocks are for bash")
@pytest.mark.parametrize(("language", "block"), BLOCKS)
def test_every_block_of_the_page_runs(language: str, block: str, tmp_path: Path) -> None:
    if language == "toml":  # A part of a recipe.
        assert tomllib.loads(block)
        return
    assert language == "sh"
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        **{"cwd": tmp_path, "env": {**os.environ, "PATH": path}, "capture_output": True, "text": True, "check": False},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout or "> " in block


def test_page_describes_every_verb_and_every_option() -> None:
    import typer.main

    sections = dict(pairwise(re.split(r"^## vivavoce (\w+).*$", PAGE, flags=re.MULTILINE)[1:]))
    for name, command in typer.main.get_command(build()).commands.items():  # type: ignore[attr-defined]
        if name not in VERBS:
            continue
        options = [text for one in command.params for text in one.opts if text.startswith("--") and text != "--help"]
        assert [option for option in options if f"`{option}`" not in sections[name]] == []


def test_page_lists_the_exit_codes() -> None:
    import vivavoce.terminal.console as terminal

    codes = (terminal.GOOD, terminal.BAD, terminal.UNUSABLE, terminal.MIXED, terminal.INTERRUPTED, terminal.CUT_OFF)
    assert codes == (0, 1, 2, 3, 130, 141)
    table = PAGE.split("## vivavoce listen")[0]
    assert re.findall(r"^\| (\d[\d, ]*) \|", table, re.MULTILINE) == ["0", "1", "2", "3", "130, 141"]


@pytest.mark.parametrize(
    ("shell", "says"), [("bash", r"Error: .*\.bashrc: Is a directory\."), ("sh", "Shell sh is not supported.")]
)
def test_completion_that_cannot_be_installed_is_an_error(
    shell: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".bashrc").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: (shell, f"/bin/{shell}"))
    monkeypatch.setattr(sys, "argv", ["vivavoce", "--install-completion"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert re.fullmatch(says + "\n", "".join(capsys.readouterr()))


def test_help_says_what_a_verb_needs_and_draws_no_braces() -> None:
    shown = run("evaluate", "--help").stdout
    assert "Usage: vivavoce evaluate [OPTIONS] BUNDLE CORPUS\n" in shown
    assert 'Needs: pip install "vivavoce[calibrate]"' in shown
    assert "Needs" not in run("scan", "--help").stdout
