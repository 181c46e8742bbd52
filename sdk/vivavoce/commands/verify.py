"""`vivavoce verify`: whether a bundle is what its manifest says, and scores on this machine as it was packed to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from ..bundle import MANIFEST, Bundle, EngineFile, default_bundle
from ..engine import load_engine
from ..errors import BundleError, ConfigurationError, DeviceError, MissingExtra, VivavoceError
from ..selftest import self_test
from .terminal import BAD, GOOD, console, mark, printable, size

__all__ = ["Check", "checks", "verify"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: `state` is "ok", "failed", "warning" or "skipped"."""

    state: Literal["ok", "failed", "warning", "skipped"]
    subject: str
    detail: str


def verify(
    bundle: Annotated[Path | None, typer.Argument(help="A bundle's folder; the embedded one by default.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> int:
    """Check a bundle's files, and its scores on this machine.

    Exit code: 0 everything is as it should be, 1 something is not, 2 the command could not run.
    """
    path = bundle or default_bundle()
    out = console()
    found = []
    for check in checks(path):
        found.append(check)
        if not json:
            row = mark(check.state, out).append(f" {printable(check.subject)}", "default bold")
            out.print(row.append(f"  {printable(check.detail)}", "not bold"), soft_wrap=False)
    good = all(check.state != "failed" for check in found)
    if json:
        print(dumps({"bundle": str(path), "ok": good, "checks": [asdict(check) for check in found]}))
    else:
        verdict = Text("verified", "bold green") if good else Text("NOT verified", "bold red")
        out.print(verdict.append(f": {printable(str(path))}", "default not bold"))
    return GOOD if good else BAD


def checks(path: Path) -> Iterator[Check]:
    """The manifest's form, every file's sha256, files that nobody lists, and the self test of each engine."""
    try:
        bundle = Bundle(path)
    except BundleError as error:
        yield Check("failed", "manifest", str(error))
        return
    manifest = bundle.manifest
    yield Check("ok", "manifest", f"{manifest.format}: {manifest.name} {manifest.version}")
    sound = True
    for check in _files(bundle):
        sound = sound and check.state != "failed"
        yield check
    if not sound:
        yield Check("skipped", "self test", "the files come first")
        return
    tests = [_self_test(bundle, engine) for engine in manifest.engines]
    yield from tests
    if all(test.state == "skipped" for test in tests):
        yield Check("failed", "self test", "no engine of this bundle can be opened on this machine")


def _files(bundle: Bundle) -> Iterator[Check]:
    listed = bundle.listed()
    for name, digest in listed.items():
        try:
            content = bundle.read(name, digest)
        except BundleError as error:
            yield Check("failed", name, str(error))
        else:
            yield Check("ok", name, f"sha256 {digest[:12]}…, {size(len(content))}")
    for file in sorted(bundle.path.rglob("*")):
        name = file.relative_to(bundle.path).as_posix()
        if not file.is_dir() and name not in (*listed, MANIFEST):
            yield Check("warning", name, "is not in the manifest, and is not used")


def _self_test(bundle: Bundle, file: EngineFile) -> Check:
    subject = f"self test, {file.file}"
    try:
        engine = load_engine(bundle, file)
        deviation = self_test(bundle, engine)
    except (ConfigurationError, DeviceError, MissingExtra) as error:
        return Check("skipped", subject, str(error))
    except VivavoceError as error:
        return Check("failed", subject, str(error))
    tolerance = bundle.manifest.self_test.tolerance
    windows = len(bundle.manifest.self_test.scores)
    detail = f"{windows} windows on {engine.provider}: largest deviation {deviation:.2g}, {tolerance:.2g} allowed"
    return Check("ok" if deviation <= tolerance else "failed", subject, detail)
