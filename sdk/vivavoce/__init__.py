"""Tells a living human voice from a synthetic one, on the device, offline, while it is being spoken."""

from __future__ import annotations
