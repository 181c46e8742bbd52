"""The microphone: an audio source on PortAudio, through sounddevice, that survives overload and disconnection."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, groupby, repeat
from types import TracebackType
from typing import Any, Self

import numpy as np

from .audio import Resampler
from .decoding.arrays import RATES, Samples, as_rate, check_channels
from .errors import ConfigurationError, DeviceError, needs_extra, number
from .sources import Lost

__all__ = ["Device", "Microphone", "devices"]

STALL_SECONDS = 2.0
"""Without a block for so long, a device is taken for gone; PortAudio stays silent about some that were unplugged."""

COMMON_RATES = (48_000, 96_000, 192_000, 44_100, 16_000)
"""What is asked of a device whose own rate no stream takes."""

BACK_OFF = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts to open a device that is gone; the last repeats."""


@dataclass(frozen=True, slots=True)
class Device:
    """An input device: `index` and `name` select it, `channels` is how many it has, `sample_rate` its own rate in hertz."""

    index: int
    name: str
    host: str
    channels: int
    sample_rate: int
    default: bool


def devices() -> list[Device]:
    """The input devices that PortAudio finds, possibly none. Raises MissingExtra or DeviceError where it cannot be asked."""
    sounddevice = _sounddevice()
    hosts = sounddevice.query_hostapis()
    default = sounddevice.default.device[0]
    return [
        Device(
            index,
            found["name"],
            hosts[found["hostapi"]]["name"],
            found["max_input_channels"],
            round(found["default_samplerate"]),
            index == default,
        )
        for index, found in enumerate(sounddevice.query_devices())
        if found["max_input_channels"] > 0
    ]


