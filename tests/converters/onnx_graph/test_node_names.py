"""The contract of names: what writes one and what reads it agree."""

from __future__ import annotations

import pytest

from vivavoce.engines.names import module_of, part_of, present_of
from vivavoce_converters.onnx_graph import names


@pytest.mark.parametrize(
    ("module", "layer", "group"),
    [
        ("front_end.encoder.layers.0.fc1", "front_end.encoder.layers.0.fc1", "front_end.encoder.layers.0.fc1"),
        ("front_end.layers.1.attention.k_proj", "front_end.layers.1.attention.qkv", "front_end.layers.1.attention.qkv"),
        ("back_end.blocks.2.inner.conv", "back_end.blocks.2.inner.conv", "back_end.blocks.2"),
        ("", "", ""),
    ],
)
def test_a_node_tells_its_module_layer_and_group(module: str, layer: str, group: str) -> None:
    for number in (1, 3):
        name = names.node(module, "MatMul", number)
        assert (module_of(name), names.layer_of(name), names.group_of(name)) == (module, layer, group)


@pytest.mark.parametrize(
    ("module", "part"),
    [
        ("front_end.conv1", "stem"),
        ("front_end.encoder.layer_norm", "stem"),
        ("front_end.encoder.layers.0.fc1", "encoder"),
        ("merge.convs.1", "back-end"),
        ("back_end.blocks.2.layers.0", "back-end"),
        ("", None),
        ("gelu_2", None),
    ],
)
def test_a_node_and_what_passes_add_to_it_tell_their_part(module: str, part: str | None) -> None:
    node = names.node(module, "Conv", 2)
    added = [names.tap(node, 1), names.taps(node), names.even(node), f"div/frames/int8/{names.tap(node, 0)}"]
    assert [part_of(name) for name in (node, *added)] == [part] * 5


def test_values_of_passes_are_recognised_and_others_are_not() -> None:
    name = names.node("front_end.conv1", "Conv")
    assert names.is_of_taps(names.taps(name))
    assert names.is_of_taps(names.tap(name, 0))
    assert not names.is_of_taps(names.tap(name, 1))
    assert names.is_even(names.even("gelu_2"))
    assert not any(check(value) for check in (names.is_of_taps, names.is_even) for value in (name, "gelu_2", ""))


def test_a_past_has_its_present() -> None:
    assert [present_of(past) for past in ("past_samples", "past_keys_1")] == ["present_samples", "present_keys_1"]
    assert (names.SAMPLES, names.SCORE) == ("samples", "score")
