"""Puts the page into one folder that any web server can offer: the page, onnxruntime-web, the speech gate and a bundle.

onnxruntime-web (MIT) and Silero's speech gate (MIT, inside @ricky0123/vad-web) come from npm, which must be installed, of the
versions and checksums below. Nothing is built, and nothing is fetched where the folder has it already.

python examples/browser/prepare.py --serve
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from vivavoce import VivavoceError
from vivavoce.bundle import MANIFEST, Bundle, default_bundle

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Package:
    """An npm package: what npm calls it, the checksum of its archive as npm writes it, and the files in it that are needed."""

    name: str
    integrity: str
    files: tuple[str, ...]


ORT = Package(
    "onnxruntime-web@1.30.0",
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"),
)
VAD = Package(
    "@ricky0123/vad-web@0.0.31",
    "sha512-ePVq8TvB21sdHSxVMZOEIf9JVa7MAYpaIaNXeGgsPOiMCN8xbPCdF2LS5aYj7VRR3ZxzutedgV9ZplV65IA1Fg==",
    ("dist/silero_vad_v6.onnx",),
)


def fetch(package: Package, folder: Path) -> None:
    """Brings a package's files into `folder`, once the archive's checksum has been compared."""
    if all((folder / Path(file).name).is_file() for file in package.files):
        return
    if (npm := shutil.which("npm")) is None:
        sys.exit(f"npm is not installed, and {package.name} comes from it. Install Node.js.")
    with tempfile.TemporaryDirectory() as temporary:
        command = [npm, "pack", package.name, "--silent", "--prefer-offline", "--pack-destination", temporary]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            sys.exit(f"npm cannot fetch {package.name}; see above.")
        (archive,) = Path(temporary).glob("*.tgz")
        found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != package.integrity:
            sys.exit(f"{package.name} is not the archive that this page was written for: its checksum is {found}.")
        with tarfile.open(archive) as tar:
            for file in package.files:
                member = tar.extractfile(f"package/{file}")
                assert member is not None, file
                (folder / Path(file).name).write_bytes(member.read())


def prepare(out: Path, bundle: Path) -> None:
    """Fills the folder `out`. A bundle that was there before is replaced, what was fetched before is kept."""
    opened = Bundle(bundle)
    files = {name: opened.read(name, digest) for name, digest in opened.listed().items()}
    (out / "vendor").mkdir(parents=True, exist_ok=True)
    for package in (ORT, VAD):
        fetch(package, out / "vendor")
    for file in (file for pattern in ("*.html", "*.css", "*.js") for file in HERE.glob(pattern)):
        shutil.copyfile(file, out / file.name)
    shutil.rmtree(out / "bundle", ignore_errors=True)
    (out / "bundle").mkdir()
    for name, content in (files | {MANIFEST: (bundle / MANIFEST).read_bytes()}).items():
        (out / "bundle" / name).write_bytes(content)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=default_bundle(), help="a bundle's folder; the embedded one by default")
    parser.add_argument("--out", type=Path, default=HERE / "site", help="the folder to fill (examples/browser/site)")
    parser.add_argument("--serve", action="store_true", help="offer it on this machine afterwards, until Ctrl-C")
    parser.add_argument("--port", type=int, default=8000, help="where (8000)")
    options = parser.parse_args(arguments)
    prepare(options.out, options.bundle)
    print(f"{options.out} is complete. Any web server can offer it; off this machine, browsers ask for HTTPS.")
    if options.serve:
        print(f"Open http://localhost:{options.port}. Ctrl-C ends it.", flush=True)
        handler = partial(SimpleHTTPRequestHandler, directory=str(options.out))
        ThreadingHTTPServer(("127.0.0.1", options.port), handler).serve_forever()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (VivavoceError, OSError) as error:
        sys.exit(f"Error: {error}")
