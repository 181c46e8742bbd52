"""The notes on roundings: enough to make them again, and to see why."""

from __future__ import annotations

from pydantic import Field

from ..checkpoints.notes import Notes
from ..quantization.plan.smoothquant import Choice
from ..quantization.sensitivity import Effect

__all__ = ["Quantization", "Rounding"]


class Rounding(Notes):
    """What became of the weights of a float32 engine, and of the scales before them."""

    name = "rounding"

    target: str
    ranges_from_trials: int
    classes: dict[str, Choice]
    """By the class of layer."""
    float_groups: tuple[str, ...]
    int8_share_of_products: float
    """Of the multiply-accumulates that can be INT8."""
    size_ratio: float
    """Of the files, to those of the float32 engine that was converted."""


class Quantization(Rounding):
    """What became of an engine in INT8, and what a budget found out."""

    name = "quantization"

    budget: float | None = None
    """The share of decisions that might flip by the scan's estimate; None where there was none."""
    two_byte_groups: tuple[str, ...] = ()
    effect: Effect | None = None
    """Of all that is INT8 together."""
    sensitivity: dict[str, Effect] = Field(default_factory=dict)
    """Of each group alone, the most harmful first."""
    sensitivity_two_bytes: dict[str, Effect] = Field(default_factory=dict)
