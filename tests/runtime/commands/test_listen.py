"""`vivavoce listen` and `devices`: sources, events, signals, exit codes, and what it looks like."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from portaudio import FakeSoundDevice
from rich.console import Console
from speaking import RATE, speech
from typer.testing import CliRunner

from vivavoce import Band, Detector, Event, Policy, microphone
from vivavoce.commands.app import build
from vivavoce.commands.listen_lines import Lines, position
from vivavoce.commands.listen_panel import Panel
from vivavoce.sources import FileSource, Lost

QUIET = np.float32(0.1)
"""What makes speech a spoof to the bundle that measures loudness."""


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five loud seconds of speech, a pause, then five quiet ones."""
    path = tmp_path_factory.mktemp("calls") / "call.wav"
    soundfile.write(path, np.concatenate([speech(5), np.zeros(2 * RATE, np.float32), speech(5) * QUIET]), RATE)
    return path


def run(*arguments: object, **options: Any) -> Any:
    return CliRunner().invoke(build(), ["listen", *map(str, arguments)], **options)


def told(stdout: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in stdout.splitlines()]
    return [line for line in lines if line.get("kind") != "listening"]


@pytest.mark.parametrize(
    ("signal", "code"),
    [(speech(3), 0), (speech(3) * QUIET, 1), (np.zeros(RATE), 3)],
    ids=["bona fide", "spoof", "undecided"],
)
def test_exit_code_is_the_verdict(signal: Any, code: int, tiny_bundle: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", signal, RATE)
    assert run("--fast", "--bundle", tiny_bundle, tmp_path / "a.wav").exit_code == code
    assert run("--fast", "--exit-zero", "--bundle", tiny_bundle, tmp_path / "a.wav").exit_code == 0


def test_alarm_counts_although_the_result_is_bona_fide(tiny_bundle: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.concatenate([speech(12), speech(3) * QUIET]), RATE)
    done = run("--fast", "--json", "--bundle", tiny_bundle, tmp_path / "a.wav")
    assert told(done.stdout)[-1]["verdict"] == "bonafide"
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("options", "policy"),
    [
        ([], Policy()),
        (["--scores", "--hop", "0.25"], Policy(scores=True, hop=0.25)),
        (["--alarm-after", "3", "--clear-after", "2"], Policy(alarm_after=3, clear_after=2)),
    ],
)
def test_json_is_the_events_of_the_detector(options: list[str], policy: Policy, call: Path, tiny_bundle: Path) -> None:
    lines = told(run("--fast", "--json", "--bundle", tiny_bundle, *options, call).stdout)
    found = Detector(tiny_bundle).listen(FileSource(call), policy=policy)
    expected = [event.to_dict() for event in found if policy.scores or event.changed or event.kind != "verdict"]
    assert [line.pop("recording") for line in lines] == [None] * len(lines)
    clocks = [line.pop("clock") for line in lines]
    assert clocks == sorted(clocks)
    assert lines == json.loads(json.dumps(expected))


def test_first_json_line_tells_what_decides(call: Path, tiny_bundle: Path) -> None:
    first = json.loads(run("--fast", "--json", "--alarm-after", "3", "--bundle", tiny_bundle, call).stdout.splitlines()[0])
    known = Detector(tiny_bundle)
    assert (
        first.items()
        >= {
            **{"kind": "listening", "bundle": "loudness", "version": "1", "manifest_sha256": known.bundle.sha256, "hop": 0.5},
            **{"operating_point": "eer", "threshold": 0.0, "alarm_below": 0.0, "alarm_after": 3, "clear_after": 1},
            **{"false_alarms_per_hour": None, "caught_within_a_minute": None},
        }.items()
    )


def test_operating_point_and_limit_on_false_alarms_are_passed_on(call: Path, tiny_bundle: Path) -> None:
    assert run("--fast", "--bundle", tiny_bundle, "--operating-point", "-100", call).exit_code == 0
    done = run("--fast", "--bundle", tiny_bundle, "--false-alarms-per-hour", "1", call)
    assert done.exit_code == 2
    assert "cannot promise 1 false alarms an hour" in done.stderr


def without_clock(line: str) -> str:
    """A line of a log without the time of day that begins it."""
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00  ", line)
    return line[31:]


