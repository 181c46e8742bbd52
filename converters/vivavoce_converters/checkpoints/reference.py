"""The original network of a bundle, rebuilt from its checkpoint, in torch: what its engines are measured against."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

from vivavoce.bundle import Bundle
from vivavoce.errors import ConfigurationError

from .load import load_checkpoint
from .notes import Conversion

__all__ = ["TorchReference"]


class TorchReference:
    """The float32 network on the CPU, eager, with the options that the bundle's manifest says it was converted with.

    Raises ConfigurationError where the checkpoint is not the one that the manifest names, and as `load_checkpoint`.
    """

    def __init__(self, bundle: Path, checkpoint: Path, threads: int) -> None:
        model = Bundle(bundle).manifest.model
        noted = Conversion.of(model)
        self._network, known = load_checkpoint(checkpoint, **(noted.options() if noted else {}))
        if known.sha256 != model.checkpoint_sha256:
            raise ConfigurationError(
                f"{checkpoint} is not what {bundle} was converted from: its sha256 begins with {known.sha256[:12]}, "
                f"not {model.checkpoint_sha256[:12]}. Give that checkpoint."
            )
        torch.set_num_threads(threads)
        self.provider = f"torch {torch.__version__}"

    def score(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raw scores (batch,) from samples (batch, window)."""
        with torch.inference_mode():
            scores: NDArray[np.float32] = self._network(torch.from_numpy(windows)).numpy()
        return scores

    def stem_share(self, windows: NDArray[np.float32]) -> float:
        """The share of the time of `score` that passes before the first encoder layer: convolutions, projection, positions."""
        began: list[float] = []
        modules = self._network.front_end.named_modules()
        first = next(module for name, module in modules if f".{name}".endswith(".layers.0"))
        hook = first.register_forward_pre_hook(lambda *_: began.append(perf_counter()))
        try:
            start = perf_counter()
            self.score(windows)
            end = perf_counter()
        finally:
            hook.remove()
        return (began[0] - start) / (end - start)
