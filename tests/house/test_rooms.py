"""The rooms: which may import which, how many files one holds, and that no arrow runs back. docs/architecture.md shows them."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter

from source_tree import ROOT, imported, modules

LARGEST = 16
"""Modules that a folder may hold beside those that begin with _: what a reader can take in at once."""

GROUND = {
    *("errors", "audio", "result", "sources", "bundle", "bundle_writing", "files", "machine"),
    *("_version", "_offline", "policy", "band", "rates", "progress", "decoding"),
}
FACES = {"detector", "stream", "microphone"}
QUANTIZATION = {"quantization", "quantization.plan", "quantization.rewrites"}
MAY_IMPORT = {
    # The runtime, from the ground up. Faces are what an app sees; the entrance starts the command.
    "ground": set(),
    "terminal": {"ground"},
    "engines": {"ground"},
    "listening": {"ground", "engines"},
    "faces": {"ground", "engines", "listening"},
    "bench": {"ground", "engines", "listening", "faces"},
    "commands": {"ground", "terminal", "engines", "faces", "bench"},
    "entrance": {"ground", "commands"},
    # Calibration.
    "calibration": {"ground", "engines", "listening", "faces"},
    "calibration.report": {"ground", "calibration"},
    "calibration.commands": {"ground", "terminal", "calibration", "calibration.report"},
    # The converters, whose package wakes the runtime before ONNX Runtime starts.
    "": {"faces"},
    "networks": {"ground"},
    "onnx_graph": {"ground", "engines"},
    "checkpoints": {"ground", "networks"},
    "quantization.plan": {"ground", "onnx_graph"},
    "quantization.rewrites": {"ground", "onnx_graph", "quantization.plan"},
    "quantization": {"ground", "calibration", "onnx_graph", "quantization.plan", "quantization.rewrites"},
    "distillation": {"ground", "calibration", "checkpoints", "networks"},
    "steps": {"ground", "engines", "calibration", "networks", "onnx_graph", "checkpoints", "distillation", *QUANTIZATION},
    "converters.commands": {
        *("ground", "terminal", "calibration", "calibration.commands"),
        *("networks", "distillation", "quantization", "steps"),
    },
    "training_data": {"ground", "terminal"},
}


def room(module: str) -> str:
    package, *parts = module.split(".")
    if package == "training_data":
        return package
    if package == "vivavoce":
        if not parts or parts[0] in FACES:
            return "faces"
        if parts[0] in GROUND:
            return "ground"
        return "entrance" if parts[0] in ("cli", "__main__") else parts[0]
    inside = parts if modules()[module].name == "__init__.py" else parts[:-1]
    if inside == ["challenges"]:  # A part of calibration, in a folder of its own.
        return "calibration"
    if package == "vivavoce_calibration" or inside == ["commands"]:
        return ".".join([package.removeprefix("vivavoce_"), *inside])
    return ".".join(inside)


@cache
def arrows() -> list[tuple[str, str]]:
    return [
        (module, other) for module, path in modules().items() for other, _ in set(imported(path, module)) if other != module
    ]


def test_every_arrow_between_rooms_is_in_the_table() -> None:
    assert len(arrows()) > 300
    places = [(module, other, room(module), room(other)) for module, other in arrows()]
    assert [(module, other) for module, other, here, there in places if here != there and there not in MAY_IMPORT[here]] == []


def test_no_arrow_runs_back() -> None:
    order: TopologicalSorter[str] = TopologicalSorter()
    for module, other in arrows():
        order.add(module, other)
    order.prepare()  # Raises CycleError, which names the circle.
    places: TopologicalSorter[str] = TopologicalSorter(MAY_IMPORT)
    places.prepare()


def test_a_folder_can_be_taken_in_at_once() -> None:
    count = Counter(path.parent for path in modules().values() if not path.name.startswith("_"))
    assert [(str(folder.relative_to(ROOT)), files) for folder, files in count.items() if files > LARGEST] == []


def test_no_test_imports_another() -> None:
    found = [
        (path.name, node.lineno)
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom | ast.Import)
        and any(name.startswith("test_") for name in (getattr(node, "module", None) or "", *(one.name for one in node.names)))
    ]
    assert found == []


def test_one_module_draws_bars() -> None:
    drawing = [module for module, path in modules().items() if "rich.progress" in path.read_text("utf-8")]
    assert drawing == ["vivavoce.terminal.progress_bars"]
