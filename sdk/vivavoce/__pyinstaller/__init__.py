"""What PyInstaller asks for at its start: where the hook for this package is."""

from __future__ import annotations

from pathlib import Path

__all__ = ["get_hook_dirs"]


def get_hook_dirs() -> list[str]:
    return [str(Path(__file__).parent)]
