"""The entrance of the command `vivavoce`, which says what to install where the extra for it is missing."""

from __future__ import annotations

import io
import sys
from typing import NoReturn

from .errors import MissingExtra, needs_extra

__all__ = ["main"]

UNUSABLE, INTERRUPTED = 2, 130


def main() -> NoReturn:
    """Runs the command with the process's arguments and exits."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with needs_extra("app"):
            import rich  # noqa: F401
            import typer  # noqa: F401
        from .commands.app import build

        build()()
    except MissingExtra as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(UNUSABLE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0)
