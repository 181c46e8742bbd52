"""The product's own source, read as syntax trees: its modules, and what they import of each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = {
    "vivavoce": "sdk",
    "vivavoce_calibration": "calibration",
    "vivavoce_converters": "converters",
    "training_data": "converters",
}


@cache
def modules() -> dict[str, Path]:
    """Every module's file."""
    found = {}
    for package, source in SOURCES.items():
        for path in sorted((ROOT / source / package).rglob("*.py")):
            parts = path.relative_to(ROOT / source).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imported(path: Path, module: str = "") -> Iterator[tuple[str, str]]:
    """The names that a file imports of the product, wherever in it, with the modules that they come from; "" for a module
    itself. `module` is the file's own name, for relative imports."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((one.name, "") for one in node.names if one.name in modules())
        elif isinstance(node, ast.ImportFrom):
            own = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*own, *([node.module] if node.module else [])])
            if base.split(".")[0] in SOURCES:
                for one in node.names:
                    yield (name, "") if (name := f"{base}.{one.name}") in modules() else (base, one.name)
