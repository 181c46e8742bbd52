"""Pre-trained encoders: those of the Hugging Face hub, by their ids or from folders, and Whisper's in one file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMModel,
    WhisperModel,
)
from transformers.utils import logging

from vivavoce.errors import ConfigurationError

from ..networks.front_ends import Wav2Vec2FrontEnd, WhisperFrontEnd

__all__ = ["load_front_end"]

PRETRAINED: dict[str, Any] = {"wav2vec2": Wav2Vec2Model, "hubert": HubertModel, "wavlm": WavLMModel, "whisper": WhisperModel}


def load_front_end(
    source: str | Path, *, layers: int | None = None, normalize: bool | None = None
) -> Wav2Vec2FrontEnd | WhisperFrontEnd:
    """A pre-trained encoder from a folder in transformers' layout, or by an id of the Hugging Face hub ("owner/name").

    wav2vec 2.0 and XLS-R, HuBERT, WavLM and Whisper are read, from safetensors or else from `pytorch_model.bin` by torch's
    restricted reader; a `.safetensors` file is one of Whisper's encoder. What is on the disk is never looked up on the network;
    an id may be downloaded. `layers` keeps the first layers; `normalize` overrides the preprocessor's `do_normalize` (for all
    but Whisper). Raises ConfigurationError where nothing can be loaded, or a tensor is missing.
    """
    name, local = str(source), Path(source).is_dir()
    if name.endswith(".safetensors"):
        return _whisper(Path(source), layers)
    if not local and not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        raise ConfigurationError(f"There is no folder {name}. Give a transformers folder, or a hub id such as owner/name.")
    # transformers would have the hub make a copy in safetensors of what has none, unasked.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    try:
        kind = AutoConfig.from_pretrained(name, local_files_only=local).model_type
        if kind not in PRETRAINED:
            raise ConfigurationError(f"{name} is a {kind} model. Choose one of: {', '.join(PRETRAINED)}.")
        with _quiet():
            model, loading = PRETRAINED[kind].from_pretrained(
                name, weights_only=True, attn_implementation="eager", local_files_only=local, output_loading_info=True
            )
        if normalize is None:
            normalize = kind != "whisper" and _preprocessor_normalizes(name, local)
        front_end = _wrap(model.float(), normalize)
    except (OSError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise ConfigurationError(
            f"{name} cannot be loaded. Give a transformers folder or an id with model.safetensors or pytorch_model.bin. "
            f"The cause: {error}"
        ) from error
    if missing := sorted(key for key in loading["missing_keys"] if not key.endswith("masked_spec_embed")):
        raise ConfigurationError(f"{name} lacks {len(missing)} tensors ({missing[0]}, …). Give the complete model.")
    if layers is not None:
        front_end.truncate(layers)
    return front_end


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars of transformers, and its list of tensors that the encoder has no use for."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _whisper(weights: Path, layers: int | None) -> WhisperFrontEnd:
    try:
        return WhisperFrontEnd.from_file(weights, layers)
    except (OSError, RuntimeError, SafetensorError, LookupError, ValueError, ArithmeticError) as error:
        raise ConfigurationError(f"{weights} does not hold Whisper's encoder. Give its file. The cause: {error}") from error


def _wrap(model: Any, normalize: bool) -> Wav2Vec2FrontEnd | WhisperFrontEnd:
    if isinstance(model, WhisperModel):
        front_end = WhisperFrontEnd(model.config)
        front_end.encoder.load_state_dict(model.encoder.state_dict(), strict=True)
        return front_end
    if isinstance(model, HubertModel):
        # HuBERT is wav2vec 2.0's encoder, trained otherwise: saved students need one kind less.
        shape = {key: value for key, value in model.config.to_diff_dict().items() if key != "model_type"}
        made = Wav2Vec2FrontEnd.from_config(Wav2Vec2Config(**shape), normalize=normalize)
        made.model.load_state_dict(model.state_dict(), strict=True)
        return made
    return Wav2Vec2FrontEnd(model, normalize=normalize).eval()


def _preprocessor_normalizes(name: str, local: bool) -> bool:
    try:
        return bool(Wav2Vec2FeatureExtractor.from_pretrained(name, local_files_only=local).do_normalize)
    except OSError:  # no preprocessor_config.json: raw samples
        return False
