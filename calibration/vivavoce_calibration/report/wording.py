"""Figures as people read them."""

from __future__ import annotations

import re

from vivavoce.bundle import Rate

__all__ = ["figure", "share", "spelled"]


def spelled(field: str) -> str:
    """The name of a field of a trial as people read it."""
    return "SNR" if field == "snr" else field.replace("_", " ")


def figure(metric: str, value: float) -> str:
    """A metric's value as people read it: rates in percent, costs as they are."""
    is_rate = re.search(r"EER\b|^FNR|^FPR|^HTER|\brate$", metric)
    return f"{100 * value:.2f} %" if is_rate else f"{value:.4f}"


def share(rate: Rate | None) -> str:
    """A rate with its interval, in percent, such as "1.0 % (0.2 to 2.8)"."""
    return f"{100 * rate.value:.1f} % ({100 * rate.low:.1f} to {100 * rate.high:.1f})" if rate else "–"
