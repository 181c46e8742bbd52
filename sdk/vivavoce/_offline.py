"""Keeps the libraries beneath from reporting: imported before any of them starts."""

from __future__ import annotations

import os

# From 1.29 on ONNX Runtime, as it is imported, leaves an identifier in the user's cache folder and sends what it ran to its
# makers, unless this is set before. Who sets it to 0 has decided otherwise.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
