"""Model files: an ONNX file, with its weights inside or in a file beside it."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx.external_data_helper import uses_external_data

from vivavoce.files import placing_with

__all__ = ["has_weights_beside", "save", "write"]


def save(model: onnx.ModelProto, path: Path, *, beside: bool) -> None:
    """Checks a model and puts it in place, its weights in a file beside it where the caller says so."""
    with placing_with(path) as partial:
        write(model, partial, beside=beside)
        onnx.checker.check_model(str(partial))


def write(model: onnx.ModelProto, path: Path, *, beside: bool) -> None:
    """Writes a model, unchecked."""
    onnx.save(model, path, save_as_external_data=beside, location=f"{path.name}.data" if beside else None)


def has_weights_beside(model: Path) -> bool:
    """Whether the weights of a model are in another file, as those of one over 2 GiB must be."""
    return any(uses_external_data(tensor) for tensor in onnx.load(model, load_external_data=False).graph.initializer)
