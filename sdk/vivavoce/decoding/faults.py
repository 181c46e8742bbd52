"""Faults: what is wrong with a recording, said so that its owner knows what to do."""

from __future__ import annotations

from ..errors import AudioError

__all__ = ["cut_off", "damaged", "followed", "joined", "longer", "within_frame"]


def cut_off(name: str, share: float) -> AudioError:
    """The error for a recording of which `share` is there."""
    percent = min(99, round(100 * share)) if share < 1 else 99
    return AudioError(f"{name} is cut off: {percent}% of the audio that its header announces is there. Copy it again.")


def joined(name: str, kind: str) -> AudioError:
    """The error for several recordings in one file, of a kind that decoders take for one."""
    return AudioError(f"{name} holds more than one {kind} recording, one after the other. Cut it into one file each.")


def followed(name: str) -> AudioError:
    """The error for a recording behind which another one lies, of any kind."""
    return AudioError(f"{name} holds another recording behind its own. Cut it into one file each.")


def longer(name: str, than: str, remedy: str) -> AudioError:
    """The error for a recording that goes on behind what its header announces."""
    return AudioError(f"{name} holds more audio than its header announces ({than}). {remedy}")


def damaged(name: str, what: str) -> AudioError:
    """The error for a recording that contradicts itself."""
    return AudioError(f"{name} is damaged: {what}. Copy it again, or write it anew with `ffmpeg -i OLD NEW`.")


def within_frame(name: str) -> AudioError:
    """The error for a recording whose last frame is not whole."""
    return damaged(name, "it ends within a frame")
