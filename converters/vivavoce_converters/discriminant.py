"""A linear discriminant of an encoder's states, fitted in closed form so that it carries over to unseen systems and sources.

Every system and every source of bona fide speech differs from the others of its class in ways that have nothing to do with the
class. Linear discriminant analysis with the scatter between those groups counted as scatter within the class (within-class
covariance normalisation: Hatch et al., Interspeech 2006) turns away from such directions; a network trained by gradients on
the same clips does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from vivavoce.errors import ConfigurationError

__all__ = ["Discriminant", "fit_discriminant"]

Floats = NDArray[np.float64]


class Discriminant(nn.Module):
    """A score for each frame from all of the encoder's states; the mean over the frames is the utterance's."""

    def __init__(self, states: int, width: int) -> None:
        super().__init__()
        self.states, self.width = states, width
        self.linear = nn.Linear(states * width, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """(batch, frames, 1) from states (batch, frames, width) each."""
        return cast(Tensor, self.linear(torch.cat(list(states), dim=2)))

    def set(self, weight: Floats, bias: float) -> None:
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(weight)[None])
            self.linear.bias.fill_(bias)


def fit_discriminant(
    pooled: Floats, bonafide: NDArray[np.bool_], groups: NDArray[np.str_], *, between: float = 1.0, shrinkage: float = 0.1
) -> tuple[Floats, float]:
    """Weight (n,) and bias of the score for utterances `pooled` (utterances, n), of the scale of a log-likelihood ratio.

    `groups` names the system or source of each. `between` weighs the scatter between the groups of a class, `shrinkage` is
    added to every (standardised) direction's variance. A group counts by the square root of its size. Raises
    ConfigurationError where a class has fewer than two groups.
    """
    mean, deviation = pooled.mean(0), pooled.std(0) + 1e-6
    scaled = (pooled - mean) / deviation
    within, centres, labels = _scatter(scaled, bonafide, groups)
    if min(labels.sum(), (~labels).sum()) < 2:
        raise ConfigurationError("A discriminant needs two systems and two sources of bona fide speech at least. Give more.")
    spread = sum(np.cov(centres[labels == key].T, bias=True) for key in (True, False)) / 2
    direction = centres[labels].mean(0) - centres[~labels].mean(0)
    weight = np.linalg.solve(within + between * spread + shrinkage * np.eye(len(direction)), direction)
    fitted = LogisticRegression(C=1e6, class_weight="balanced").fit((scaled @ weight)[:, None], bonafide)
    weight = weight * fitted.coef_[0, 0] / deviation
    return weight, float(fitted.intercept_[0] - mean @ weight)


def _scatter(scaled: Floats, bonafide: NDArray[np.bool_], groups: NDArray[np.str_]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Scatter within the groups, their centres (groups, n), and which of them are bona fide."""
    within, total, centres, labels = np.zeros((scaled.shape[1],) * 2), 0.0, [], []
    for name in np.unique(groups):
        chosen = groups == name
        members = scaled[chosen]
        centres.append(members.mean(0))
        labels.append(bool(bonafide[chosen][0]))
        apart = members - centres[-1]
        within += apart.T @ apart / np.sqrt(len(members))
        total += np.sqrt(len(members))
    return within / total, np.array(centres), np.array(labels)
