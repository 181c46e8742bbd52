"""The closed-form discriminant: what it turns away from, and what several kinds of spoof are for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vivavoce.errors import ConfigurationError
from vivavoce_calibration.metrics import eer
from vivavoce_converters.networks.discriminant import Discriminant, fit_discriminant

Utterances = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_], NDArray[np.int64]]


def utterances(seed: int, offsets: dict[int, tuple[float, float]]) -> Utterances:
    """Six sources and six systems of each kind; a kind lies at its offset, groups differ along the last axis too."""
    rng = np.random.default_rng(seed)
    rows, labels, groups, kinds = [], [], [], []
    for kind, centre in {-1: (0.0, 0.0), **offsets}.items():
        for group in range(6):
            apart = np.append(centre, rng.normal(0, 6))
            rows.append(apart + rng.normal(0, 0.5, (20, 3)))
            labels += [kind == -1] * 20
            groups += [f"{kind} {group}"] * 20
            kinds += [kind] * 20
    return np.concatenate(rows), np.array(labels), np.array(groups), np.array(kinds)


def error(fitted: Utterances, heard: Utterances, count: int) -> float:
    pooled, bonafide, groups, kinds = fitted
    discriminant = Discriminant(1, 3, count)
    discriminant.set(*fit_discriminant(pooled, bonafide, groups, kinds, count=count))
    frames = torch.from_numpy(heard[0]).float()[:, None]
    with torch.no_grad():
        scores = discriminant.decide(discriminant([frames]))[:, 0].double().numpy()
    return float(eer(scores[heard[1]], scores[~heard[1]]))


def test_turns_away_from_what_differs_between_the_groups_of_a_class() -> None:
    pooled, bonafide, groups, _ = utterances(0, {0: (2.0, 0.0)})
    weights, _ = fit_discriminant(pooled, bonafide, groups, shrinkage=0.1)
    assert weights.shape == (1, 3)
    assert abs(weights[0, 2]) < 0.05 * abs(weights[0, 0])
    careless, _ = fit_discriminant(pooled, bonafide, groups, between=0.0, shrinkage=0.1)
    assert abs(careless[0, 2] / careless[0, 0]) > 3 * abs(weights[0, 2] / weights[0, 0])


def test_kinds_on_opposite_sides_of_living_speech_need_a_score_each() -> None:
    offsets = {0: (3.0, 0.0), 1: (-3.0, 0.0)}
    fitted, heard = utterances(0, offsets), utterances(1, offsets)
    assert error(fitted, heard, 1) > 0.3
    assert error(fitted, heard, 2) < 0.02


def test_the_score_is_the_ratio_to_a_mixture_of_the_kinds() -> None:
    ratios = np.random.default_rng(0).normal(0, 3, (5, 7, 3))
    decided = Discriminant(1, 4, 3).decide(torch.from_numpy(ratios))
    pooled = ratios.mean(axis=1)
    np.testing.assert_allclose(decided.numpy()[:, 0], np.log(1 / np.exp(-pooled).mean(axis=1)))
    one = torch.from_numpy(ratios[:, :, :1])
    torch.testing.assert_close(Discriminant(1, 4).decide(one), one.mean(dim=1))


def test_a_kind_without_systems_stands_for_all() -> None:
    pooled, bonafide, groups, kinds = utterances(0, {0: (2.0, 1.0)})
    unnamed = np.full_like(kinds, -1)
    weights, biases = fit_discriminant(pooled, bonafide, groups, unnamed, count=3)
    single, bias = fit_discriminant(pooled, bonafide, groups)
    np.testing.assert_allclose(weights, np.repeat(single, 3, axis=0))
    np.testing.assert_allclose(biases, np.repeat(bias, 3))


def test_one_group_of_a_class_is_too_few() -> None:
    pooled, bonafide, groups, _ = utterances(0, {0: (2.0, 0.0)})
    with pytest.raises(ConfigurationError, match="two systems and two sources"):
        fit_discriminant(pooled, bonafide, np.where(bonafide, "one", groups))


def test_a_channel_that_hardly_varies_gets_no_large_weight() -> None:
    pooled, bonafide, groups, _ = utterances(0, {0: (2.0, 0.0)})
    dead = 1e-7 * (np.random.default_rng(2).standard_normal(len(pooled)) + bonafide)
    weights, _ = fit_discriminant(np.column_stack([pooled, dead]), bonafide, groups)
    assert abs(weights[0, 3]) < abs(weights[0, 0])