class Microphone:
    """Listens to an input device: an `AudioSource` for `Detector.listen`.

    `device` is an index, a part of a name, or None for the default one; `sample_rate` and `channels` are the device's own
    where they are None (one channel, if it can). What is heard waits in a queue of `buffer_seconds`; what does not fit is
    dropped, counted and reported as "overflow". With `reconnect` a device that disappears is looked for until it is back, which
    initializes PortAudio anew; without, DeviceError is raised. Rate and channels stay those of the beginning: a device that
    comes back with others is converted. One whose own rate is beyond 192 kHz is asked for a lower one.

    Raises ConfigurationError for a setting that cannot be used.
    Opening it raises MissingExtra without sounddevice, DeviceError where there is no such device or it cannot be opened.
    """

    def __init__(
        self,
        device: int | str | None = None,
        *,
        sample_rate: int | None = None,
        channels: int | None = None,
        buffer_seconds: float = 10.0,
        reconnect: bool = True,
    ) -> None:
        if not number("buffer_seconds", buffer_seconds) > 0:
            raise ConfigurationError(f"buffer_seconds={buffer_seconds} holds no audio. Give more than 0.")
        if sample_rate is not None:
            sample_rate = as_rate("The microphone", sample_rate, ConfigurationError)
        if channels is not None:
            check_channels("The microphone", channels, ConfigurationError)
        self._device, self._wanted_rate, self._wanted_channels = device, sample_rate, channels
        self._buffer_seconds, self._reconnect = buffer_seconds, reconnect
        self._queue = _Queue()
        # Reentrant, for a signal's handler may close what the code under it is closing.
        self._lock = threading.RLock()
        self._stream: Any = None
        self._over = False
        self._opened_as = ""
        self._expected = 0.0
        self._actual = 0
        self._convert: _Converter | None = None
        self.sample_rate = self.channels = 0

    @property
    def name(self) -> str:
        """The device that was opened and its sound system, such as "USB microphone, ALSA"; empty before."""
        return self._opened_as

    @property
    def received(self) -> int:
        """Samples of each channel that PortAudio has delivered."""
        return self._queue.received

    @property
    def dropped(self) -> int:
        """How many of them did not fit into the queue."""
        return self._queue.dropped

    def __reduce__(self) -> Any:
        raise TypeError("A Microphone cannot be pickled. Make it in the process that listens to it.")

    def __enter__(self) -> Self:
        closed = self._queue.closed.is_set()
        if self._over or (closed and not self.sample_rate):
            raise ConfigurationError("The microphone is closed. Make a new one to listen again.")
        if self._stream is None and not closed:
            self._open(self._device)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over = True
        self.close()

    def close(self) -> None:
        """Releases the device and ends the iteration, from any thread, after what was heard until now.

        Whoever closes it second waits for the first, so that a process does not end under PortAudio while it is at work.
        """
        self._queue.close()
        self._release()

    def __iter__(self) -> Iterator[Samples | Lost]:
        """Samples (n, channels), as many as have gathered, and `Lost` for what is missing, until the microphone is closed."""
        with self:
            over = False
            while not over:
                over, quiet_since = self._queue.closed.is_set(), time.monotonic()
                heard = self._queue.take(STALL_SECONDS)
                convert = self._convert
                yield from heard if convert is None else map(convert, heard)
                if not heard and not self._queue.closed.is_set():
                    yield from self._recover(quiet_since)

    def _recover(self, quiet_since: float) -> Iterator[Lost]:
        """Waits for a device that is gone, while the stream's time goes on."""
        self._release()
        if not self._reconnect:
            raise DeviceError(f"The device {self._opened_as} stopped. Connect it again, or leave reconnect on.")
        yield Lost(0, "device-lost")
        told = 0
        for wait in chain(BACK_OFF, repeat(BACK_OFF[-1])):
            if self._queue.closed.wait(wait):
                return
            back = self._reopen()
            missing = round((time.monotonic() - quiet_since) * self.sample_rate) - told
            yield Lost(missing, "device-back" if back else "gap")
            told += missing
            if back:
                return

    def _reopen(self) -> bool:
        sounddevice = _sounddevice()
        try:
            # PortAudio lists the devices once, when it is initialized. It may have failed to be, the last time.
            with suppress(sounddevice.PortAudioError):
                sounddevice._terminate()
            sounddevice._initialize()
            self._open(self._device if self._device is None else self._opened_as)
        except (DeviceError, sounddevice.PortAudioError):
            return False
        return True

    def _open(self, device: int | str | None) -> None:
        sounddevice = _sounddevice()
        try:
            found = sounddevice.query_devices(device, "input")
            stream = self._start(sounddevice, found)
        except (sounddevice.PortAudioError, ValueError) as error:
            raise DeviceError(f"{_named(device)} cannot be opened: {error}. {self._remedy()}") from error
        self._opened_as = f"{found['name']}, {sounddevice.query_hostapis(found['hostapi'])['name']}"
        with self._lock:
            self._stream = stream
        if self._queue.closed.is_set():
            self._release()

    def _start(self, sounddevice: Any, found: dict[str, Any]) -> Any:
        rate, channels = self._format(sounddevice, found)
        stream = sounddevice.InputStream(
            device=found["index"],
            samplerate=rate,
            channels=channels,
            dtype="float32",
            callback=self._heard,
            finished_callback=self._queue.interrupt,
        )
        try:
            actual = round(stream.samplerate)
            if not self.sample_rate:
                self.sample_rate, self.channels = actual, channels
            same = (actual, channels) == (self.sample_rate, self.channels)
            self._actual = actual
            self._convert = None if same else _Converter(actual, self.sample_rate, self.channels)
            self._queue.open(round(self._buffer_seconds * actual))
            self._expected = 0.0
            stream.start()
        except BaseException:
            stream.close()
            raise
        return stream

    def _format(self, sounddevice: Any, found: dict[str, Any]) -> tuple[int, int]:
        """The stream's rate and channels where the device has them, else its own; at first those asked for, or its own."""
        own = round(found["default_samplerate"])
        if not self.sample_rate:
            rate = self._wanted_rate or _supported_rate(sounddevice, found, own)
            return rate, self._wanted_channels or _fewest_channels(sounddevice, found, rate)
        for rate in (self.sample_rate, _supported_rate(sounddevice, found, own)):
            for channels in (self.channels, _fewest_channels(sounddevice, found, rate)):
                if _takes(sounddevice, found, rate, channels):
                    return rate, channels
        return self.sample_rate, self.channels

    def _heard(self, samples: Samples, frames: int, times: Any, status: Any) -> None:
        """PortAudio's callback: copies, and does nothing else."""
        begin = times.inputBufferAdcTime
        lost = None
        if status.input_overflow:
            # How much was lost shows in the clock of the converter, where the host has one.
            missing = begin - self._expected if self._expected and begin else 0.0
            lost = round(min(max(missing, 0.0), STALL_SECONDS) * self._actual)
        self._expected = begin + frames / self._actual if begin else 0.0
        self._queue.put(samples.copy(), lost)

    def _release(self) -> None:
        with self._lock:
            stream, self._stream = self._stream, None
            if stream is not None:
                stream.close()

    def _remedy(self) -> str:
        names = [f'{one.index} "{one.name}"' for one in devices()]
        return f"Choose one of: {', '.join(names)}." if names else "There is no input device; connect one."


