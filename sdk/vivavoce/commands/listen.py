"""`vivavoce listen`: what is being said, judged while it is said."""

from __future__ import annotations

import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from numpy.typing import NDArray
from rich.console import Console

from ..decoding.arrays import Channel
from ..detector import Detector
from ..errors import ConfigurationError
from ..microphone import Microphone
from ..policy import Alarms, Policy, settle
from ..sources import AudioSource, ChunkSource, FileSource, Lost, Pcm, PcmSource
from ..terminal.console import GOOD, STDIN, AcceptOption, BundleOption, PointOption, RejectOption, console, standard_input
from .alarm_command import AlarmCommand
from .alarm_recorder import Recorder
from .listen_lines import JsonEvents, Lines, View
from .listen_panel import Panel
from .scan import CHANNEL, channel_of, exit_code
from .scan_rows import heading, unit

__all__ = ["listen"]

USUAL_LIMIT = 10.0
"""False alarms an hour of speech, by default."""

PCM: dict[str, Pcm] = {
    "s16le": "int16",
    "s24le": "int24",
    "s32le": "int32",
    "f32le": "float32",
    "mulaw": "mulaw",
    "alaw": "alaw",
}


def listen(
    source: Annotated[str | None, typer.Argument(help="A recording, or - for standard input; a microphone by default.")] = None,
    device: Annotated[str | None, typer.Option(help="The microphone's index or a part of its name; see `devices`.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="A recording as fast as possible, not as it was spoken.")] = False,
    rate: Annotated[int | None, typer.Option(help="Samples a second, of raw input or asked of the microphone.")] = None,
    channels: Annotated[int | None, typer.Option(help="The same for channels; 1 for raw input by default.")] = None,
    channel: Annotated[str, typer.Option(help=CHANNEL)] = "mix",
    format: Annotated[
        str | None, typer.Option(help="Raw input's samples: s16le (the default), s24le, s32le, f32le, mulaw or alaw.")
    ] = None,
    bundle: BundleOption = None,
    operating_point: PointOption = None,
    accept: AcceptOption = None,
    reject: RejectOption = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads for one inference.")] = 1,
    false_alarms_per_hour: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="The most that living people who talk may raise; 10 where measured.")
    ] = None,
    alarm_after: Annotated[int | None, typer.Option(metavar="WINDOWS", help="In a row, that make an alarm.")] = None,
    clear_after: Annotated[int | None, typer.Option(metavar="WINDOWS", help="In a row, that take it back.")] = None,
    hop: Annotated[float | None, typer.Option(metavar="SECONDS", help="From window to window.")] = None,
    scores: Annotated[bool, typer.Option("--scores", help="An event for every window.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One event a line, as a JSON object.")] = False,
    record: Annotated[
        Path | None,
        typer.Option(help="A folder for the seconds around each alarm, as FLAC. Recording people may need their consent."),
    ] = None,
    record_seconds: Annotated[float, typer.Option(min=1, max=300, help="Seconds kept before and after an alarm.")] = 10.0,
    record_limit: Annotated[float, typer.Option(min=1, help="Megabytes in that folder; the oldest clips go first.")] = 500.0,
    alarm_command: Annotated[
        str | None, typer.Option(help="A program to run at each alarm, started without a shell; VIVAVOCE_* tell it why.")
    ] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 whatever was heard.")] = False,
) -> int:
    """Watch a microphone, a recording or a pipe as it speaks.

    An alarm is a verdict of spoof that is news. Ctrl-C, SIGTERM and SIGHUP end the listening with the result so far; the same
    again ends it at once.

    Exit code: 0 no alarm, and the result is bona fide, 1 an alarm, or the result is spoof, 2 the command could not run, 3 no
    alarm, and the result is undecided.
    """
    opened = _source(source, device=device, fast=fast, rate=rate, channels=channels, format=format)
    out = console()
    moving = not json and out.is_terminal and not out.is_dumb_terminal
    policy = Policy(
        alarm_after=alarm_after,
        clear_after=clear_after,
        hop=hop,
        scores=scores or moving,
        false_alarms_per_hour=false_alarms_per_hour,
    )
    detector = Detector(bundle, operating_point=operating_point, accept=accept, reject=reject, threads=threads)
    if all(one is None for one in (false_alarms_per_hour, alarm_after, clear_after, hop)):
        policy = replace(policy, false_alarms_per_hour=_usual_limit(detector))
    alarms = settle(policy, detector.bundle.manifest, detector.band)
    with ExitStack() as stack:
        stack.enter_context(_until_told(opened))
        stack.enter_context(opened)
        view = _view(out, detector, opened, alarms, scores=scores, json=json, moving=moving)
        stack.enter_context(view)
        alarm = recorder = None
        if alarm_command is not None:
            alarm = AlarmCommand(alarm_command, tell=view.note, quiet=moving)
            stack.callback(alarm.close)
        if record is not None:
            recorder = _recorder(record, opened, record_seconds, record_limit, view)
            stack.callback(recorder.close)
        heard = _follow(detector, opened, channel_of(channel), policy, view, recorder, alarm)
    return GOOD if exit_zero else exit_code(heard)


