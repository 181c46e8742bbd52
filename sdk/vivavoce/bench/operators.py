"""The profile: where an ONNX engine's time goes, by operator and by part, and how near it comes to the processor's best.

The yardstick is a plain INT8 matrix product of 200 x 1024 by 1024 x 4096, a transformer's widest for 4 s of audio, in turns
with the engine: `gemm.onnx`, one MatMulInteger of unsigned by signed bytes.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np

from ..bundle import Bundle
from ..engines.engine import OnnxEngine, load_onnx
from ..engines.names import part_of
from ..engines.providers import session
from ..engines.self_test import self_test_audio
from ..errors import ConfigurationError, needs_extra
from .records import Record

__all__ = ["INPUTS", "OUTPUTS", "Profile", "Share", "nodes_of", "profile", "shares"]

ROWS, INPUTS, OUTPUTS = 200, 1024, 4096
PRODUCTS = ("Gemm", "MatMul", "Conv")
"""Operators with multiply-accumulates, or what their fused and quantized forms have in their names."""


class Share(Record):
    """What the nodes of an operator or a part take together: seconds, and their share of all."""

    name: str
    nodes: int
    seconds: float
    share: float
    multiply_accumulates: int


class Profile(Record):
    """One window's time in an engine; shares are the longest first."""

    engine: str
    threads: int
    repeats: int
    seconds: float
    multiply_accumulates: int
    operators: tuple[Share, ...]
    parts: tuple[Share, ...]
    rate: float
    """Multiply-accumulates a second."""
    int8_gemm_rate: float
    """The same of the yardstick."""
    share_of_int8_gemm: float


@dataclass(frozen=True)
class Node:
    """One node of the graph that ran."""

    operator: str
    part: str
    seconds: float
    multiply_accumulates: int


def profile(bundle: Bundle, *, precision: str | None = None, threads: int = 1, repeats: int = 10) -> Profile:
    """One window's time in the bundle's ONNX engine, node by node; durations are in seconds.

    Each node counts with its median over the repeats. Parts are told apart by the names that `vivavoce convert` gives to
    nodes: one without belongs to the part of the node that ran before it. Raises ConfigurationError where the bundle has no
    such engine.
    """
    with needs_extra("cpu"):
        import onnxruntime
    found = [one for one in bundle.manifest.engines if one.kind == "onnx" and precision in (None, one.precision)]
    if not found:
        raise ConfigurationError("The bundle has no such ONNX engine. Only ONNX engines can be profiled.")
    window = np.resize(self_test_audio(bundle), (1, bundle.manifest.audio.window)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        engine = load_onnx(bundle, found[0], session_options=options)
        seconds = _interleaved(engine, window, threads, repeats)
        events = json.loads(engine.profile_file().read_text(encoding="utf-8"))
    nodes = nodes_of(events, repeats)
    total = sum(node.seconds for node in nodes)
    operations = sum(node.multiply_accumulates for node in nodes)
    best = ROWS * INPUTS * OUTPUTS / float(np.median(seconds))
    return Profile(
        engine=found[0].file,
        threads=threads,
        repeats=repeats,
        seconds=total,
        multiply_accumulates=operations,
        operators=shares(nodes, "operator"),
        parts=shares(nodes, "part"),
        rate=operations / total,
        int8_gemm_rate=best,
        share_of_int8_gemm=operations / total / best,
    )


def _interleaved(engine: OnnxEngine, window: Any, threads: int, repeats: int) -> list[float]:
    """Scores the window and multiplies in turns, so that both meet the same machine; the seconds of the products."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    content = (files("vivavoce") / "bench" / "gemm.onnx").read_bytes()
    gemm = session(content, "cpu", options)
    samples = np.ones((ROWS, INPUTS), np.uint8)
    gemm.run(None, {"samples": samples})
    seconds = []
    for _ in range(repeats + 1):  # The first of the engine is not counted.
        engine.score(window)
        start = perf_counter()
        gemm.run(None, {"samples": samples})
        seconds.append(perf_counter() - start)
    return seconds


def nodes_of(events: Iterable[dict[str, Any]], repeats: int) -> list[Node]:
    """The nodes of an ONNX Runtime profile with the medians of their last `repeats` runs, in the order in which they run."""
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            found[event["name"].removesuffix("_kernel_time")].append(event)
    nodes: list[Node] = []
    for name, runs in found.items():
        counted = runs[-repeats:]
        nodes.append(
            Node(
                operator=counted[0]["args"]["op_name"],
                part=part_of(name) or (nodes[-1].part if nodes else "stem"),
                seconds=float(np.median([run["dur"] for run in counted])) * 1e-6,
                multiply_accumulates=_multiply_accumulates(counted[0]["args"]),
            )
        )
    return nodes


def _multiply_accumulates(event: dict[str, Any]) -> int:
    """From the shapes that ONNX Runtime notes: outputs times the inputs that each one sums."""
    if not any(word in event["op_name"] for word in PRODUCTS):
        return 0
    first, *others = (shape for entry in event["input_type_shape"] for shape in entry.values())
    (output,) = event["output_type_shape"][0].values()
    if "Conv" in event["op_name"]:
        weights = max(others, key=lambda shape: (len(shape), math.prod(shape)))
        return int(math.prod(output) * math.prod(weights[1:]))
    return int(math.prod(output) * first[-1])


def shares(nodes: Sequence[Node], key: Literal["operator", "part"]) -> tuple[Share, ...]:
    """What nodes take by operator or part, the longest first."""
    total = sum(node.seconds for node in nodes)
    groups: defaultdict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        groups[getattr(node, key)].append(node)
    found = [
        Share(
            name=name,
            nodes=len(group),
            seconds=(seconds := sum(node.seconds for node in group)),
            share=seconds / total,
            multiply_accumulates=sum(node.multiply_accumulates for node in group),
        )
        for name, group in groups.items()
    ]
    return tuple(sorted(found, key=lambda share: -share.seconds))
