"""`vivavoce devices`: what there is to listen to."""

from __future__ import annotations

from dataclasses import asdict
from json import dumps
from typing import Annotated

import typer

from .. import microphone
from ..terminal.console import BAD, GOOD, console, show, table, tell_error

__all__ = ["devices"]


def devices(json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False) -> int:
    """List the microphones that `listen` can use.

    Exit code: 0 there is at least one, 1 there is none, 2 the command could not run.
    """
    found = microphone.devices()
    if json:
        for device in found:
            print(dumps(asdict(device)))
    elif found:
        rows = [
            (str(one.index), one.name, one.host, str(one.channels), f"{one.sample_rate} Hz", "default" if one.default else "")
            for one in found
        ]
        show(console(), table(("index", "name", "system", "channels", "rate", ""), rows))
    else:
        tell_error("There is no input device. Connect one, or allow this program to use it.")
    return GOOD if found else BAD
