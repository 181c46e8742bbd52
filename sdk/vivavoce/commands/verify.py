"""`vivavoce verify`: whether a bundle is what its manifest says, and scores on this machine as it was packed to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from ..bundle import MANIFEST, Bundle, EngineFile, bundle_path
from ..engines.engine import load_engine
from ..engines.self_test import self_test
from ..errors import BundleError, ConfigurationError, DeviceError, MissingExtra, VivavoceError
from ..terminal.console import BAD, GOOD, BundleArgument, console, mark, printable, size

__all__ = ["Check", "checks", "verify"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: `state` is "ok", "failed", "warning" or "skipped"."""

    state: Literal["ok", "failed", "warning", "skipped"]
    subject: str
    detail: str


def verify(
    bundle: BundleArgument = None,
    sha256: Annotated[
        str | None,
        typer.Option(metavar="DIGEST", help="What the manifest's sha256 must be, whole or its first 12 digits or more."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> int:
    """Check a bundle's files, and its scores on this machine.

    The manifest's sha256 stands for the whole bundle, thresholds and calibration included: note it where the bundle came from,
    and give it here.

    Exit code: 0 everything is as it should be, 1 something is not, 2 the command could not run.
    """
    if sha256 is not None and not re.fullmatch("[0-9a-f]{12,64}", sha256.lower()):
        raise ConfigurationError(f'"{sha256}" is no sha256. Give its 64 hexadecimal digits, or the first 12 or more.')
    path = bundle_path(bundle)
    if not path.exists():
        raise ConfigurationError(f"{path} does not exist. Give a bundle's folder, or default.")
    out = console()
    found = []
    for check in checks(path, sha256):
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


def checks(path: Path, sha256: str | None = None) -> Iterator[Check]:
    """The manifest's form and, where one is given, its sha256; every file's sha256, files that nobody lists, and the self test
    of each engine."""
    try:
        bundle = Bundle(path)
    except BundleError as error:
        yield Check("failed", "manifest", str(error))
        return
    manifest = bundle.manifest
    told = f"{manifest.format}: {manifest.name} {manifest.version}, sha256 {bundle.sha256}"
    sound = sha256 is None or bundle.sha256.startswith(sha256.lower())
    other = f"{told}, not {sha256}: thresholds, calibration or anything else of it may have been changed"
    yield Check("ok", "manifest", told) if sound else Check("failed", "manifest", other)
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
