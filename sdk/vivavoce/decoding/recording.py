"""A recording's bytes, wherever they come from: a path, bytes, a file object, a pipe; read whole, counted, and nothing raised
that is not ours."""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from ..errors import AudioError

__all__ = ["Bytes", "Window", "opened", "pieces"]

WAIT = 0.1
"""Seconds after which a wait for a pipe looks whether it is still wanted."""

READ = 1 << 16

UNKNOWN = 1 << 50
"""What libsndfile is told of the length of a pipe."""


class Bytes:
    """Bytes by position, counted from where the file stood. `size` is None for a pipe: what is there is known at its end."""

    def __init__(self, name: str, file: Any, stop: threading.Event) -> None:
        self._file, self._stop = file, stop
        self._start = _position(file)
        self.name = f"{name}, from byte {self._start} on (seek(0) goes back to its beginning)," if self._start else name
        self.size = None if self._start is None else self._seek(0, os.SEEK_END) - self._start
        self._pieces = pieces(name, file, stop)
        self._kept, self._dropped = bytearray(), 0
        self._near, self._near_at = b"", 0

    @property
    def arrived(self) -> int:
        """How many bytes there are so far."""
        return self._dropped + len(self._kept) if self.size is None else self.size

    @property
    def stopped(self) -> bool:
        """Whether nobody wants the rest."""
        return self._stop.is_set()

    def read(self, at: int, count: int, least: int | None = None) -> bytes:
        """`count` bytes from position `at`; fewer only at the end, however few the file gives at a time, or where a pipe has
        given `least` of them."""
        if self.size is not None:
            if at >= self.size:
                return b""
            count = min(count, self.size - at)
            if count > READ:
                return self._at(at, count)
            if not self._near_at <= at <= at + count <= self._near_at + len(self._near):
                # Decoders ask for a few bytes at a time.
                self._near, self._near_at = self._at(at, min(READ, self.size - at)), at
            return self._near[at - self._near_at : at - self._near_at + count]
        while self.arrived < at + (least or count) and (more := next(self._pieces, b"")):
            self._kept += more
        return bytes(self._kept[max(0, at - self._dropped) : max(0, at + count - self._dropped)])

    def rest(self) -> bytes:
        """Everything."""
        if self.size is not None:
            return self.read(0, self.size)
        for more in self._pieces:
            self._kept += more
        return bytes(self._kept)

    def part(self, data: bytes) -> Bytes:
        """A part of it, or all, that lies in memory."""
        return Bytes(self.name, io.BytesIO(data), self._stop)

    def forget(self, at: int) -> None:
        """Lets go of a pipe's bytes before `at`, which nobody will ask for again."""
        if self.size is None and at > self._dropped:
            del self._kept[: at - self._dropped]
            self._dropped = at

    def _at(self, at: int, count: int) -> bytes:
        """Bytes of a file that can seek."""
        self._seek((self._start or 0) + at, os.SEEK_SET)
        parts = []
        while count > 0 and (part := self._call(self._file.read, count)):
            parts.append(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _seek(self, offset: int, whence: int) -> int:
        def seek() -> int:
            moved = self._file.seek(offset, whence)
            return int(self._file.tell() if moved is None else moved)

        return int(self._call(seek))

    def _call(self, function: Any, *arguments: Any) -> Any:
        return _called(self.name, function, *arguments)


class Window(io.RawIOBase):
    """What a decoder sees: `head`, then the bytes from position `start` on, `length` of them or (None) to the end.

    A decoder that calls back cannot be raised through: `error` has what went wrong meanwhile, or the interrupt. `marks`
    are looked for in what is read; `marked` says whether one was there. `tail` has the last `keep` bytes that were
    read. `eager` is for a decoder that asks for more than it needs, and can do with less.
    """

    def __init__(
        self,
        content: Bytes,
        head: bytes = b"",
        start: int = 0,
        length: int | None = None,
        marks: tuple[bytes, ...] = (),
        keep: int = 0,
        eager: bool = False,
    ) -> None:
        super().__init__()
        self._content, self._head, self._start = content, head, start
        if length is None and content.size is not None:
            length = content.size - start
        self._size = UNKNOWN if length is None else len(head) + length
        self.live = False
        """Whether the decoder goes forward only, so that what it has read is let go."""
        self._position = 0
        self._marks, self._overlap = marks, max(map(len, marks), default=1) - 1
        self._keep = max(keep, self._overlap)
        self.tail, self.marked = b"", False
        self._least = 1 if eager else None
        self.error: BaseException | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readinto(self, target: Any) -> int:
        view = memoryview(target)
        data = self._read(len(view))
        view[: len(data)] = data
        return len(data)

    def drain(self) -> None:
        """Reads what the decoder has left, so that all marks are found, however far it read ahead."""
        while self._read(READ):
            pass

    def _read(self, count: int) -> bytes:
        at, head = self._position, self._head
        count = max(0, min(count, self._size - at))
        data = head[at : at + count]
        if len(data) < (min(count, self._least) if self._least else count) and not self.error:
            try:
                data += self._body(max(at, len(head)) - len(head) + self._start, count - len(data))
            except BaseException as error:
                self.error = error
        self._position += len(data)
        return data

    def _body(self, at: int, count: int) -> bytes:
        # A decoder that looks for what may stand behind a pipe's audio finds nothing: it has not come yet.
        if self._content.size is None and at > self._content.arrived:
            return b""
        data = self._content.read(at, count, self._least)
        if self.live:
            self._content.forget(at)
        if self._keep:
            near = self.tail[-self._overlap :] + data if self._marks else b""
            self.marked = self.marked or any(mark in near for mark in self._marks)
            self.tail = (self.tail + data)[-self._keep :]
        return data


def opened(source: Any, stop: threading.Event, keep: Any) -> Bytes:
    """The bytes of a path, of encoded bytes or of a binary file object; `keep` is given what must be closed in the end.

    Raises AudioError for what is none of these, cannot be opened, or holds nothing.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        found = Bytes("The byte string", io.BytesIO(source), stop)
    elif isinstance(source, str | os.PathLike):
        found = _at_path(os.fsdecode(source), stop, keep)
    elif isinstance(source, io.TextIOBase):
        raise AudioError(f'{_name(source)} is open as text. Open it with mode "rb".')
    elif hasattr(source, "read"):
        found = Bytes(_name(source), source, stop)
    else:
        raise AudioError(
            f"{type(source).__name__} is not an audio source. "
            f"Give a path, encoded bytes, a binary file object, or samples and their sample rate."
        )
    if not found.read(0, 1) and not found.stopped:
        if found._start:
            raise AudioError(f"{_name(source)} is at its end, byte {found._start}. Call seek(0) before it is judged.")
        raise AudioError(f"{found.name} is empty (0 bytes). Record or copy it again.")
    return found


def _at_path(path: str, stop: threading.Event, keep: Any) -> Bytes:
    try:
        kind = os.stat(path).st_mode  # noqa: PTH116 - a Path would lose a part of some names.
        # A pipe that is waited for must not be read ahead.
        buffering, opener = -1 if stat.S_ISREG(kind) else 0, _unwaiting if stat.S_ISFIFO(kind) else None
        file: BinaryIO = keep(open(path, "rb", buffering, opener=opener))  # noqa: SIM115
    except IsADirectoryError as error:
        raise AudioError(
            f"{path} is a folder, not a file. Give the path of a recording, or a folder to `vivavoce scan`."
        ) from error
    except (FileNotFoundError, ValueError) as error:
        raise AudioError(f"{path or 'An empty path'} is not a file. {_hint(path)}") from error
    except OSError as error:
        raise AudioError(f"{path} cannot be read: {error.strerror}.") from error
    return Bytes(path, file, stop)


def _hint(path: str) -> str:
    if "://" in path:
        return "Nothing is downloaded here: fetch it first."
    if path.startswith("~"):
        return "Write the home folder out, or leave it to the shell without quotes."
    if "*" in path or "?" in path:
        return "Patterns are left to the shell: write it without quotes, or give the folder."
    return "Give the path of a recording."


def _name(file: Any) -> str:
    name = getattr(file, "name", None)
    return name if isinstance(name, str) and name else "The file object"


def _position(file: Any) -> int | None:
    """Where a file that can seek stands; None for one that cannot."""
    try:
        if hasattr(file, "seekable") and not file.seekable():
            return None
        position = int(file.tell())
        file.seek(position)
    except Exception:  # Pipes and sockets have many ways to say that they cannot.
        return None
    return position


def _unwaiting(path: str, flags: int) -> int:
    """Opens a named pipe at once; only here does the wait for its writer come to an end with all others."""
    if sys.platform != "linux":  # Elsewhere a pipe that nobody has opened yet is one at its end.
        return os.open(path, flags)
    file = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(file, True)
    return file


def pieces(name: str, file: Any, stop: threading.Event) -> Iterator[bytes]:
    """What a pipe gives, as soon as it is there, until its end or until `stop` is set. Raises AudioError where it cannot be
    read."""
    wait = _waits(file)
    # read1 gives what a pipe holds; read would wait until READ bytes are there.
    read = getattr(file, "read1", file.read)
    while not stop.is_set():
        if not _called(name, wait):
            continue
        if found := _called(name, read, READ):
            yield found
        elif found is not None:
            return
        else:  # A file that does not wait, and has nothing yet.
            time.sleep(WAIT / 10)


def _called(name: str, function: Any, *arguments: Any) -> Any:
    try:
        found = function(*arguments)
    except AudioError:
        raise
    except Exception as error:  # Whatever a file object of somebody else's raises.
        why = getattr(error, "strerror", None) or error or type(error).__name__
        raise AudioError(f"{name} cannot be read: {str(why).rstrip('.')}.") from error
    if isinstance(found, str):
        raise AudioError(f'{name} is open as text. Open it with mode "rb".')
    if found is not None and not isinstance(found, bytes | bytearray | memoryview | int):
        raise AudioError(f"{name} gives no bytes when it is read, but {type(found).__name__}. Give the bytes.")
    return found


def _waits(file: Any) -> Any:
    """A function that waits up to 0.1 s for a pipe's data and tells whether there is some; true where nobody can tell."""
    raw = getattr(file, "raw", file)
    # Elsewhere select knows sockets alone; and what decrypts or unpacks may hold more than its descriptor shows.
    if os.name != "posix" or not isinstance(raw, io.FileIO):
        return lambda: True
    return lambda: bool(select.select([raw], [], [], WAIT)[0])