def test_lines_tell_the_news_and_nothing_else(call: Path, tiny_bundle: Path) -> None:
    done = run("--fast", "--bundle", tiny_bundle, call, env={"COLUMNS": "40"})
    heading, *lines = done.stdout.splitlines()
    assert heading == (
        "loudness 1, operating point eer: bona fide from LLR +0.00; alarm at each window below +0.00, one every 0.5 s; "
        "how often living people raise one was not measured for this setting; a recording at 16000 Hz, 1 channel"
    )
    shapes = [
        r" 0:00:00\.\d  speech",
        r" 0:00:02\.\d  ✓ bona fide  LLR \+\d+\.\d\d, P\(bona fide\) (. )?[01]\.\d\d",
        r" 0:00:0\d\.\d  silence after \d\.\d s of speech",
        r" 0:00:0\d\.\d  speech",
        r" 0:00:\d\d\.\d  ✗ spoof  LLR -\d\.\d\d, P\(bona fide\) (. )?0\.\d\d",
        r" 0:00:12\.0  result  ✓ bona fide  LLR \+\d+\.\d\d, P\(bona fide\) (. )?[01]\.\d\d; \d\.\d s of speech in 12\.0 s",
    ]
    lines = [without_clock(line) for line in lines[-len(shapes) :]]
    assert [bool(re.match(shape, line)) for shape, line in zip(shapes, lines, strict=True)] == [True] * len(shapes), lines


def test_every_kind_of_event_has_words() -> None:
    out = Console(file=open(os.devnull, "w"), record=True, width=200)  # noqa: PTH123, SIM115
    lines = Lines(out, "heading", "LLR", scores=True)
    for kind in ("speech-started", "speech-ended", "invalid", "device-lost", "device-back"):
        lines.write(Event(kind, 0.0, 1.0), None)  # type: ignore[arg-type]
    for lost in (0.0, 1.25):
        lines.write(Event("gap", 0, 1, lost=lost), None)
        lines.write(Event("overflow", 0, 1, lost=lost), None)
    lines.write(Event("score", 1, 5, score=-1.5), None)
    lines.write(Event("verdict", 1, 5, "spoof", -1.5, 0.2, changed=True), Path("clip.flac"))
    heading, *told_lines = out.export_text().splitlines()
    assert [heading, *map(without_clock, told_lines)] == [
        "heading",
        " 0:00:01.0  speech",
        " 0:00:01.0  silence after 1.0 s of speech",
        " 0:00:01.0  samples that are no audio, taken for silence",
        " 0:00:01.0  the device is gone; waiting for it",
        " 0:00:01.0  the device is back",
        " 0:00:01.0  some audio never arrived",
        " 0:00:01.0  some audio dropped, for the machine or the device did not keep up",
        " 0:00:01.0  1.25 s of audio never arrived",
        " 0:00:01.0  1.25 s of audio dropped, for the machine or the device did not keep up",
        " 0:00:05.0  LLR -1.50 from 0:00:01.0 on",
        " 0:00:05.0  ✗ spoof  LLR -1.50, P(bona fide) 0.20  recording",
    ]


def test_positions() -> None:
    assert [position(seconds) for seconds in (0, 59.96, 3599.99, 360_000.04)] == [
        "0:00:00.0",
        "0:01:00.0",
        "1:00:00.0",
        "100:00:00.0",
    ]


# What cannot be done.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fast"], "--fast says nothing about a microphone"),
        (["--format", "s16le"], "--format says nothing about a microphone"),
        (["call.wav", "--device", "2"], "--device says nothing about a recording"),
        (["call.wav", "--rate", "16000"], "--rate says nothing about a recording"),
        (["-", "--fast"], "--fast says nothing about standard input"),
        (["nothing.wav"], "nothing.wav is not a file"),
        (["--alarm-after", "0", "nothing.wav"], "alarm_after=0"),
        (["--hop", "0.01", "nothing.wav"], "hop=0.01"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["no-such-program-anywhere", "", "sh -c 'unclosed"])
def test_alarm_command_that_cannot_run_is_refused_at_once(command: str, call: Path, tiny_bundle: Path) -> None:
    done = run("--fast", "--bundle", tiny_bundle, call, "--alarm-command", command)
    assert done.exit_code == 2
    assert "alarm" in done.stderr


