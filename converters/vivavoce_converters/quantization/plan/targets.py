"""What each kind of processor wants of an INT8 model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vivavoce.errors import ConfigurationError

__all__ = ["TARGETS", "Target", "target_named"]


@dataclass(frozen=True)
class Target:
    """What a processor's INT8 units want. Weights are always signed, symmetric, one scale per output channel.

    `two_byte_activations` tells that two INT8 products take less time than one of float32. `tensorrt` tells who runs it: there
    convolutions stay as such and its rules are checked; elsewhere large ones become matrix products and small ones stay float.
    """

    signed: bool
    symmetric: bool = False
    weight_bits: Literal[7, 8] = 8
    two_byte_activations: bool = False
    tensorrt: bool = False

    @property
    def limit(self) -> int:
        """The largest weight."""
        return int(2 ** (self.weight_bits - 1)) - 1

    @property
    def rules(self) -> dict[str, bool]:
        """How activations become bytes."""
        return {"signed": self.signed, "symmetric": self.symmetric}


TARGETS = {
    "x86-vnni": Target(signed=False, two_byte_activations=True),
    # Without VNNI two products are added in 16 bits and saturate; 7-bit weights leave the room.
    "x86-avx2": Target(signed=False, weight_bits=7),
    "arm64": Target(signed=True, two_byte_activations=True),
    # TensorRT asserts that every zero point is 0.
    "tensorrt": Target(signed=True, symmetric=True, tensorrt=True),
}


def target_named(name: str) -> Target:
    """One of `TARGETS`. Raises ConfigurationError, with the choices, for any other."""
    if name not in TARGETS:
        raise ConfigurationError(f'There is no target "{name}". Choose one of: {", ".join(TARGETS)}.')
    return TARGETS[name]
