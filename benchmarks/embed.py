"""Puts a bundle into the package that ships it, with the model card and the notices of those whose work is in it.

python benchmarks/embed.py BUNDLE
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from shipped import SHIPPED

from vivavoce.bundle import Bundle, default_bundle
from vivavoce.bundle_writing import write_bundle
from vivavoce.files import sha256


def main() -> int:
    """Replaces the bundle of that name."""
    made = Bundle(sys.argv[1])
    manifest = made.manifest
    if manifest.name not in SHIPPED:
        sys.exit(f'No bundle "{manifest.name}" ships. Name it one of {", ".join(SHIPPED)} as it is calibrated (--bundle-name).')
    place, card, _ = SHIPPED[manifest.name]
    documents = {"NOTICE.txt": (default_bundle() / "NOTICE.txt").read_bytes(), "model-card.md": card.read_bytes()}
    listed = {name: digest for name, digest in made.listed().items() if name not in manifest.documents}
    files = {name: made.read(name, digest) for name, digest in listed.items()} | documents
    manifest = manifest.model_copy(update={"documents": {name: sha256(content) for name, content in documents.items()}})
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        write_bundle(Path(folder) / "new", manifest, files)
        shutil.rmtree(place, ignore_errors=True)
        (Path(folder) / "new").rename(place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
