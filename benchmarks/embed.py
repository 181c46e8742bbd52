"""Puts a bundle into its package, with its model card and the notices of those whose work is in it.

"default" becomes the embedded bundle, "large" that of the package of its own.

python benchmarks/embed.py BUNDLE
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from vivavoce.bundle import DEFAULT, LARGE, Bundle, default_bundle
from vivavoce.bundle_writing import write_bundle
from vivavoce.files import sha256

ROOT = Path(__file__).parent.parent
PLACES = {
    DEFAULT: (default_bundle(), ROOT / "docs" / "models.md"),
    LARGE: (ROOT / "sdk" / "large" / "vivavoce_large", ROOT / "docs" / "large.md"),
}


def main() -> int:
    """Replaces the bundle of that name."""
    made = Bundle(sys.argv[1])
    manifest = made.manifest
    place, card = PLACES[manifest.name]
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
