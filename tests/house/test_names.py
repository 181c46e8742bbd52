"""Names that are used elsewhere are in their module's `__all__`, and tests leave private ones alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from source_tree import ROOT, imported, modules, tree

READ_ALL_THE_SAME = {
    "portaudio._initialize": "sounddevice's own name",
    "Microphone._open": "somebody speaks as soon as the device is open",
    "opened._queue": "what waits to be read: to iterate would wait for more",
    "stream._follower": "all that a stream keeps is counted, wherever it is",
}


def users() -> Iterator[tuple[Path, str]]:
    """Every file that imports the product's names, with the module that it is, or "" """
    yield from ((path, module) for module, path in modules().items())
    yield from ((path, "") for folder in ("tests", "benchmarks", "examples", "lab") for path in (ROOT / folder).rglob("*.py"))


def exported(module: str) -> set[str]:
    for node in tree(modules()[module]).body:
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == "__all__" for one in node.targets):
            return set(ast.literal_eval(node.value))
    return set()


def test_what_is_used_elsewhere_is_exported() -> None:
    used = {
        (module, name)
        for path, own in users()
        for module, name in imported(path, own)
        if name and module in modules() and name != "__version__"
    }
    assert len(used) > 400
    assert sorted((module, name) for module, name in used if name not in exported(module)) == []


def test_what_is_exported_is_there() -> None:
    for module, path in modules().items():
        named = {node.id for node in ast.walk(tree(path)) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        made = {node.name for node in tree(path).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        taken = {name for _, name in imported(path, module)} | {one.split(".")[-1] for one, name in imported(path, module)}
        assert exported(module) <= named | made | taken, module


def private(path: Path) -> Iterator[str]:
    """The reads of underscore names of others, `thing._name`, and names replaced under such a name."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            thing, name, *_ = (*node.args, None, None)
            if isinstance(name, ast.Constant) and str(name.value).startswith("_") and not str(name.value).startswith("__"):
                yield f"{ast.unparse(thing)}.{name.value}" if thing else ""


def test_tests_leave_private_names_alone() -> None:
    found = {(path.name, name) for path in (ROOT / "tests").rglob("*.py") for name in private(path)}
    assert sorted((file, name) for file, name in found if name not in READ_ALL_THE_SAME) == []
    assert {name for _, name in found} == set(READ_ALL_THE_SAME)
