"""Notes in a manifest: written as before, read back as records, refused where they are something else."""

from __future__ import annotations

import pytest

from vivavoce.bundle import Bundle, Model, default_bundle
from vivavoce.errors import ConfigurationError
from vivavoce_converters.checkpoints.notes import OPTIONS, Conversion
from vivavoce_converters.commands.tables import quantization_tables
from vivavoce_converters.steps.notes import Quantization, Rounding


@pytest.fixture(scope="module")
def model() -> Model:
    return Bundle(default_bundle()).manifest.model


@pytest.mark.parametrize("kind", [Conversion, Quantization])
def test_notes_are_read_back_as_they_were_written(kind: type[Conversion | Quantization], model: Model) -> None:
    found = kind.of(model)
    assert found is not None
    assert found.noted() == {kind.name: model.provenance[kind.name]}


def test_a_conversions_options_are_those_that_were_noted(model: Model) -> None:
    found = Conversion.of(model)
    assert found is not None
    assert found.options() == {"layers": 2}
    assert {*OPTIONS} <= Conversion.model_fields.keys()


def test_what_a_bundle_does_not_say_is_none(model: Model) -> None:
    assert Rounding.of(model.model_copy(update={"provenance": {}})) is None
    assert list(quantization_tables(Bundle(default_bundle()).manifest)) != []


def test_notes_that_are_something_else_are_refused(model: Model) -> None:
    for said in ({"family": "x", "layers": "all"}, "free text"):
        with pytest.raises(ConfigurationError, match="notes on the conversion cannot be read"):
            Conversion.of(model.model_copy(update={"provenance": {"conversion": said}}))
