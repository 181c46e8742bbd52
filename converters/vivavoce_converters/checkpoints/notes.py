"""Notes that a manifest keeps of how a bundle was made, and that are read back: under `model.provenance`, by their names."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from vivavoce.bundle import Model
from vivavoce.errors import ConfigurationError

__all__ = ["OPTIONS", "Conversion", "Notes"]

OPTIONS = ("dilation", "activation", "heads", "max_distance", "normalize", "layers")
"""What `convert` notes of a conversion that is an option of `load_checkpoint`."""


class Notes(BaseModel):
    """Frozen notes of one step. What a later version adds to them is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: ClassVar[str]

    @classmethod
    def of(cls, model: Model) -> Self | None:
        """What a manifest says, None where it says nothing. Raises ConfigurationError where it is something else."""
        if (found := model.provenance.get(cls.name)) is None:
            return None
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            first = error.errors()[0]
            fault = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise ConfigurationError(
                f"The manifest's notes on the {cls.name} cannot be read: {fault}. Make the bundle again."
            ) from error

    def noted(self) -> dict[str, dict[str, Any]]:
        """What goes into the manifest, by its name: what was said, and no defaults."""
        return {self.name: self.model_dump(mode="json", exclude_unset=True)}


class Conversion(Notes):
    """How a checkpoint became a network: what it holds, what was taken for what its tensors do not tell, and by how much the
    ONNX model's scores differ from the network's."""

    name = "conversion"

    family: str
    merge: str | None = None
    layers: int
    dilation: int | None = None
    activation: Literal["relu", "selu"] | None = None
    heads: int | None = None
    max_distance: int | None = None
    normalize: bool | None = None
    largest_difference: float

    def options(self) -> dict[str, Any]:
        """The options with which `load_checkpoint` makes the same network."""
        return self.model_dump(include=set(OPTIONS), exclude_unset=True)