class _Queue:
    """What was heard and not yet taken: at most `capacity` samples of each channel. `put` is called by PortAudio's thread."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.received = self.dropped = 0
        self._changed = threading.Condition()
        self._items: deque[Samples | Lost] = deque()
        self._frames = self._capacity = self._dropping = 0
        self._interrupted = False

    def open(self, capacity: int) -> None:
        with self._changed:
            self._capacity, self._interrupted = capacity, False

    def put(self, block: Samples, lost: int | None) -> None:
        """Adds a block, and before it what the device lost (None: nothing; 0: nobody knows how much)."""
        with self._changed:
            if self.closed.is_set():
                return
            self.received += len(block)
            if self._dropping or self._frames + len(block) > self._capacity:
                self._dropping += len(block) + (lost or 0)
                self.dropped += len(block)
                return
            if lost is not None:
                self._items.append(Lost(lost, "overflow"))
            self._items.append(block)
            self._frames += len(block)
            self._changed.notify()

    def take(self, timeout: float) -> list[Samples | Lost]:
        """Everything, adjacent blocks joined; nothing after `timeout` seconds, an interruption or the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._interrupted or self.closed.is_set(), timeout)
            items, self._items = self._items, deque()
            if self._dropping:
                items.append(Lost(self._dropping, "overflow"))
            self._frames = self._dropping = 0
        return list(_joined(items))

    def interrupt(self) -> None:
        """Wakes the reader up: the device has stopped."""
        with self._changed:
            self._interrupted = True
            self._changed.notify_all()

    def close(self) -> None:
        self.closed.set()
        self.interrupt()


def _joined(items: Iterable[Samples | Lost]) -> Iterator[Samples | Lost]:
    for kind, group in groupby(items, type):
        if kind is Lost:
            yield from group
        else:
            yield np.concatenate(list(group))


class _Converter:
    """What a device that came back gives, at `rate`, as (n, channels) at `sample_rate`."""

    def __init__(self, rate: int, sample_rate: int, channels: int) -> None:
        self._ratio, self._channels = sample_rate / rate, channels
        self._resamplers = [Resampler(rate, sample_rate) for _ in range(channels)]

    def __call__(self, heard: Samples | Lost) -> Samples | Lost:
        if isinstance(heard, Lost):
            return Lost(round(heard.frames * self._ratio), heard.kind)
        # A channel that is no longer there is heard as the first.
        columns = [heard[:, channel if channel < heard.shape[1] else 0] for channel in range(self._channels)]
        ready = [one.feed(np.ascontiguousarray(column)) for one, column in zip(self._resamplers, columns, strict=True)]
        return np.stack(ready, axis=1)


def _fewest_channels(sounddevice: Any, found: dict[str, Any], rate: int) -> int:
    """One, which is all that is needed, or as many as the device has, where it gives them only together."""
    return 1 if _takes(sounddevice, found, rate, 1) else int(found["max_input_channels"])


def _supported_rate(sounddevice: Any, found: dict[str, Any], own: int) -> int:
    """The device's own rate, or the first below it that it takes, where its own is beyond what a stream takes."""
    low, high = RATES
    if low <= own <= high:
        return own
    channels = int(found["max_input_channels"])
    return next((rate for rate in COMMON_RATES if _takes(sounddevice, found, rate, channels)), COMMON_RATES[0])


def _takes(sounddevice: Any, found: dict[str, Any], rate: int, channels: int) -> bool:
    try:
        sounddevice.check_input_settings(device=found["index"], channels=channels, dtype="float32", samplerate=rate)
    except sounddevice.PortAudioError:
        return False
    return True


def _named(device: int | str | None) -> str:
    return "The default input device" if device is None else f"The input device {device!r}"


def _sounddevice() -> Any:
    with needs_extra("mic"):
        try:
            import sounddevice
        except OSError as error:
            raise DeviceError(
                "sounddevice does not find PortAudio. Install it (Debian, Ubuntu: apt install libportaudio2; "
                "Fedora: dnf install portaudio)."
            ) from error
    return sounddevice
