"""Front-ends: speech foundation encoders behind one small interface, 16 kHz samples in, frame features out.

Every front-end gives its hidden states from one call, so that a head may read the last one or merge them all, and a student
may be taught by any of them. The encoders themselves are those of the transformers library.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
)
from transformers.audio_utils import mel_filter_bank
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2FeatureEncoder
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from vivavoce.errors import ConfigurationError

__all__ = ["SAMPLE_RATE", "FrontEnd", "LogMel", "Wav2Vec2FrontEnd", "WhisperFrontEnd", "wav2vec2_config"]

SAMPLE_RATE = 16_000


class FrontEnd(Protocol):
    """What a back-end needs of an encoder. Modules of this shape are also torch modules."""

    width: int
    depth: int

    def states(self, samples: Tensor) -> list[Tensor]:
        """`depth + 1` hidden states, each (batch, frames, width), from samples (batch, n) at 16 kHz in [-1, 1].

        State i is the input of encoder layer i; the last one is the output after the encoder's final layer norm.
        """
        ...

    def __call__(self, samples: Tensor) -> Tensor:
        """The last hidden state, (batch, frames, width)."""
        ...


class Wav2Vec2FrontEnd(nn.Module):
    """wav2vec 2.0, XLS-R, HuBERT-like and WavLM encoders: 50 frames a second, at least 400 samples.

    `normalize` layer-normalises each waveform over time first, as s3prl's WavLM does; the official XLS-R and ASVspoof 5
    code feeds raw samples.
    """

    def __init__(self, model: Wav2Vec2Model | WavLMModel, *, normalize: bool = False) -> None:
        super().__init__()
        self.model = model
        self.normalize = normalize
        self.width: int = model.config.hidden_size
        self.depth: int = model.config.num_hidden_layers
        self._norm_last: bool = model.config.do_stable_layer_norm
        self._relative = isinstance(model, WavLMModel)

    @classmethod
    def from_config(cls, config: Wav2Vec2Config | WavLMConfig, *, normalize: bool = False) -> Wav2Vec2FrontEnd:
        """A front-end with random weights in evaluation mode, to be trained or to load a state dict into."""
        # Eager attention is bit-identical to fairseq's and exports to plain MatMul and Softmax; sdpa differs by 2.6e-6.
        config._attn_implementation = "eager"
        model = WavLMModel(config) if isinstance(config, WavLMConfig) else Wav2Vec2Model(config)
        if mels := getattr(config, "mel_branch", 0):
            _add_mel_branch(model, mels)
        return cls(model, normalize=normalize).eval()

    def states(self, samples: Tensor) -> list[Tensor]:
        if self.normalize:
            samples = F.layer_norm(samples, samples.shape[-1:])
        encoder = self.model.encoder
        x, _ = self.model.feature_projection(self.model.feature_extractor(samples).transpose(1, 2))
        x = x + encoder.pos_conv_embed(x)
        states = [encoder.dropout(x if self._norm_last else encoder.layer_norm(x))]
        bias = None
        for layer in encoder.layers:
            # The encoder's own loop builds attention masks, which nothing here needs and every runtime would pay for.
            output = layer(states[-1], position_bias=bias) if self._relative else layer(states[-1])
            x, bias = output[:2] if self._relative else (output[0] if isinstance(output, tuple) else output, None)
            states.append(x)
        return [*states[:-1], encoder.layer_norm(states[-1])] if self._norm_last else states

    def forward(self, samples: Tensor) -> Tensor:
        return self.states(samples)[-1]

    def student(self, layers: int) -> Wav2Vec2FrontEnd:
        """A new front-end with this one's stem and first `layers` layers."""
        made = copy.deepcopy(self)
        made.truncate(layers)
        return made

    def truncate(self, layers: int) -> None:
        """Keeps the first `layers` encoder layers; the final norm stays. Raises ConfigurationError for more than it has."""
        _check_layers(layers, self.depth)
        self.model.encoder.layers = self.model.encoder.layers[:layers]
        self.depth = self.model.config.num_hidden_layers = layers