def test_folder_that_cannot_be_made_is_refused(call: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("--fast", "--bundle", tiny_bundle, call, "--record", tmp_path / "file")
    assert done.exit_code == 2
    assert "cannot be used for recordings" in done.stderr


# Recording and alarms, together.


@pytest.mark.skipif(os.name != "posix", reason="the command is a shell's")
def test_alarm_is_recorded_and_told_to_a_command(call: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    report, clips = tmp_path / "report", tmp_path / "clips"
    words = (
        f"sh -c 'echo \"$VIVAVOCE_TIME $VIVAVOCE_SCORE $VIVAVOCE_RECORDING $0\" > {report}' '; $(touch {tmp_path}/injected)'"
    )
    options = ("--record", clips, "--record-seconds", "2", "--alarm-command", words)
    done = run("--fast", "--json", "--bundle", tiny_bundle, *options, call)
    (alarm,) = [line for line in told(done.stdout) if line["changed"] and line["verdict"] == "spoof"]
    (clip,) = clips.iterdir()
    assert alarm["recording"] == str(clip)
    assert report.read_text() == f"{alarm['time']} {alarm['score']} {clip} ; $(touch {tmp_path}/injected)\n"
    assert not (tmp_path / "injected").exists()
    samples, rate = soundfile.read(clip, dtype="float32")
    whole, _ = soundfile.read(call, dtype="float32")
    begin, end = (round((alarm["time"] + seconds) * RATE) for seconds in (-2, 2))
    assert rate == RATE
    np.testing.assert_array_equal(samples, whole[begin:end])


# Standard input, signals and pipes, in processes of their own.

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no signals and pipes of this kind")


def heed_signals() -> None:
    """A test run in the background has Ctrl-C ignored, one under nohup hanging up, and children inherit that."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def listening(tiny_bundle: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts the command; what is left of it ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "vivavoce", "listen", "--bundle", tiny_bundle, *arguments]
        pipes: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        started.append(subprocess.Popen(list(map(str, command)), preexec_fn=heed_signals, **pipes))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def pcm(seconds: float, gain: float = 1.0) -> bytes:
    return (speech(seconds) * np.float32(gain) * 32_767).astype("<i2").tobytes()


def wav_header(rate: int, channels: int, bits: int) -> bytes:
    """As arecord writes it, which does not know how long it will record."""
    frame = channels * bits // 8
    fields = [1, channels, rate, rate * frame, frame, bits]
    form = b"".join(value.to_bytes(size, "little") for value, size in zip(fields, (2, 2, 4, 4, 2, 2), strict=True))
    endless = 0x7FFFFFFF.to_bytes(4, "little")
    return b"RIFF" + endless + b"WAVEfmt " + (16).to_bytes(4, "little") + form + b"data" + endless


@posix
@pytest.mark.parametrize(
    ("options", "content"),
    [
        (["--rate", RATE], pcm(3)),
        (
            ["--rate", RATE, "--channels", 2, "--format", "s32le"],
            (np.repeat(np.frombuffer(pcm(3), "<i2"), 2).astype("<i4") << 16).tobytes(),
        ),
        (["--rate", RATE, "--format", "f32le"], (np.frombuffer(pcm(3), "<i2").astype("<f4") / 32_768).tobytes()),
        ([], wav_header(RATE, 1, 16) + pcm(3)),
    ],
    ids=["raw", "two channels", "float", "wav"],
)
def test_standard_input_is_listened_to(
    options: list[object], content: bytes, listening: Callable[..., subprocess.Popen[bytes]], tiny_bundle: Path
) -> None:
    process = listening("-", "--json", *options)
    out, err = process.communicate(content)
    assert (process.returncode, err) == (0, b"")
    expected = Detector(tiny_bundle).detect((np.frombuffer(pcm(3), "<i2"), RATE))
    assert told(out.decode())[-1]["result"] == json.loads(json.dumps(expected.to_dict()))


@posix
@pytest.mark.parametrize(
    ("options", "content", "message"),
    [
        ([], b"", "is empty (0 bytes)"),
        ([], pcm(1), "cannot be decoded"),
        (["--channels", 2], pcm(1), "Give --rate"),
        (["--rate", RATE, "--format", "u8"], pcm(1), "s16le, s24le, s32le, f32le, mulaw, alaw"),
        (["--rate", 1], pcm(1), "sample rate of 1 Hz"),
    ],
)
def test_standard_input_that_is_no_audio_is_refused(
    options: list[object], content: bytes, message: str, listening: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = listening("-", *options)
    out, err = process.communicate(content)
    assert (process.returncode, out) == (2, b"")
    assert message in err.decode()


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signal_ends_listening_with_the_result_although_the_pipe_is_open(
    name: str, listening: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = listening("-", "--json", "--rate", RATE)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdin.write(pcm(4, gain=0.1))
    process.stdin.flush()
    lines = [json.loads(process.stdout.readline())]
    while lines[-1]["kind"] != "verdict":
        lines.append(json.loads(process.stdout.readline()))
    process.send_signal(getattr(signal, name))
    rest = told(process.stdout.read().decode())
    assert (rest[-1]["kind"], rest[-1]["verdict"]) == ("finished", "spoof")
    assert rest[-1]["result"]["duration"] == 4
    assert (process.wait(), process.stderr.read()) == (1, b"")


@posix
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["lines", "json"])
def test_listening_ends_quietly_when_nobody_reads_on(
    form: list[str], listening: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    process = listening("-", *form, "--rate", RATE, "--hop", "0.1", "--scores", "--record", tmp_path / "clips")
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdin.write(pcm(4, gain=0.1))
    process.stdin.flush()
    while b"spoof" not in process.stdout.readline().partition(b"from")[0]:
        pass
    process.stdout.close()
    with suppress(BrokenPipeError):
        for _ in range(1000):
            process.stdin.write(pcm(4, gain=0.1))
    assert process.wait() == 141
    (clip,) = (tmp_path / "clips").iterdir()
    assert soundfile.info(clip).duration > 1
    assert process.stderr.read().decode().startswith("vivavoce: recorded ")


@posix
def test_second_interruption_does_not_wait_for_the_alarm_command(listening: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = listening("-", "--json", "--rate", RATE, "--alarm-command", "sleep 4")
    assert process.stdin
    assert process.stdout
    process.stdin.write(pcm(4, gain=0.1))
    process.stdin.flush()
    for ending in ("verdict", "finished"):
        while json.loads(process.stdout.readline())["kind"] != ending:
            pass
        process.send_signal(signal.SIGINT)
    assert process.wait() == 130


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["lines", "json"])
def test_output_that_cannot_be_written_is_an_error_and_no_spoof(form: list[str], call: Path, tiny_bundle: Path) -> None:
    command = [sys.executable, "-m", "vivavoce", "listen", "--fast", *form, "--bundle", str(tiny_bundle), str(call)]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "Error: The output: No space left on device.\n"


@posix
def test_on_a_terminal_there_is_a_panel_that_leaves_no_trace(call: Path, tiny_bundle: Path) -> None:
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        command = [sys.executable, "-m", "vivavoce", "listen", "--bundle", str(tiny_bundle), str(call)]
        os.execvpe(command[0], command, environment)
    shown = b""
    while "✓".encode() not in shown:
        shown += os.read(terminal, 4096)
    os.kill(pid, signal.SIGINT)
    with suppress(OSError):  # What reading from a terminal gives when nobody writes any more.
        while more := os.read(terminal, 4096):
            shown += more
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    text = shown.decode()
    assert "level" in text
    assert "threshold" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is visible again"
    assert "result  " in text


# The panel.


def picture(panel: Panel, width: int) -> list[str]:
    out = Console(file=open(os.devnull, "w"), record=True, width=width)  # noqa: PTH123, SIM115
    panel.out = out
    out.print(panel.picture(), soft_wrap=True)
    return out.export_text().splitlines()


@pytest.fixture
def panel() -> Panel:
    out = Console(file=open(os.devnull, "w"), width=80)  # noqa: PTH123, SIM115
    return Panel(out, "heading", "LLR", scores=False, band=Band("b", 0.5, 0.5), sample_rate=RATE)


def test_panel_shows_level_score_verdict_and_state(panel: Panel) -> None:
    assert picture(panel, 80)[1:] == [
        "level    " + " " * 41 + "   -60 dB  ",
        "score    " + " " * 20 + "│" + " " * 20 + "  threshold +0.50",
        "verdict  none yet",
        "0:00:00.0  0 alarms  Ctrl-C ends",
    ]
    panel.hear(np.full((RATE, 1), 0.1, np.float32), recording=False)
    panel.write(Event("speech-started", 0.5, 0.5), None)
    panel.write(Event("verdict", 0, 1, "spoof", -3.5, 0.1, changed=True), Path("clip.flac"))
    panel.write(Event("score", 0, 1, score=-3.5), None)
    panel.write(Event("gap", 1, 1.5, lost=0.5), None)
    panel.hear(Lost(RATE // 2), recording=True)
    assert picture(panel, 80)[1:] == [
        "level    " + "━" * 21 + " " * 20 + "   -30 dB  speech",
        "score    " + " " * 10 + "━" * 10 + "│" + " " * 20 + "   -3.50  threshold +0.50",
        "verdict  ✗ spoof  since 0:00:01.0",
        "0:00:01.5  1 alarm  0.5 s missing  recording  Ctrl-C ends",
    ]


@pytest.mark.parametrize("width", [20, 40, 57, 80, 200])
def test_panel_fits_the_terminal(panel: Panel, width: int) -> None:
    panel.hear(np.full((RATE, 2), np.nan, np.float32), recording=True)
    panel.hear(np.full((RATE, 2), 30_000, np.int16), recording=True)
    panel.write(Event("verdict", 0, 1, "bonafide", 123.4, 0.1, changed=True), None)
    rows = picture(panel, width)
    assert len(rows) == 5
    assert all(len(row) < width for row in rows)


# The microphone.


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> FakeSoundDevice:
    fake = FakeSoundDevice(FakeSoundDevice.device("USB microphone", float(RATE)), FakeSoundDevice.device("Array", 48_000.0, 4))
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(microphone, "STALL_SECONDS", 60)
    return fake


def devices(*arguments: str) -> Any:
    return CliRunner().invoke(build(), ["devices", *arguments])


def test_devices_are_listed(portaudio: FakeSoundDevice) -> None:
    done = devices()
    assert done.exit_code == 0
    assert [line.split() for line in done.stdout.splitlines()][1:] == [
        ["0", "USB", "microphone", "ALSA", "1", "16000", "Hz", "default"],
        ["1", "Array", "ALSA", "4", "48000", "Hz"],
    ]
    lines = told(devices("--json").stdout)
    assert [(line["index"], line["name"], line["default"]) for line in lines] == [
        (0, "USB microphone", True),
        (1, "Array", False),
    ]


def test_no_device_is_told(portaudio: FakeSoundDevice) -> None:
    portaudio.devices.clear()
    portaudio._initialize()
    done = devices()
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no input device" in done.stderr
    assert devices("--json").stdout == ""


@posix
@pytest.mark.parametrize("device", [[], ["--device", "0"], ["--device", "USB microphone"]])
def test_microphone_is_listened_to_until_interrupted(device: list[str], portaudio: FakeSoundDevice, tiny_bundle: Path) -> None:
    def speak() -> None:
        while not portaudio.streams:
            time.sleep(0.01)
        for block in np.split(speech(3), 30):
            portaudio.streams[-1].hear(block)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        speaker = threading.Thread(target=speak)
        speaker.start()
        done = run("--json", "--bundle", tiny_bundle, *device)
        speaker.join()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "the handlers are as they were"
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.exit_code == 0
    assert told(done.stdout)[-1]["result"]["duration"] == 3
    assert portaudio.streams[-1].closed


@posix
def test_device_that_comes_back_is_listened_to_again(
    portaudio: FakeSoundDevice, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microphone, "BACK_OFF", (0.001,))

    def say(seconds: float, streams: int) -> None:
        while len(portaudio.streams) < streams or not portaudio.streams[-1].running:
            time.sleep(0.01)
        portaudio.streams[-1].hear(speech(seconds))

    def speak() -> None:
        say(3, 1)
        portaudio.streams[-1].finished()
        say(2, 2)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        speaker = threading.Thread(target=speak)
        speaker.start()
        done = run("--json", "--bundle", tiny_bundle)
        speaker.join()
    finally:
        signal.signal(signal.SIGINT, before)
    lines = told(done.stdout)
    (lost,) = [line for line in lines if line["kind"] == "device-lost"]
    (back,) = [line for line in lines if line["kind"] == "device-back"]
    assert lost["time"] == back["start"] == 3
    assert lines[-1]["result"]["duration"] == pytest.approx(5 + back["lost"])
    assert lines[-1]["result"]["missing"] == pytest.approx(back["lost"])
    assert done.exit_code == 0
