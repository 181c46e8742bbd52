"""Puts a bundle into the package, with the model card and the notices of those whose work is in it.

python benchmarks/embed.py BUNDLE
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from vivavoce.bundle import Bundle, default_bundle
from vivavoce.bundle_writing import write_bundle
from vivavoce.files import sha256

CARD = Path(__file__).parent.parent / "docs" / "models.md"


def main() -> int:
    """Replaces the embedded bundle."""
    made, place = Bundle(sys.argv[1]), default_bundle()
    manifest = made.manifest
    documents = {"NOTICE.txt": (place / "NOTICE.txt").read_bytes(), "model-card.md": CARD.read_bytes()}
    listed = {name: digest for name, digest in made.listed().items() if name not in manifest.documents}
    files = {name: made.read(name, digest) for name, digest in listed.items()} | documents
    manifest = manifest.model_copy(update={"documents": {name: sha256(content) for name, content in documents.items()}})
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        write_bundle(Path(folder) / "new", manifest, files)
        shutil.rmtree(place)
        (Path(folder) / "new").rename(place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
