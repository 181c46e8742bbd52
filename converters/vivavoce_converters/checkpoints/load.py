"""Checkpoints: the files that the official training code writes, recognised by their tensors and loaded strictly.

Read here: Nes2Net-X and AASIST on fairseq's XLS-R (ASVspoof 2019, 2021 and In-the-Wild), Nes2Net-X on WavLM (ASVspoof 5),
Nes2Net and Nes2Net-X on WavLM through s3prl with all layers merged (CtrSVDD), and this library's own safetensors files.
Nothing in a file is executed: pickles are read by torch's restricted reader, which makes tensors and containers only.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from torch import Tensor

from vivavoce.errors import ConfigurationError, few
from vivavoce.files import sha256_of_file

from ..networks.aasist import AasistConfig
from ..networks.countermeasure import FORMAT, Countermeasure, load_countermeasure, load_strictly, parameters
from ..networks.nes2net import Nes2NetConfig
from ..networks.perceptron import PerceptronConfig
from .official import build, defaults, leftovers, official_name, recognise

__all__ = ["STUDENT_WINDOW", "CheckpointError", "Description", "load_checkpoint"]

State = Mapping[str, Tensor]


class CheckpointError(ConfigurationError):
    """A checkpoint cannot be read, is of no known family, or does not hold the whole network."""


HOLDERS = ("model_state_dict", "state_dict", "model", "model_ema", "ema_state_dict", "state_dict_ema", "ema", "net", "network")
"""Under which names training scripts save a state dict, beside the optimizer's and the epoch."""

WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "network.", "ema_model.", "averaged_model.", "_forward_module.")
"""What DataParallel, torch.compile, Lightning, AveragedModel, EMA and FSDP put before every name."""

COUNTERS = ("n_averaged", "num_updates", "initted", "step")
"""What averaging counts beside the network."""

WEIGHT_NORM = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}

# Students are taught on crops of at most 4 s and judged on windows of this many samples.
STUDENT_WINDOW = 64_000


@dataclass(frozen=True)
class Description:
    """What a checkpoint holds and how it must be fed.

    `window` is in samples at 16 kHz; shorter clips are tiled up to it. `normalization` "layer" is done by the network
    itself. `assumed` are the facts that the tensors do not tell, as taken from the options or the family. `dropped` are
    tensors that inference does not use, with their sizes. `layers` are the encoder layers kept, of `layers_stored`.
    """

    family: str
    front_end: str
    back_end: str
    merge: str | None
    layers: int
    layers_stored: int
    window: int
    normalization: Literal["none", "layer"]
    score: str
    sha256: str
    parameters: int
    back_end_parameters: int
    assumed: dict[str, Any] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


def load_checkpoint(
    path: Path,
    *,
    dilation: int | None = None,
    activation: Literal["relu", "selu"] | None = None,
    heads: int | None = None,
    max_distance: int | None = None,
    normalize: bool | None = None,
    layers: int | None = None,
) -> tuple[Countermeasure, Description]:
    """The network in evaluation mode, and what is known about it.

    The options are what the tensors do not tell; None takes the family's default: `dilation` (2 for ASVspoof 2021, else 1)
    and `activation` (ReLU) of Nes2Net, attention `heads` of XLS-R (one for 64 channels, 16 at most), `max_distance` of WavLM's
    position bias (800 frames), `normalize` for a layer norm of the waveform (CtrSVDD only). `layers` keeps the first layers of
    the encoder, with its final norm, as the start of a smaller network; its scores mean little before it is trained further.

    Raises CheckpointError, a ConfigurationError, where the file cannot be read, is of no known family, or has tensors
    missing, left over, mis-shaped or not finite.
    """
    options = {
        "dilation": dilation,
        "activation": activation,
        "heads": heads,
        "max_distance": max_distance,
        "normalize": normalize,
    }
    given = {name: value for name, value in options.items() if value is not None}
    state, own = _read(path)
    try:
        model, described = _load_own(path, given) if own else _load_official(path, state, given)
        if layers is not None:
            model.truncate(layers)
    except CheckpointError:
        raise
    except ConfigurationError as error:
        raise CheckpointError(str(error)) from error
    return model, _describe(model, path, **described)


def _describe(model: Countermeasure, path: Path, **known: Any) -> Description:
    front_end, back_end = model.front_end, model.back_end
    normalize = getattr(front_end, "normalize", False)
    return Description(
        back_end=_name(back_end.config),
        merge=model.merge.config.kind if model.merge else None,
        layers=front_end.depth,
        normalization="layer" if normalize else "none",
        score=f"logits[:, {back_end.config.logits - 1}]",
        sha256=sha256_of_file(path),
        parameters=parameters(model),
        back_end_parameters=parameters(back_end),
        **known,
    )


def _name(config: Nes2NetConfig | AasistConfig | PerceptronConfig) -> str:
    if isinstance(config, PerceptronConfig):
        return "perceptron"
    if isinstance(config, AasistConfig):
        return "AASIST"
    name = "Nes2Net-X" if config.kind == "nes2net-x" else "Nes2Net"
    return name + ("-SELU" if config.activation == "selu" else "") + (", ASTP" if config.pooling == "astp" else "")