def wav2vec2_config(
    *,
    conv_channels: tuple[int, ...],
    width: int,
    layers: int,
    heads: int,
    ffn: int,
    position_kernel: int = 128,
    position_groups: int = 16,
    conv_bias: bool = True,
    relative_positions: tuple[int, int] | None = None,
    mel_branch: int = 0,
) -> Wav2Vec2Config | WavLMConfig:
    """The configuration of a wav2vec 2.0-shaped encoder with per-frame normalisation and the standard strides (320 samples).

    Layer norm per frame in the stem and pre-norm transformer layers: as in XLS-R, and what lets stem frames be cached in a
    stream (the group norm of wav2vec2-base looks at the whole utterance). `relative_positions`, the number of buckets and
    the largest distance in frames, makes it WavLM's: attention with a gated relative position bias. `mel_branch` is how many
    mel bands stand beside the waveform stem, 0 for none.
    """
    common: dict[str, Any] = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": ffn,
        "conv_dim": list(conv_channels),
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "conv_bias": conv_bias,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "num_conv_pos_embeddings": position_kernel,
        "num_conv_pos_embedding_groups": position_groups,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "feat_proj_dropout": 0.0,
        "layerdrop": 0.0,
        "mask_time_prob": 0.0,
        "mask_feature_prob": 0.0,
        "mel_branch": mel_branch,
    }
    if relative_positions is None:
        return Wav2Vec2Config(**common)
    buckets, distance = relative_positions
    return WavLMConfig(**common, num_buckets=buckets, max_bucket_distance=distance)


Stem = TypeVar("Stem", bound=nn.Module)


