"""The perceptron on pooled states: what it learns, what a group weighs, and that its members stand side by side."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vivavoce.errors import ConfigurationError
from vivavoce_calibration.metrics import eer
from vivavoce_converters.networks import perceptron
from vivavoce_converters.networks.perceptron import Perceptron, PerceptronConfig, fit_perceptron


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptron, "STEPS", 150)
    monkeypatch.setattr(perceptron, "LEARNING_RATE", 1e-2)


Utterances = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_]]


def utterances(seed: int, size: int = 20) -> Utterances:
    """Bona fide speech in the middle and spoofs on either side of it along the first axis; groups differ along the last one."""
    rng = np.random.default_rng(seed)
    rows, labels, groups = [], [], []
    for kind, centre in enumerate((0.0, 3.0, -3.0)):
        for group in range(6):
            rows.append(np.array([50 + centre, 0.0, rng.normal(0, 6)]) + rng.normal(0, 0.5, (size, 3)))
            labels += [kind == 0] * size
            groups += [f"{kind} {group}"] * size
    return np.concatenate(rows), np.array(labels), np.array(groups)


def scores(network: Perceptron, pooled: NDArray[np.float64]) -> NDArray[np.float64]:
    with torch.no_grad():
        return network(torch.from_numpy(pooled).float()[:, :, None])[:, 0].double().numpy()


def test_spoofs_on_either_side_of_living_speech_are_told_from_it() -> None:
    heard, bonafide, _ = utterances(1)
    told = scores(fit_perceptron(*utterances(0)), heard)
    assert eer(told[bonafide], told[~bonafide]) < 0.05


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    given = utterances(0, 5)
    first, again, other = (fit_perceptron(*given, seed=seed).inner.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_large_group_does_not_decide() -> None:
    """One of the systems is heard a hundred times as often, where living speech is: the others of that place still count."""
    rng = np.random.default_rng(0)
    pooled = rng.normal(0, 0.3, (460, 2)) + np.repeat([[2.0, 0.0], [2.0, 0.0], [-2.0, 0.0]], [400, 30, 30], axis=0)
    bonafide = np.repeat([False, True, False], [400, 30, 30])
    small = [f"{kind} {number % 6}" for kind in ("source", "system") for number in range(30)]
    groups = np.concatenate([np.repeat("large", 400), small])
    places = scores(fit_perceptron(pooled, bonafide, groups), np.array([[2.0, 0.0], [-2.0, 0.0]]))
    assert places[0] > 0 > places[1]


def test_what_weighs_little_hardly_counts() -> None:
    pooled, bonafide, groups = utterances(0)
    wrong, theirs = ~bonafide[::-1], groups[::-1]
    weights = np.repeat([1.0, 1e-3], len(pooled))
    given = np.tile(pooled, (2, 1)), np.append(bonafide, wrong), np.append(groups, [f"other {name}" for name in theirs])
    told = scores(fit_perceptron(*given, weights=weights), pooled)
    assert eer(told[bonafide], told[~bonafide]) < 0.05


def test_the_frames_mean_decides() -> None:
    torch.manual_seed(0)
    network = Perceptron(PerceptronConfig(6, 4))
    features = torch.randn(2, 6, 9)
    torch.testing.assert_close(network(features), network(features.mean(dim=2, keepdim=True)))


def test_one_group_of_a_class_is_too_few() -> None:
    pooled, bonafide, groups = utterances(0)
    with pytest.raises(ConfigurationError, match="two systems and two sources"):
        fit_perceptron(pooled, bonafide, np.where(bonafide, "one", groups))
    told = scores(fit_perceptron(pooled, bonafide, np.where(bonafide, "", groups)), pooled)  # As ASVspoof's lists have it.
    assert eer(told[bonafide], told[~bonafide]) < 0.05


def test_progress_is_told_at_every_step() -> None:
    told: list[tuple[int, int]] = []
    fit_perceptron(*utterances(0, 2), advance=lambda done, total: told.append((done, total)))
    assert told == [(number + 1, told[-1][1]) for number in range(len(told))]


def test_a_channel_that_hardly_varies_does_not_decide() -> None:
    pooled, bonafide, groups = utterances(0)
    dead = 1e-7 * (np.random.default_rng(2).standard_normal(len(pooled)) + bonafide)
    fitted = fit_perceptron(np.column_stack([pooled, dead]), bonafide, groups)
    shifted = np.column_stack([pooled, dead + 1e-6])
    np.testing.assert_allclose(scores(fitted, shifted), scores(fitted, np.column_stack([pooled, dead])), atol=0.05)
