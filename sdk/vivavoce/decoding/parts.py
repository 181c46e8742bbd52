"""Decoding: a recording's bytes become blocks of samples, by libsndfile or, for what it lacks, by FFmpeg.

No decoder is believed. Each is read until it ends, what it gave is counted, and the count must be what the recording announced;
what libsndfile would take from a header that nobody filled in is filled in before.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from ..errors import AudioError, MissingExtra
from .arrays import BLOCK_SECONDS, Samples
from .beginnings import MARKS, begins, check_alone
from .chunks import Chunked, chunked
from .elements import check_elements
from .faults import cut_off, damaged, joined, longer, within_frame
from .flac import ends_with_flac_frame, flac_total, largest_flac_frame
from .frames import LET_PASS, tags, without_tags
from .mpeg import begins_as_mp3, mp3_parts
from .ogg import ogg_parts
from .rare import MARK, announced, is_longer, prepared
from .recording import Bytes, Window

__all__ = ["Part", "parts"]

LIVE_SECONDS = 0.1

SLACK = 2304
"""Samples by which a lossy decoder may stay behind its table of contents."""

PADDING = 4096
"""Samples behind a recording's own that may be what fills up its last block on a tape or a disk."""

PROBE = 1 << 16
"""Bytes of a pipe by which some decoder must know it."""

HTK = b"\0\2\0\0"
"""Bytes 8 to 12 of an HTK waveform: two bytes a sample."""

FLAC_HEAD = 26
"""Bytes of a FLAC up to its number of samples."""

Keep = Callable[[Any], Any]


@dataclass(frozen=True)
class Part:
    """One of the recordings that a file holds one after another; most hold one. `blocks` are arrays (n, channels)."""

    rate: int
    channels: int
    blocks: Iterator[Samples]


def parts(content: Bytes, keep: Keep) -> Iterator[Part]:
    """The recordings in a file, each opened once the one before is over; `keep` is given what must be closed in the end."""
    skip = tags(content)
    if content.read(skip, 4) == b"fLaC":
        yield _flac(content, keep, skip)
    elif layout := chunked(content):
        yield _chunks(content, keep, layout)
    elif content.read(0, 4) == b"OggS":
        yield from (_whole(content, keep, part) for part in ogg_parts(content.name, content.rest()))
    else:
        whole = prepared(_whole_pipe(content))
        sound = None if begins_as_mp3(whole) else _Sound.open(whole, keep, Window(whole))
        if isinstance(sound, Part):
            yield sound
        elif sound is None or sound.format == "MP3":
            data = whole.rest()
            yield from (_whole(content, keep, part) for part in mp3_parts(content.name, data) or [data])
        else:
            yield _rare(whole, sound)


def _whole_pipe(content: Bytes) -> Bytes:
    """A recording all of which has come. Raises AudioError for a pipe that begins like none, before its end: raw samples may
    have no end."""
    if content.size is not None:
        return content
    head = content.read(0, PROBE)
    # Of these, libsndfile wants the last byte before it knows them.
    if len(head) == PROBE and not (begins(head) or begins_as_mp3(content) or head[8:12] == HTK):
        part = content.part(head)
        try:
            with ExitStack() as stack:
                _Sound.open(part, stack.enter_context, Window(part))
        except AudioError as error:
            raise AudioError(f"{error} Of raw samples, give the rate.") from error
    return content.part(content.rest())


def _whole(content: Bytes, keep: Keep, data: bytes) -> Part:
    """A recording that lies in memory as it came."""
    part = content.part(data)
    sound = _Sound.open(part, keep, Window(part))
    return sound if isinstance(sound, Part) else Part(sound.samplerate, sound.channels, sound.read_all())


def _rare(content: Bytes, sound: _Sound) -> Part:
    """A recording of another kind: held against its own statement, and not followed by another one."""
    data = content.rest()
    stated, there = announced(data, sound.format, sound.extra_info, sound.frames)
    if data.find(data[:MARK], 1) > 0:
        raise joined(content.name, sound.format)
    check_alone(content.name, data)
    if is_longer(data, sound.format, sound.subtype, sound.frames * sound.channels):
        raise longer(content.name, f"{sound.frames} samples", "Cut it into one file each.")
    if stated is not None and there < stated:
        raise cut_off(content.name, there / stated)
    if stated is not None and there > stated + PADDING:
        raise longer(content.name, f"{stated} samples", "Write it anew: ffmpeg -i OLD NEW.")
    return Part(sound.samplerate, sound.channels, sound.read_all(stated))


