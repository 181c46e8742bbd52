"""Merging: the scaled sum is one formula, however it is computed."""

from __future__ import annotations

import torch

from vivavoce_converters.networks.layer_merging import Merge, MergeConfig, ScaledSum


def test_the_scaled_sum_uses_what_training_has_seen() -> None:
    torch.manual_seed(0)
    merge = Merge(MergeConfig("scaled-sum", states=3, width=8))
    assert isinstance(merge.rule, ScaledSum)
    torch.nn.init.normal_(merge.rule.weights)
    sizes = torch.tensor([1.0, 30.0, 0.1])
    for _ in range(20):
        merge([size * torch.randn(4, 50, 8) + 5 * size for size in sizes])
    merge.eval()
    states = [size * torch.randn(2, 7, 8) for size in sizes]
    scale = merge.rule.scale
    assert scale.running_mean is not None
    assert scale.running_var is not None
    means, variances = scale.running_mean.reshape(3, 8), scale.running_var.reshape(3, 8)
    shares = merge.rule.weights.softmax(dim=0)
    expected = sum(
        share * (state - mean) / (variance + scale.eps).sqrt()
        for share, state, mean, variance in zip(shares, states, means, variances, strict=True)
    )
    torch.testing.assert_close(merge(states), expected, atol=1e-5, rtol=1e-5)
