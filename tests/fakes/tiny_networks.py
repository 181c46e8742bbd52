"""Countermeasures of a few thousand parameters, of every kind, with weights that make every part matter."""

from __future__ import annotations

from typing import Any

import torch

from vivavoce_converters.networks.aasist import Aasist, AasistConfig
from vivavoce_converters.networks.countermeasure import Countermeasure
from vivavoce_converters.networks.front_ends import Wav2Vec2FrontEnd, wav2vec2_config
from vivavoce_converters.networks.layer_merging import Merge, MergeConfig
from vivavoce_converters.networks.nes2net import Nes2Net, Nes2NetConfig

WIDTH, LAYERS = 64, 2
MERGES = {
    "weighted-sum": MergeConfig("weighted-sum", LAYERS + 1),
    "sea": MergeConfig("sea", LAYERS + 1, bottleneck=2),
    "attm": MergeConfig("attm", LAYERS + 1, width=WIDTH, bottleneck=2),
}

WHISPER = {
    "d_model": 32,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 16,
    "max_source_positions": 100,
    "max_target_positions": 8,
    "vocab_size": 30,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
"""The shape of a Whisper."""


def encoder_config(kind: type, **changes: Any) -> Any:
    """The shape of a wav2vec 2.0, HuBERT or WavLM."""
    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "conv_dim": [8] * 7,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
        "vocab_size": 10,
    }
    return kind(**shape | changes)


def front_end(*, wavlm: bool = False, normalize: bool = False) -> Wav2Vec2FrontEnd:
    config = wav2vec2_config(
        conv_channels=(8,) * 7,
        width=WIDTH,
        layers=LAYERS,
        heads=2 if wavlm else 1,
        ffn=48,
        position_kernel=16,
        position_groups=4,
        conv_bias=not wavlm,
        relative_positions=(32, 800) if wavlm else None,
    )
    return Wav2Vec2FrontEnd.from_config(config, normalize=normalize)


def nes2net(**changes: object) -> Nes2Net:
    return Nes2Net(Nes2NetConfig(**{"width": WIDTH, "nest": (4, 4), **changes}))  # type: ignore[arg-type]


def countermeasure(
    *, wavlm: bool = False, normalize: bool = False, merge: str | None = None, aasist: bool = False, **changes: object
) -> Countermeasure:
    """A network in evaluation mode. `changes` are of the Nes2Net configuration."""
    torch.manual_seed(0)
    back_end = Aasist(AasistConfig(width=WIDTH)) if aasist else nes2net(**changes)
    rule = Merge(MERGES[merge]) if merge else None
    model = Countermeasure(front_end(wavlm=wavlm, normalize=normalize), back_end, rule).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand_like(tensor) + 0.5)
            elif tensor.is_floating_point() and tensor.dim() <= 1:  # norms, biases: not at their neutral defaults
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model


def noise(batch: int, samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))
