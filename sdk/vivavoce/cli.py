"""The entrance of the command `vivavoce`, which says what to install where the extra for it is missing."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, NoReturn

from .errors import MissingExtra, needs_extra

__all__ = ["main"]

UNUSABLE, INTERRUPTED = 2, 130


def _whole(stream: Any) -> Any:
    """An output that takes any text, and raises where it cannot write all of it: without a buffer, as PYTHONUNBUFFERED wants,
    it drops what a full disk has no room for."""
    if stream is None:  # It was closed before the process began.
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    if isinstance(stream.buffer, io.RawIOBase):
        return open(stream.fileno(), "w", 1, stream.encoding, "backslashreplace", closefd=False)
    stream.reconfigure(errors="backslashreplace")
    return stream


def main() -> NoReturn:
    """Runs the command with the process's arguments and exits."""
    sys.stdout, sys.stderr = _whole(sys.stdout), _whole(sys.stderr)
    try:
        with needs_extra("app"):
            import rich  # noqa: F401
            import typer  # noqa: F401
        from .commands.app import build

        build()()
    except MissingExtra as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(UNUSABLE)
    except OSError as error:  # Of what is no verb: a shell whose files completion cannot be written to.
        print(f"Error: {error.filename or 'The output'}: {error.strerror or error}.", file=sys.stderr)
        sys.exit(UNUSABLE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except SystemExit as ended:
        # A shell that completion does not know ends with 1, which says here that a voice is synthetic.
        sys.exit(UNUSABLE if ended.code == 1 and sys.argv[1:2] == ["--install-completion"] else ended.code)
    sys.exit(0)