def _read(path: Path) -> tuple[dict[str, Tensor], bool]:
    """The tensors of a file by name, and whether it is one of this library's (the tensors are then left to its loader)."""
    if not path.is_file():
        raise CheckpointError(f"There is no file {path}. Give a checkpoint: .pth, .pt, .ckpt or .safetensors.")
    with path.open("rb") as file:
        head = file.read(16)
    # A torch file is a zip archive or, before torch 1.6, a pickle; safetensors begin with the length of a JSON header.
    if head[8:9] == b"{":
        return _read_safetensors(path)
    if head[:2] != b"PK" and head[:1] != b"\x80":
        raise CheckpointError(f"{path} is neither a torch file nor safetensors. Give a checkpoint of one of these kinds.")
    if head[:2] == b"PK" and _is_torchscript(path):
        raise CheckpointError(
            f"{path} is a TorchScript archive, which holds code; nothing of it was executed. "
            f"Save the state dict of the network alone: torch.save(model.state_dict(), path)."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # the reader raises nearly anything on damaged bytes
        if refused := re.search(r"GLOBAL (\S+)", str(error)):
            raise CheckpointError(
                f"{path} holds more than tensors, such as {refused[1]}; nothing of it was executed. "
                f"Save the state dict of the network alone: torch.save(model.state_dict(), path)."
            ) from error
        raise _damaged(path) from error
    return _state_dict(content, path), False


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(re.search(r"(^|/)(constants\.pkl|code/)", name) for name in archive.namelist())
    except Exception:  # the reader raises nearly anything on damaged bytes
        return False


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], bool]:
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("format") == FORMAT:
                return {}, True
            return _bare({key: file.get_tensor(key) for key in file.keys()}), False  # noqa: SIM118 - not a mapping
    except Exception as error:  # the reader raises nearly anything on damaged bytes
        raise _damaged(path) from error


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged or incomplete, or a pickle of something other than tensors; nothing of it was executed. "
        f"Get the file again, and compare its sha256."
    )


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in what a training script saved: itself, or under a name beside the optimizer and the epoch."""
    while isinstance(content, Mapping) and (inner := next((content[name] for name in HOLDERS if _holds(content, name)), None)):
        content = inner
    if not isinstance(content, Mapping) or not content or not all(map(_is_named_tensor, content.items())):
        found = f"the entries {few(content)}" if isinstance(content, Mapping) and content else f"a {type(content).__name__}"
        raise CheckpointError(f"{path} holds {found} and no state dict. Save one: itself, or under {', '.join(HOLDERS)}.")
    return _bare(content)


def _holds(content: Mapping[Any, Any], name: str) -> bool:
    return isinstance(content.get(name), Mapping)


def _bare(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict under the names that the network itself gave, whatever wrapped it, in whatever order."""
    found = {key: tensor for key, tensor in state.items() if tensor.ndim or key.rsplit(".", 1)[-1] not in COUNTERS}
    # Known networks have parts of several names, so that one before all of them is a wrapper's.
    while found and (wrapper := next((one for one in WRAPPERS if all(key.startswith(one) for key in found)), None)):
        found = {key.removeprefix(wrapper): tensor for key, tensor in found.items()}
    return {_renamed(key): tensor for key, tensor in found.items()}


def _renamed(key: str) -> str:
    """A weight norm's tensors under their first names; since torch 2.1 they are called otherwise."""
    for new, old in WEIGHT_NORM.items():
        key = key.removesuffix(new) + old if key.endswith(new) else key
    # torch.compile also wraps parts of a network by themselves.
    return key.replace("._orig_mod.", ".")


def _is_named_tensor(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)


def _load_own(path: Path, given: Mapping[str, Any]) -> tuple[Countermeasure, dict[str, Any]]:
    if given:
        raise CheckpointError(f"{path} says its own shape. Leave out {few(given)}.")
    model, provenance = load_countermeasure(path)
    described = {
        "family": "vivavoce",
        "front_end": type(model.front_end).__name__.removesuffix("FrontEnd"),
        "layers_stored": model.front_end.depth,
        "window": STUDENT_WINDOW,
        "provenance": provenance,
    }
    return model, described


def _load_official(path: Path, state: State, given: Mapping[str, Any]) -> tuple[Countermeasure, dict[str, Any]]:
    family = recognise(state)
    facts = defaults(state, family)
    if unknown := sorted(given.keys() - facts.keys()):
        raise CheckpointError(f"{path} holds a network without {few(unknown)}. Its options: {', '.join(facts)}.")
    facts |= given
    model = build(state, family, facts)
    unused = leftovers(state, family)
    kept = {key: tensor for key, tensor in state.items() if key not in unused}
    load_strictly(model, kept, path, lambda key: official_name(key, model, family))
    described = {
        "family": family.name,
        "front_end": family.encoder,
        "layers_stored": model.front_end.depth,
        "window": family.window,
        "assumed": facts,
        "dropped": {key: state[key].numel() for key in sorted(unused)},
    }
    return model, described