def _flac(content: Bytes, keep: Keep, skip: int) -> Part:
    """A FLAC. Told that its length is unknown, libsndfile reads on to the end, whatever the header says."""
    head = content.read(skip, FLAC_HEAD)
    if len(head) < FLAC_HEAD:
        raise cut_off(content.name, 0)
    total, head = flac_total(head)
    keep_bytes = largest_flac_frame(head) + LET_PASS
    window = Window(content, head, skip + FLAC_HEAD, marks=MARKS, keep=keep_bytes, eager=True)
    sound = _Sound.open(content, keep, window)
    if isinstance(sound, Part):
        return sound

    def blocks() -> Iterator[Samples]:
        try:
            count = yield from sound.read(total or None)
            over = total and count == total and sound.goes_on()
            window.drain()
            if over and not window.marked:
                raise longer(content.name, f"{total} samples", "Write it anew: ffmpeg -i OLD NEW.")
        except AudioError as error:
            if window.marked:
                raise joined(content.name, "FLAC") from error
            raise
        if window.marked:
            raise joined(content.name, "FLAC")
        if count < total and not content.stopped:
            raise cut_off(content.name, count / total)
        # libsndfile drops half a frame, and all that is none, at the end without a word.
        tail = without_tags(window.tail)
        seen = count and not content.stopped and len(window.tail) - len(tail) < LET_PASS
        if seen and not ends_with_flac_frame(tail, padded=total > 0):
            raise within_frame(content.name)

    return Part(sound.samplerate, sound.channels, blocks())


def _chunks(content: Bytes, keep: Keep, layout: Chunked) -> Part:
    """WAV and its kin: checked before it is read where all of it is there, and after where it is still coming."""
    if content.size is None and not layout.by_samples:
        content = content.part(content.rest())
        layout = chunked(content) or layout
    if content.size is not None:
        layout.check(content)
    head = bytearray(content.read(0, layout.start))
    if len(head) < layout.start:
        raise cut_off(content.name, 0)
    for at, patch in layout.patches.items():
        head[at : at + len(patch)] = patch
    # An AIFF may say behind its samples what they are.
    whole = content.size is not None and layout.length is not None and content.read(8, 4) in (b"AIFF", b"AIFC")
    sound = _Sound.open(content, keep, Window(content) if whole else Window(content, bytes(head), layout.start, layout.length))
    if isinstance(sound, Part):
        if content.size is None:
            layout.check(content)
        return sound
    limit = layout.limit(sound.frames)

    def blocks() -> Iterator[Samples]:
        yield from sound.read(limit)
        if content.size is None and not content.stopped:
            layout.check(content)

    return Part(sound.samplerate, sound.channels, blocks())


class _Sound(soundfile.SoundFile):  # type: ignore[misc]
    """A file of libsndfile's that goes forward only: soundfile seeks after each block, which not every decoder can."""

    @staticmethod
    def open(content: Bytes, keep: Keep, window: Window) -> _Sound | Part:
        """The file in a window; by FFmpeg, where libsndfile does not know it. Raises AudioError where neither does."""
        try:
            sound = _Sound(window)
        except Exception as error:  # Whatever a decoder raises.
            if window.error:
                raise window.error from error
            return _by_ffmpeg(content, keep, _reason(error))
        keep(sound)
        if window.error:
            raise window.error
        window.live = True
        sound.content, sound.window = content, window
        return sound

    content: Bytes
    window: Window

    def seekable(self) -> bool:
        return False

    def read_all(self, limit: int | None = None) -> Iterator[Samples]:
        """Everything, up to `limit`. Raises AudioError where less comes than a table of contents says."""
        count = yield from self.read(limit)
        if count + SLACK < (self.frames if limit is None else limit) and not self.content.stopped:
            raise damaged(self.content.name, f"{count} of its {limit or self.frames} samples can be decoded")

    def read(self, limit: int | None) -> Generator[Samples, None, int]:
        """Blocks until the decoder ends or `limit` samples of each channel came; gives how many did."""
        size = round((LIVE_SECONDS if self.content.size is None else BLOCK_SECONDS) * self.samplerate)
        count = 0
        while not self.content.stopped and (wanted := size if limit is None else min(size, limit - count)):
            block = self._block(wanted)
            count += len(block)
            if len(block):
                yield block
            if len(block) < wanted:
                break
        return count

    def goes_on(self) -> bool:
        """Whether there is more; what cannot be decoded is none."""
        try:
            return bool(len(self._block(1)))
        except AudioError:
            return False

    def _block(self, wanted: int) -> Samples:
        block = np.zeros((wanted, self.channels), np.float32)
        try:
            came = super().read(out=block)
        except Exception as error:  # Whatever a decoder raises.
            raise self.window.error or _undecodable(self.content.name, _reason(error)) from error
        if self.window.error:
            raise self.window.error
        return block[: len(came)]


def _by_ffmpeg(content: Bytes, keep: Keep, reason: str) -> Part:
    try:
        from .ffmpeg import decode
    except MissingExtra as missing:
        raise _undecodable(content.name, reason, f"For m4a, WebM and other formats run: {missing.command}") from missing
    whole = content if content.size is not None else content.part(content.rest())
    check_elements(whole)
    window = Window(whole)

    def wanted() -> Iterator[Samples]:
        for block in blocks:
            if content.stopped:
                return
            yield block
        if window.error:
            raise window.error

    try:
        rate, channels, blocks = decode(whole.name, io.BufferedReader(window), keep)
    except AudioError as error:
        raise window.error or error from error.__cause__
    return Part(rate, channels, wanted())


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", "") or str(error) or type(error).__name__
    return str(text).strip().rstrip(".") or "the decoder gave up; it is damaged, or cut off"


def _undecodable(name: str, reason: str, remedy: str = "") -> AudioError:
    return AudioError(f"{name} cannot be decoded: {reason}. {remedy or 'Copy it again, or convert it to WAV or FLAC.'}")
