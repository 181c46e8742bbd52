"""Plots of a training run."""

from __future__ import annotations

import json
from pathlib import Path

from vivavoce.files import placing

__all__ = ["plot_training"]


def plot_training(log: Path, picture: Path) -> None:
    """Draws the losses and the dev EER of a run's `log.jsonl` against the step, as a PNG."""
    from matplotlib.figure import Figure

    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    steps = [r for r in records if "label_loss" in r]
    evaluations = [r for r in records if "dev_eer" in r]
    figure = Figure(figsize=(8, 6), layout="constrained")
    losses, errors = figure.subplots(2, 1, sharex=True)
    for name in ("feature_loss", "label_loss"):
        losses.plot([r["step"] for r in steps], [r[name] for r in steps], label=name.replace("_", " "), linewidth=0.8)
    losses.set_ylabel("loss")
    losses.legend()
    errors.plot([r["step"] for r in evaluations], [100 * r["dev_eer"] for r in evaluations], marker="o")
    errors.set(xlabel="step", ylabel="EER on dev, %")
    with placing(picture) as partial:
        figure.savefig(partial, dpi=110, format="png")
