"""How the command helps: verbs in two groups, types in words, and examples for every verb."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from typer.core import TyperArgument, TyperCommand, TyperGroup
from typer.models import ArgumentInfo, OptionInfo

__all__ = ["OneVerb", "Verbs", "epilog", "in_words"]

Verb = TypeVar("Verb", bound=Callable[..., Any])

USERS = ("scan", "listen", "devices", "info", "verify", "bench")
BUILDERS = 'Models and evidence, with pip install "vivavoce[convert]"'

EXAMPLES = {
    "scan": ("call.wav recordings/", "--accept fpr=5% --reject fnr=5% --csv calls/ > verdicts.csv", "- < call.wav"),
    "listen": ("", "--record clips --alarm-command ./alarm", "--fast call.wav"),
    "devices": ("",),
    "info": ("", "my-bundle --json"),
    "verify": ("", "my-bundle --sha256 c7e4db1077cb"),
    "bench": ("", "--stream --hop 0.5"),
    "evaluate": ("default my-recordings --out report",),
    "calibrate": ("default my-recordings --out my-bundle",),
    "compare": ("int8 float my-recordings --limits limits.toml",),
    "convert": ("checkpoint.pth --out my-bundle",),
    "distill": ("default --corpus CORPUS --teacher model.safetensors --out run",),
    "quantize": ("my-bundle --target x86-vnni --calibration my-recordings --out my-int8",),
    "refit": ("my-bundle --corpus CORPUS --also my-recordings --out refitted",),
    "build-engine": ("my-bundle --out my-engine",),
    "metrics": ("scores.txt keys.txt",),
}
"""What follows the verb."""

NEEDS = {
    **dict.fromkeys(("evaluate", "calibrate", "compare"), "calibrate"),
    **dict.fromkeys(("convert", "distill", "quantize", "refit"), "convert"),
    "build-engine": "convert,tensorrt",
}
"""The extras without which a verb only says that they are missing."""

WORDS: dict[object, str] = {int: "NUMBER", float: "NUMBER", Path: "PATH", str: "TEXT"}
"""What people call a type."""


def epilog(verb: str) -> str | None:
    """What stands below a verb's options: examples, and what has to be installed for it."""
    if verb not in EXAMPLES:
        return None
    lines = ["\b\nExamples:", *(f"  vivavoce {verb} {line}".rstrip() for line in EXAMPLES[verb])]
    if verb in NEEDS:
        lines += ["", "\b", f'Needs: pip install "vivavoce[{NEEDS[verb]}]"']
    return "\n".join(lines)


def in_words(verb: Verb) -> Verb:
    """The verb, its options and arguments with types in words for people where it has not given them itself."""
    hints = get_type_hints(verb, include_extras=True)
    # What is written in quotes is made anew each time that it is looked at.
    verb.__annotations__ = hints
    for name, hint in hints.items():
        if get_origin(hint) is not Annotated:
            continue
        kind, info, *_ = get_args(hint)
        kinds = [one for one in _within(kind) if one in WORDS]
        if isinstance(info, OptionInfo | ArgumentInfo) and info.metavar is None and kinds:
            info.metavar = WORDS[kinds[0]] if isinstance(info, OptionInfo) else name.upper()
    return verb


def _within(kind: object) -> list[object]:
    """A type and those that it is made of: of `list[str] | None` also `str`."""
    return [kind, *(one for part in get_args(kind) for one in _within(part))]


class OneVerb(TyperCommand):
    """A verb whose arguments go by their names, without what Python calls their types."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for one in self.params:
            if isinstance(one, TyperArgument):
                vars(one)["display_type_rich"] = lambda ctx: None

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        # Braces around what must be given look like a choice.
        return [re.sub("[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]


class Verbs(TyperGroup):
    """The verbs in two groups: for who uses a model, and for who makes one."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        # What is longer than a line is wrapped, not cut.
        rows = [(name, verb.get_short_help_str(limit=200)) for name, verb in found.items() if verb]
        for title, own in (("Commands", True), (BUILDERS, False)):
            if part := [row for row in rows if (row[0] in USERS) == own]:
                with formatter.section(title):
                    formatter.write_dl(part)
