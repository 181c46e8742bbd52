"""Builders' tools: load a countermeasure, distil it, export it, quantize it and pack it into a bundle."""

from __future__ import annotations

import vivavoce  # noqa: F401 - before any module here imports ONNX Runtime, which it keeps from reporting
