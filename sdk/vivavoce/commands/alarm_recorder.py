"""The recorder of `vivavoce listen`: forgets what it hears, except for the seconds around an alarm."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from ..decoding.arrays import as_float
from ..decoding.mixing import to_mono
from ..result import Event
from ..sources import Lost

__all__ = ["Recorder"]

LONGEST = 600.0
"""Seconds at which a clip ends, however many alarms follow each other."""

SLACK = 1.0
"""Seconds by which an alarm may lag behind the audio that raised it, beside the length of a chunk."""

Pcm = NDArray[np.int16]


class Recorder:
    """Keeps `seconds` before and after each alarm as a FLAC file in `folder`: mono, 16 bits, at the source's rate.

    All else stays in memory for that long and is forgotten. A file is named after the time in UTC at which it begins, can be
    read by its owner alone, and has its name once it is complete. The oldest are deleted when all together exceed `limit`
    bytes. What cannot be written is told, and does not stop the stream. Raises OSError where there can be no folder.
    """

    def __init__(self, folder: Path, sample_rate: int, *, seconds: float, limit: int, tell: Callable[[str], None]) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._rate, self._limit, self._tell = folder, sample_rate, limit, tell
        self._around = round(seconds * sample_rate)
        # FLAC takes no more than the samples do, so that a clip by itself respects the limit.
        self._longest = min(round(LONGEST * sample_rate), limit // np.dtype(np.int16).itemsize)
        # What is remembered of the stream.
        self.ring = _Ring(self._around + round(SLACK * sample_rate))
        self._clip: _Clip | None = None
        self._until = 0

    @property
    def recording(self) -> bool:
        """Whether a clip is being written."""
        return self._clip is not None

    def hear(self, chunk: NDArray[Any] | Lost) -> None:
        """Takes in the next audio, (n, channels); what is lost is silence."""
        for block in _pcm(chunk, self._rate):
            self.ring.add(block)
            self._write(block)

    def keep(self, alarm: Event) -> Path | None:
        """Keeps what surrounds an alarm, at once or as it is heard; gives where, or None where nothing can be written."""
        at = round(alarm.time * self._rate)
        if self._clip is None:
            begin = max(at - self._around, self.ring.begin)
            with self._telling():
                self._require_room(at + self._around - begin)
                self._clip = _Clip(self._name(begin), self._rate, begin, _comment(alarm, begin / self._rate))
        if self._clip is None:
            return None
        self._until = min(at + self._around, self._clip.begin + self._longest)
        path = self._clip.path
        if self._clip.written == 0:
            self._write(self.ring.since(self._clip.begin))
        # Where the disk is full, there will be no such file; a short one may be complete already.
        return path if self._clip or path.exists() else None

    def close(self) -> None:
        """Completes a clip that is being written with what there is."""
        clip, self._clip = self._clip, None
        if clip is None:
            return
        with self._telling(clip):
            clip.finish()
            self._tell(f"recorded {clip.path}, {clip.written / self._rate:.1f} s")
            self._make_room()

    def _write(self, block: Pcm) -> None:
        clip = self._clip
        if clip is None:
            return
        with self._telling(clip):
            clip.write(block[: max(0, self._until - clip.begin - clip.written)])
        if self._clip and clip.begin + clip.written >= self._until:
            self.close()

    def _require_room(self, frames: int) -> None:
        """Raises OSError where the disk has no room for so many samples; FLAC takes no more than they do."""
        needed = min(frames, self._longest) * np.dtype(np.int16).itemsize
        if shutil.disk_usage(self._folder).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _name(self, begin: int) -> Path:
        time = datetime.now(UTC) - timedelta(seconds=(self.ring.end - begin) / self._rate)
        stem = f"vivavoce-{time:%Y%m%dT%H%M%S}.{time.microsecond // 1000:03}Z"
        # Audio that is heard faster than it lasts can begin two clips at one time of the clock.
        names = (f"{stem}{suffix}.flac" for suffix in itertools.chain([""], (f"-{number}" for number in itertools.count(2))))
        return next(path for name in names if not (path := self._folder / name).exists())

    def _make_room(self) -> None:
        """Deletes the oldest clips, those of interrupted runs included, until the limit is kept."""
        sizes = {path: path.stat().st_size for path in sorted(self._folder.glob("vivavoce-*.flac*"))}
        for path in list(sizes)[:-1]:
            if sum(sizes.values()) <= self._limit:
                return
            path.unlink(missing_ok=True)
            del sizes[path]

    @contextmanager
    def _telling(self, clip: _Clip | None = None) -> Iterator[None]:
        """Gives a clip up that cannot be written, and says so."""
        try:
            yield
        # soundfile asserts that everything was written.
        except (OSError, RuntimeError, AssertionError) as error:
            self._clip = None
            if clip:
                clip.abandon()
            full = shutil.disk_usage(self._folder).free < self._rate
            why = os.strerror(errno.ENOSPC) if full else getattr(error, "strerror", None) or error or "it cannot be written"
            self._tell(f"the alarm cannot be recorded in {self._folder}: {why}")


class _Ring:
    """The last `frames` samples and more, as they came."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._blocks: deque[Pcm] = deque()
        self.begin = self.end = 0
        """Positions of the first sample held and of the next one to come, counted from the stream's beginning."""

    def add(self, block: Pcm) -> None:
        self._blocks.append(block)
        self.end += len(block)
        while self.end - self.begin - len(self._blocks[0]) >= self._frames + len(block):
            self.begin += len(self._blocks.popleft())

    def since(self, begin: int) -> Pcm:
        """The samples from position `begin` on."""
        held: Pcm = np.concatenate([*self._blocks, np.zeros(0, np.int16)])
        return held[max(0, begin - self.begin) :]


class _Clip:
    """A FLAC file that is being written under another name."""

    def __init__(self, path: Path, rate: int, begin: int, comment: str) -> None:
        self.path, self.begin, self.written = path, begin, 0
        self._partial = path.with_name(f"{path.name}.partial")
        os.close(os.open(self._partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            self._file = soundfile.SoundFile(self._partial, "w", rate, 1, "PCM_16", format="FLAC")
        except BaseException:
            self._partial.unlink()
            raise
        self._file.comment = comment

    def write(self, block: Pcm) -> None:
        self._file.write(block)
        self.written += len(block)

    def finish(self) -> None:
        self._file.close()
        self._partial.replace(self.path)

    def abandon(self) -> None:
        with suppress(OSError, RuntimeError):
            self._file.close()
        with suppress(OSError):
            self._partial.unlink()


def _pcm(chunk: NDArray[Any] | Lost, rate: int) -> Iterator[Pcm]:
    """The chunk in blocks of 16-bit samples, (n,)."""
    if isinstance(chunk, Lost):
        for done in range(0, chunk.frames, rate):
            yield np.zeros(min(rate, chunk.frames - done), np.int16)
        return
    mono = np.nan_to_num(to_mono(as_float(chunk)), posinf=0, neginf=0)
    yield (np.clip(mono, -1, 1 - 2**-15) * 32_768).round().astype(np.int16)


def _comment(alarm: Event, begin: float) -> str:
    return (
        f"vivavoce: spoof with a score of {alarm.score:+.2f} from {alarm.start:.2f} to {alarm.time:.2f} s of the stream; "
        f"this clip begins at {begin:.2f} s"
    )