def _in_full_precision(forward: Callable[[Stem, Tensor], Tensor]) -> Callable[[Stem, Tensor], Tensor]:
    """Takes a module out of autocast: the 8 bits of a bfloat16 hold 48 dB, and a spectrogram's range is 80."""

    @wraps(forward)
    def wrapper(self: Stem, samples: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(samples.device.type):
            return forward(self, samples)
        with torch.autocast(samples.device.type, enabled=False):
            return forward(self, samples.float())

    return wrapper


class LogMel(nn.Module):
    """Whisper's log-mel spectrogram: samples (batch, n) to (batch, mels, n // 160), with the discrete Fourier transform as
    convolutions so that it exports to any runtime (Radford et al. 2022, section 2.2).

    The transforms of every fourth sample, from each of the first four on and up to an eighth of the sampling rate, make all
    bins: their sums with the powers of i (Cooley and Tukey 1965). That takes a quarter of the multiply-accumulates.

    `loudest` puts the loudest bin of each window at that power of ten, so that the level of a recording tells nothing; Whisper,
    None, leaves it where it is.
    """

    FFT, HOP, RADIX = 400, 160, 4

    def __init__(
        self,
        mels: int = 80,
        *,
        ceiling: bool = True,
        floor: float = 1e-10,
        padding: tuple[int, int] = (200, 40),
        loudest: float | None = None,
    ) -> None:
        super().__init__()
        self.ceiling, self.floor, self.padding, self.loudest = ceiling, floor, padding, loudest
        quarter = self.FFT // 4
        time, bins = np.arange(self.FFT), np.arange(quarter // 2 + 1)
        phase = 2 * np.pi * np.outer(bins, time) / self.FFT
        window = 0.5 - 0.5 * np.cos(2 * np.pi * time / self.FFT)
        kernels = np.concatenate([np.cos(phase), np.sin(phase)])[:, None] * window
        filters = mel_filter_bank(self.FFT // 2 + 1, mels, 0.0, 8000.0, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
        # What `forward` computes, in its order. Each bin counts where it is met first.
        order = np.concatenate([bins, 2 * quarter - bins, quarter + bins, quarter - bins])
        first = np.zeros(len(order), bool)
        first[np.unique(order, return_index=True)[1]] = True
        folded = torch.tensor((filters[order] * first[:, None]).T[:, :, None], dtype=torch.float32)
        self.register_buffer("filters", folded, persistent=False)
        for start in range(self.RADIX):
            kernel = torch.tensor(kernels[..., start :: self.RADIX], dtype=torch.float32)
            self.register_buffer(f"kernel{start}", kernel, persistent=False)
        self.filters: Tensor

    @_in_full_precision
    def forward(self, samples: Tensor) -> Tensor:
        padded = samples[:, None]
        if any(self.padding):  # A Pad of nothing is a copy of the signal.
            padded = F.pad(padded, self.padding, mode="reflect")
        a, b, c, d = (
            F.conv1d(padded[:, :, start:], self.get_buffer(f"kernel{start}"), stride=self.HOP, dilation=self.RADIX)
            for start in range(self.RADIX)
        )
        # Real parts above, and the opposites of the imaginary ones below: times -i, they change places and one its sign.
        real, imaginary = (b - d).chunk(2, dim=1)
        odd = torch.cat([-imaginary, real], dim=1)
        squares = [half.square() for half in ((a + c) + (b + d), (a + c) - (b + d), (a - c) + odd, (a - c) - odd)]
        powers = torch.cat([torch.add(*half.chunk(2, dim=1)) for half in squares], dim=1)
        mel = F.conv1d(powers, self.filters)
        if self.loudest is not None:
            mel = mel * (10**self.loudest / mel.amax(dim=(1, 2), keepdim=True).clamp(min=self.floor))
        log = mel.clamp(min=self.floor).log10()
        if self.ceiling:
            # Whisper's range: 80 dB below the loudest bin of the window.
            log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8.0)
        return (log + 4.0) / 4.0


class SpectralStem(nn.Module):
    """A waveform stem with a log-mel spectrogram beside it: samples (batch, n) to (batch, channels + 2 * mels, frames).

    Two spectrogram frames of 10 ms go to each stem frame of 20 ms. The spectrogram gives a student at once what Whisper's
    encoder was taught from; the waveform keeps phase and fine structure. Neither looks beyond a few frames.
    """

    def __init__(self, waveform: nn.Module, mels: int) -> None:
        super().__init__()
        self.waveform = waveform
        self.mel = LogMel(mels, ceiling=False)

    @_in_full_precision
    def forward(self, samples: Tensor) -> Tensor:
        wave = self.waveform(samples)
        mel = self.mel(samples)[:, :, : 2 * wave.shape[2]]
        return torch.cat([wave, mel[:, :, 0::2], mel[:, :, 1::2]], dim=1)


def _add_mel_branch(model: Any, mels: int) -> None:
    channels, width = model.config.conv_dim[-1] + 2 * mels, model.config.hidden_size
    model.feature_extractor = SpectralStem(model.feature_extractor, mels)
    model.feature_projection.layer_norm = nn.LayerNorm(channels, eps=model.config.layer_norm_eps)
    model.feature_projection.projection = nn.Linear(channels, width)


class WaveformStem(nn.Module):
    """wav2vec 2.0's convolutional stem beside a spectrogram's: samples (batch, n) to (batch, frames, width).

    Its projection starts at zero, so that an encoder with pre-trained layers starts as it was.
    """

    # A stem frame sees 400 samples. This centres it where the spectrogram's frame is, and yields one frame too many at most.
    PADDING = (80, 400)

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        config = wav2vec2_config(conv_channels=tuple(channels), width=width, layers=1, heads=1, ffn=1)
        self.convolutions = Wav2Vec2FeatureEncoder(config)  # type: ignore[no-untyped-call]
        self.projection = nn.Linear(channels[-1], width)
        nn.init.zeros_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    @_in_full_precision
    def forward(self, samples: Tensor) -> Tensor:
        frames = self.convolutions(F.pad(samples, self.PADDING)).transpose(1, 2)
        return cast(Tensor, self.projection(frames))


class WhisperFrontEnd(nn.Module):
    """The encoder of Whisper, on windows of any length up to 30 s: 50 frames a second, its first `layers` layers.

    Unlike Whisper itself it does not pad to 30 s: the positions are cut to the window. A configuration with `waveform_stem`,
    seven widths, adds a stem on the waveform to that on the spectrogram, which hears neither phase nor fine structure; one with
    `loudest_bin` brings every window to one level (`LogMel`).
    """

    def __init__(self, config: WhisperConfig, layers: int | None = None) -> None:
        super().__init__()
        config._attn_implementation = "eager"
        config.encoder_layers = layers or config.encoder_layers
        self.encoder = WhisperEncoder(config)
        self.mel = LogMel(config.num_mel_bins, loudest=getattr(config, "loudest_bin", None))
        channels = getattr(config, "waveform_stem", None)
        self.waveform = WaveformStem(channels, config.d_model) if channels else None
        self.width: int = config.d_model
        self.depth: int = config.encoder_layers
        self.eval()

    @classmethod
    def from_file(cls, weights: Path, layers: int | None = None) -> WhisperFrontEnd:
        """Loads the first `layers` layers of an encoder in transformers' `WhisperEncoder` keys (safetensors), strictly."""
        from safetensors.torch import load_file

        state = load_file(weights)
        depth = 1 + max(int(k.split(".")[1]) for k in state if k.startswith("layers."))
        front_end = cls(whisper_config(state, depth), layers)
        kept = {k: v.float() for k, v in state.items() if not _beyond(k, front_end.depth)}
        front_end.encoder.load_state_dict(kept, strict=True)
        return front_end

    def student(
        self, layers: int, waveform_stem: Sequence[int] | None, positions: int, loudest_bin: float | None = None
    ) -> WhisperFrontEnd:
        """A new front-end with this one's spectrogram stem and first `layers` layers, for `positions` frames at most.

        `waveform_stem` are the widths of an untrained stem beside it, which adds nothing yet; None leaves it out. DistilHuBERT
        too starts from its teacher's first layers. `loudest_bin` is that of `LogMel`.
        """
        config = copy.deepcopy(self.encoder.config)
        if loudest_bin is not None:
            config.loudest_bin = loudest_bin
        config.waveform_stem, config.max_source_positions = waveform_stem and list(waveform_stem), positions
        made = type(self)(config, layers)
        kept = {k: v for k, v in self.encoder.state_dict().items() if not _beyond(k, layers)}
        kept["embed_positions.weight"] = kept["embed_positions.weight"][:positions]
        made.encoder.load_state_dict(kept, strict=True)
        return made

    def truncate(self, layers: int) -> None:
        """Keeps the first `layers` encoder layers; the final norm stays. Raises ConfigurationError for more than it has."""
        _check_layers(layers, self.depth)
        self.encoder.layers = self.encoder.layers[:layers]
        self.depth = self.encoder.config.encoder_layers = layers

    def states(self, samples: Tensor) -> list[Tensor]:
        encoder = self.encoder
        x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(self.mel(samples))))).transpose(1, 2)
        x = x + encoder.embed_positions.weight[: x.shape[1]]
        if self.waveform is not None:
            x = x + self.waveform(samples)[:, : x.shape[1]]
        states = [x]
        for layer in encoder.layers:
            output = layer(states[-1], None)
            states.append(output[0] if isinstance(output, tuple) else output)
        return [*states[:-1], encoder.layer_norm(states[-1])]

    def forward(self, samples: Tensor) -> Tensor:
        return self.states(samples)[-1]


def whisper_config(state: Mapping[str, Tensor], depth: int) -> WhisperConfig:
    """The encoder's dimensions, read from its tensors; heads are 64 wide in every published size."""
    width, mels, _ = state["conv1.weight"].shape
    return WhisperConfig(
        d_model=width,
        num_mel_bins=mels,
        encoder_layers=depth,
        encoder_attention_heads=width // 64,
        encoder_ffn_dim=state["layers.0.fc1.weight"].shape[0],
        max_source_positions=state["embed_positions.weight"].shape[0],
        encoder_layerdrop=0.0,
        dropout=0.0,
    )


def _check_layers(layers: int, depth: int) -> None:
    if not 1 <= layers <= depth:
        raise ConfigurationError(f"{layers} layers cannot be kept of an encoder of {depth}. Choose 1 to {depth}.")


def _beyond(key: str, depth: int) -> bool:
    return key.startswith("layers.") and int(key.split(".")[1]) >= depth
