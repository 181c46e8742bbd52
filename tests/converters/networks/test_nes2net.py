"""The back-ends and the mergings against definitions written the long way, and against the published sizes."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import LAYERS, MERGES, WIDTH, front_end, nes2net
from torch import Tensor, nn
from torch.nn import functional as F

from vivavoce.errors import ConfigurationError
from vivavoce_converters.networks.aasist import Aasist, AasistConfig, GraphPool
from vivavoce_converters.networks.countermeasure import Countermeasure, parameters
from vivavoce_converters.networks.layer_merging import Merge
from vivavoce_converters.networks.nes2net import AdditiveNest, AttentiveStatistics, Nes2Net, Nes2NetConfig, WeightedNest


def shaken(module: nn.Module) -> nn.Module:
    """The module in evaluation mode with no parameter or statistic at its default."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) if "running_var" in name else 0.3 * torch.randn_like(tensor))
    return module.eval()


def multiply_accumulates(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates of the convolutions and linear layers in one forward pass, as the field counts them."""
    total = 0

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        weight = cast(Tensor, layer.weight)
        positions = output.numel() // weight.shape[0]
        total += positions * weight.numel()

    layers = (nn.Conv1d, nn.Conv2d, nn.Linear)
    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, layers)]
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return total


@pytest.mark.parametrize(
    ("config", "size", "millions"),
    [
        (Nes2NetConfig(kind="nes2net"), 510_769, 53.63),
        (Nes2NetConfig(), 511_014, 83.74),
        (Nes2NetConfig(activation="selu", dilation=2), 511_014, 83.74),
        (Nes2NetConfig(logits=2), 512_039, 83.74),
        (Nes2NetConfig(logits=2, pooling="astp"), 777_383, 136.17),
    ],
)
def test_published_sizes_and_costs(config: Nes2NetConfig, size: int, millions: float) -> None:
    back_end = Nes2Net(config).eval()
    assert parameters(back_end) == size
    assert round(multiply_accumulates(back_end, torch.zeros(1, 1024, 200)) / 1e6, 2) == millions


def test_the_baseline_costs_eight_times_nes2net_x() -> None:
    back_end = Aasist(AasistConfig()).eval()
    # 447,242 as stored: the official file also holds five norms, of 512 parameters, whose output is discarded.
    assert parameters(back_end) == 447_242 - 512
    assert round(multiply_accumulates(back_end, torch.zeros(1, 1024, 200)) / 1e6, 2) == 698.21


def test_multiply_accumulates_by_hand() -> None:
    network = nn.Sequential(nn.Conv1d(4, 6, 3, stride=2, groups=2), nn.Flatten(1), nn.Linear(6 * 4, 5))
    assert multiply_accumulates(network, torch.zeros(1, 4, 9)) == 4 * 6 * (2 * 3) + 24 * 5


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("name", ["relu", "selu"])
def test_additive_nest_by_its_definition(dilation: int, name: str) -> None:
    torch.manual_seed(1)
    nest = shaken(AdditiveNest(24, 4, dilation, name))
    x, activation = torch.randn(2, 24, 9), {"relu": F.relu, "selu": F.selu}[name]
    expected, running = [], torch.zeros(2, 6, 9)
    for i in range(3):
        running = running + x[:, 6 * i : 6 * i + 6]
        convolved = F.conv1d(running, nest.convs[i].weight, nest.convs[i].bias, dilation=dilation, padding=dilation)
        running = nest.norms[i](activation(convolved))
        expected.append(running)
    torch.testing.assert_close(nest(x), torch.cat([*expected, x[:, 18:]], dim=1))


@pytest.mark.parametrize("dilation", [1, 2])
def test_weighted_nest_by_its_definition(dilation: int) -> None:
    """Each column is convolved on its own; what goes on to the next step is the columns, not their sum."""
    torch.manual_seed(2)
    nest = shaken(WeightedNest(24, 4, dilation, "relu"))
    x = torch.randn(2, 24, 9)
    columns, expected = [x[:, 18:]], []
    for i in range(3):
        columns.append(x[:, 6 * i : 6 * i + 6])
        conv, norm = nest.convs[i], nest.norms[i]
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - norm.running_mean * scale
        for number, column in enumerate(columns):
            y = F.conv1d(column, conv.weight[..., 0], conv.bias, dilation=dilation, padding=dilation).relu()
            columns[number] = y * scale[:, None] + shift[:, None]
        weights = nest.column_weights[i].flatten()
        expected.append(sum(weight * column for weight, column in zip(weights, columns, strict=True)))
    torch.testing.assert_close(nest(x), torch.cat([*expected, x[:, 18:]], dim=1), atol=2e-6, rtol=1e-5)


def test_attentive_statistics_by_their_definition() -> None:
    torch.manual_seed(3)
    pooling = shaken(AttentiveStatistics(5, bottleneck=3))
    x = torch.randn(1, 5, 7)
    x[:, 2] = 4.0  # a channel that does not vary has a deviation of 1e-5, not of rounding noise
    scores = pooling.linear2(torch.tanh(pooling.linear1(x)))[0].detach().numpy()
    weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    mean = (weights * x[0].numpy()).sum(axis=1)
    variance = (weights * (x[0].numpy() - mean[:, None]) ** 2).sum(axis=1)
    deviation = np.sqrt(np.maximum(variance, 1e-10))
    np.testing.assert_allclose(pooling(x)[0].detach().numpy(), np.concatenate([mean, deviation]), rtol=1e-4)
    assert deviation[2] == pytest.approx(1e-5)


def test_graph_pool_keeps_the_better_half_best_first() -> None:
    pool = GraphPool(2)
    nodes = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [2.0, 0.0], [0.5, 0.0], [0.0, 0.0]]])
    with torch.no_grad():
        pool.score.weight.copy_(torch.tensor([[1.0, 0.0]]))
        pool.score.bias.zero_()
        kept = pool(nodes)
    torch.testing.assert_close(kept[0, :, 0], torch.tensor([3.0, 2.0]) * torch.tensor([3.0, 2.0]).sigmoid())
    assert pool(nodes[:, :1]).shape == (1, 1, 2)


@settings(max_examples=20, deadline=None)
@given(frames=st.integers(1, 40), kind=st.sampled_from(["nes2net", "nes2net-x"]), pooling=st.sampled_from(["mean", "astp"]))
def test_a_row_scores_the_same_in_any_batch(frames: int, kind: str, pooling: str) -> None:
    torch.manual_seed(frames)
    back_end = shaken(nes2net(kind=kind, pooling=pooling, logits=2))
    features = torch.randn(3, WIDTH, frames)
    with torch.no_grad():
        together, alone = back_end(features), torch.cat([back_end(row[None]) for row in features])
    assert together.shape == (3, 2)
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("nest", [(1, 8), (8, 1), (8, 3)])
def test_a_width_that_cannot_be_nested_is_refused(nest: tuple[int, int]) -> None:
    with pytest.raises(ConfigurationError, match="cannot be nested"):
        Nes2NetConfig(width=64, nest=nest)


@pytest.mark.parametrize(
    ("option", "message"),
    [({"activation": "gelu"}, "Choose one of: relu, selu"), ({"kind": "x"}, "'x' is no kind"), ({"dilation": 0}, "1 or more")],
)
def test_a_configuration_that_is_not_known_is_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Nes2NetConfig(**option)


def test_three_logits_are_no_countermeasure() -> None:
    with pytest.raises(ConfigurationError, match="3 logits"):
        Countermeasure(front_end(), nes2net(logits=3))


# ------------------------------------------------------------------------------------------------------------ merging


@pytest.fixture(scope="module")
def states() -> list[Tensor]:
    torch.manual_seed(4)
    return [torch.randn(2, 5, WIDTH) for _ in range(LAYERS + 1)]


def test_weighted_sum_by_its_definition(states: list[Tensor]) -> None:
    merge = shaken(Merge(MERGES["weighted-sum"]))
    weights = merge.rule.weights.exp() / merge.rule.weights.exp().sum()
    torch.testing.assert_close(merge(states), sum(w * s for w, s in zip(weights, states, strict=True)))


def test_sea_by_its_definition(states: list[Tensor]) -> None:
    merge = shaken(Merge(MERGES["sea"]))
    means = torch.stack([state.mean(dim=(1, 2)) for state in states], dim=1)
    gates = torch.sigmoid(F.relu(means @ merge.rule.squeeze.weight.T) @ merge.rule.excite.weight.T)
    expected = sum(gate[:, None, None] * state for gate, state in zip(gates.T, states, strict=True))
    torch.testing.assert_close(merge(states), expected)


def test_attentive_merging_by_its_definition(states: list[Tensor]) -> None:
    merge = shaken(Merge(MERGES["attm"]))
    rule, swish = merge.rule, F.silu
    seen = torch.cat([swish(state.mean(dim=1) @ rule.view) for state in states], dim=1)
    gates = torch.sigmoid(swish(seen @ rule.squeeze) @ rule.excite)
    interleaved = torch.empty(2, 5, WIDTH * len(states))
    for number, state in enumerate(states):
        interleaved[..., number :: len(states)] = gates[:, number, None, None] * state
    torch.testing.assert_close(merge(states), rule.projection(interleaved), atol=1e-5, rtol=1e-5)


def test_a_cut_weighted_sum_keeps_the_weights_of_its_layers_and_of_the_output() -> None:
    merge = shaken(Merge(MERGES["weighted-sum"]))
    before = merge.rule.weights.detach().clone()
    merge.truncate(1)
    assert merge.config.states == 2
    assert merge.rule.weights.tolist() == [before[0].item(), before[-1].item()]


def test_a_cut_sea_is_the_whole_one_where_the_other_states_are_silent(states: list[Tensor]) -> None:
    merge = shaken(Merge(MERGES["sea"]))
    whole = merge([states[0], *(torch.zeros_like(state) for state in states[1:-1]), states[-1]])
    merge.truncate(1)
    torch.testing.assert_close(merge([states[0], states[-1]]), whole)


def test_attentive_merging_cannot_be_cut() -> None:
    with pytest.raises(ConfigurationError, match="all layers at once"):
        Merge(MERGES["attm"]).truncate(2)
