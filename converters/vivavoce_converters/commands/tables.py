"""What `vivavoce quantize` prints: what became INT8, why, and what the scan found."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from vivavoce.bundle import Manifest
from vivavoce.terminal.console import grid, table

from ..steps.notes import Quantization

__all__ = ["quantization_tables"]


def quantization_tables(manifest: Manifest) -> Iterable[Table]:
    """The manifest's notes on its quantization; nothing where it has none."""
    notes = Quantization.of(manifest.model)
    if notes is None:
        return
    yield grid(
        {
            "target": f"{notes.target}, ranges from {notes.ranges_from_trials} windows",
            "size": f"{notes.size_ratio:.1%} of float32",
            "in INT8": f"{notes.int8_share_of_products:.1%} of the quantizable multiply-accumulates",
            "left in float": ", ".join(notes.float_groups) or "of the quantizable ones nothing",
        }
    )
    rows = [
        (source, choice.method, _span(choice.strengths.values()), f"{min(choice.errors.values()):.1e}")
        for source, choice in notes.classes.items()
    ]
    yield table(("activations of", "range", "migration", "relative error of the products"), rows)
    if notes.sensitivity:
        scan = [
            (group, f"{one.correlation:.5f}", f"{one.residual:.4f}", f"{one.flips:.2%}")
            for group, one in notes.sensitivity.items()
        ]
        yield table(("INT8 in this alone", "correlation", "residual", "flips"), scan)


def _span(values: Iterable[float]) -> str:
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
