"""The command line put together: the verbs here, those that other packages add, and how errors end."""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer

from .._version import __version__
from ..errors import VivavoceError
from ..terminal.console import CUT_OFF, INTERRUPTED, UNUSABLE, drop_output, tell_error
from .bench import bench
from .devices import devices
from .helping import OneVerb, Verbs, epilog, in_words
from .info import info
from .listen import listen
from .scan import scan
from .verify import verify

__all__ = ["GROUP", "VERBS", "build"]

GROUP = "vivavoce.commands"
"""Entry points of this group become verbs: the name is the verb, the object a function with typer's annotations, of which the
return value is the exit code (None means 0)."""

HELP = """Tell a living human voice from a synthetic one, on this machine, offline.

Speech is judged bona fide, spoof, or undecided with the reason. A model is embedded; others come as bundles (folders).
"""

Verb = Callable[..., int | None]

VERBS: dict[str, Verb] = {
    "scan": scan,
    "listen": listen,
    "devices": devices,
    "info": info,
    "verify": verify,
    "bench": bench,
}


def build() -> typer.Typer:
    """The command, with a verb for each function here and for each entry point."""
    app = typer.Typer(
        name="vivavoce",
        help=HELP,
        epilog="Begin with: vivavoce scan --demo",
        cls=Verbs,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name, verb in VERBS.items():
        app.command(name, cls=OneVerb, epilog=epilog(name))(_guarded(in_words(verb)))
    for entry in entry_points(group=GROUP):
        if entry.name not in VERBS:
            _add(app, entry)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vivavoce {__version__}")
        raise typer.Exit


VersionOption = Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")]


def _options(show_version: VersionOption = False) -> None:
    """What stands before a verb."""


def _add(app: typer.Typer, entry: EntryPoint) -> None:
    """Adds another package's verb; one that cannot be loaded says why when it is called, and spoils nothing else."""
    try:
        app.command(entry.name, cls=OneVerb, epilog=epilog(entry.name))(_guarded(in_words(entry.load())))
    except Exception as error:  # Whatever another package's module does while it is imported.
        ignored = {"allow_extra_args": True, "ignore_unknown_options": True}
        app.command(entry.name, context_settings=ignored)(_guarded(_failing(entry, error)))


def _failing(entry: EntryPoint, cause: Exception) -> Verb:
    def fail() -> None:
        """Not available here; call it to see why."""
        if isinstance(cause, VivavoceError):
            raise cause
        raise VivavoceError(f"{entry.value} cannot be loaded: {cause}. Install its package again.") from cause

    return fail


def _guarded(verb: Verb) -> Callable[..., None]:
    """The verb with its ends: an exit code, an error as one sentence, an interruption without a word.

    Python's own exit code for an error is 1, which means a spoof here, so that no error may pass.
    """

    @functools.wraps(verb)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            code = verb(*args, **kwargs)
        except VivavoceError as error:
            if os.environ.get("VIVAVOCE_DEBUG") == "1":
                raise
            tell_error(error)
            code = UNUSABLE
        except KeyboardInterrupt:
            code = INTERRUPTED
        except BrokenPipeError:
            drop_output()
            code = CUT_OFF
        except OSError as error:
            # What has neither a name nor a number comes from a library, not from the output.
            subject = error.filename or ("The output" if error.errno else None)
            tell_error(f"{subject}: {error.strerror or error}." if subject else error)
            drop_output()
            code = UNUSABLE
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception:
            traceback.print_exc()
            code = UNUSABLE
        raise typer.Exit(code or 0)

    return run