def _follow(
    detector: Detector,
    source: AudioSource,
    channel: Channel | Literal["each"],
    policy: Policy,
    view: View,
    recorder: Recorder | None,
    alarm: AlarmCommand | None,
) -> Counter[str]:
    """Listens to the end; gives the verdicts that decide about the exit code: every alarm, and the result's."""

    def overheard() -> Iterator[NDArray[Any] | Lost]:
        for chunk in source:
            if recorder:
                recorder.hear(chunk)
            view.hear(chunk, recording=recorder is not None and recorder.recording)
            yield chunk

    heard: Counter[str] = Counter()
    chunks = ChunkSource(overheard(), source.sample_rate, source.channels)
    for event in detector.listen(chunks, channel=channel, policy=policy):
        recording = None
        if event.kind == "verdict" and event.changed and event.verdict == "spoof":
            heard["spoof"] += 1
            recording = recorder.keep(event) if recorder else None
            if alarm:
                alarm.start(event, recording)
        if event.kind == "finished":
            heard[str(event.verdict)] += 1
            if recorder:
                recorder.close()
        view.write(event, recording)
    return heard


@contextmanager
def _until_told(source: AudioSource) -> Iterator[None]:
    """Lets the first signal to end close the source, so that what was heard gets its result; the next one ends the process."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def close(*_: object) -> None:
        restore()
        # Closing takes locks that the interrupted code may hold.
        threading.Thread(target=source.close, daemon=True).start()

    for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
        # What runs in the background, or under nohup, was told to ignore some.
        if signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, close)
    try:
        yield
    finally:
        restore()


def _source(
    source: str | None, *, device: str | None, fast: bool, rate: int | None, channels: int | None, format: str | None
) -> AudioSource:
    if source is None:
        _refuse("a microphone", fast=fast, format=format)
        return Microphone(int(device) if device and device.isdecimal() else device, sample_rate=rate, channels=channels)
    if source == STDIN:
        _refuse("standard input", device=device, fast=fast)
        return _piped(rate, channels, format)
    _refuse("a recording", device=device, rate=rate, channels=channels, format=format)
    return FileSource(source, realtime=not fast)


def _refuse(what: str, **settings: object) -> None:
    for name, value in settings.items():
        if value not in (None, False):
            raise ConfigurationError(f"--{name} says nothing about {what}. Leave it out.")


def _piped(rate: int | None, channels: int | None, format: str | None) -> AudioSource:
    """Standard input: raw samples where anything is said about them, else a recording."""
    pipe = standard_input()
    if sys.stdin.isatty():
        raise ConfigurationError(
            "Standard input is a terminal. Pipe audio into it: arecord -f S16_LE -r 16000 | vivavoce listen -"
        )
    if rate is None and channels is None and format is None:
        return FileSource(pipe)
    if rate is None:
        raise ConfigurationError("Raw samples do not say how many there are in a second. Give --rate.")
    if format is not None and format not in PCM:
        raise ConfigurationError(f'There is no format "{format}" for raw samples. Choose one of: {", ".join(PCM)}.')
    return PcmSource(pipe, rate, channels or 1, dtype=PCM[format or "s16le"])


def _view(
    out: Console, detector: Detector, source: AudioSource, alarms: Alarms, *, scores: bool, json: bool, moving: bool
) -> View:
    if json:
        return JsonEvents({"listening": _ears(source), **_settings(detector, alarms)}, all_verdicts=scores)
    told, name = f"{heading(detector)}; {_terms(alarms)}; {_ears(source)}", unit(detector)
    if not moving:
        return Lines(out, told, name, scores=scores)
    return Panel(out, told, name, scores=scores, band=detector.band, sample_rate=source.sample_rate)


def _usual_limit(detector: Detector) -> float | None:
    """The false alarms an hour that are put up with by default: 10, or the fewest that were measured; None where none were."""
    measured = [row.false_alarms.high for row in detector.bundle.manifest.monitoring if row.threshold <= detector.band.reject]
    return max(USUAL_LIMIT, min(measured)) if measured else None


def _terms(alarms: Alarms) -> str:
    """What makes an alarm, and how often wrongly, for the heading."""
    windows = "each window" if alarms.after == 1 else f"{alarms.after} windows in a row"
    terms = f"alarm at {windows} below {alarms.below:+.2f}, one every {alarms.hop:g} s"
    if alarms.measured is None:
        return f"{terms}; how often living people raise one was not measured for this setting"
    false, caught = alarms.measured.false_alarms, alarms.measured.caught
    return (
        f"{terms}: {false.value:.1f} false alarms an hour of living people talking ({false.low:.1f} to {false.high:.1f}), "
        f"{caught.value:.0%} of synthetic voices caught within a minute of speech ({caught.low:.0%} to {caught.high:.0%})"
    )


def _settings(detector: Detector, alarms: Alarms) -> dict[str, object]:
    """The same for programs."""
    manifest, band, measured = detector.bundle.manifest, detector.band, alarms.measured
    return {
        "bundle": manifest.name,
        "version": manifest.version,
        "manifest_sha256": detector.bundle.sha256,
        "operating_point": band.name,
        "threshold": band.accept,
        "alarm_below": alarms.below,
        "alarm_after": alarms.after,
        "clear_after": alarms.clear_after,
        "hop": alarms.hop,
        "false_alarms_per_hour": measured and measured.false_alarms.model_dump(),
        "caught_within_a_minute": measured and measured.caught.model_dump(),
    }


def _ears(source: AudioSource) -> str:
    """What is listened to, for the heading."""
    name = (
        source.name if isinstance(source, Microphone) else "a recording" if isinstance(source, FileSource) else "standard input"
    )
    return f"{name} at {source.sample_rate} Hz, {source.channels} channel{'' if source.channels == 1 else 's'}"


def _recorder(folder: Path, source: AudioSource, seconds: float, megabytes: float, view: View) -> Recorder:
    try:
        return Recorder(folder, source.sample_rate, seconds=seconds, limit=round(megabytes * 1e6), tell=view.note)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be used for recordings: {error.strerror}. Choose another folder.") from error
