"""Reading checkpoints: the official ones, those of this library, and running them as a reference."""

from __future__ import annotations

from .load import CheckpointError, Description, load_checkpoint

__all__ = ["CheckpointError", "Description", "load_checkpoint"]
